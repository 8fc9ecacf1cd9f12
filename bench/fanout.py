"""Fan-out: what it costs a gateway that everyone in a room sees everyone move, 20 times a second, beside relays that have no bus.

    python -m bench.fanout                          all cases, about five minutes
    python -m bench.fanout --players 1800 --rooms 36   one load of your own, on all that batch

===================  ===========================================================================================================
gateway              `gamebus gateway`: client, gateway, Kafka, gateway, tick; with validation, permissions, limits and accounting
Socket.IO, batched   Socket.IO 4.8 in Node, batched by hand: the newest position of each player, one emit for each room at 20 Hz
Colyseus             0.17: players and their positions in the schema state of a room, patches at 20 Hz
Socket.IO, naive     each position is emitted to its room
websockets, naive    the same with `broadcast()` of Python's `websockets`
===================  ===========================================================================================================

One load serves all (`room_load`): it differs in the codec only. A delivered update is one position that one player received, its own
among them. Servers are pinned to the first CPU, the load, the broker and Redis have the others. Ages count only where the load itself is
not late; naive relays get as many players as the load can read, and none in rooms of 200: that would be 800,000 messages a second.

Those that batch have 1,200 players, three quarters of a core, since what a server costs counts when it is busy; and 400, to show how
the costs move. Players per core: players by the part of a core that they use, while the p99 age is below 100 ms.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench import report
from bench.relays import Relay, relay
from bench.servers import create, environment, module, new_prefix, on_cpus, running, servers
from gamebus.catalog_file import parse_catalog
from gamebus.localstack.stack import Stack

_OURS: Final = "gateway"
_BATCHED: Final = "Socket.IO, batched"
_COLYSEUS: Final = "Colyseus"
_NAIVE: Final = "Socket.IO, naive"
_WEBSOCKETS: Final = "websockets, naive"
# Name -> relay, and the codec of its players.
_RELAYS: Final[Mapping[str, tuple[Relay, str]]] = {
    _BATCHED: ("socketio batched", "socketio"),
    _COLYSEUS: ("colyseus", "colyseus"),
    _NAIVE: ("socketio naive", "socketio"),
    _WEBSOCKETS: ("websockets", "gamebus"),
}
_BATCHING: Final = (_OURS, _BATCHED, _COLYSEUS)
# Past it ages are those of the load.
_LATE_MS: Final = 10.0
_FULL_CORES: Final = 0.95


@dataclass(frozen=True, slots=True)
class Server:
    """A contestant that runs."""

    url: str
    codec: str
    pid: int


@dataclass(frozen=True, slots=True)
class Case:
    """One load on one contestant."""

    server: str
    players: int
    rooms: int

    def __str__(self) -> str:
        """As the tables have it."""
        return f"{self.server}: {self.players:,} in rooms of {self.players // self.rooms}"


# By size of the rooms, ours first. Naive relays get fewer players: 100 in rooms of 50 are 100,000 messages a second.
_CASES: Final[Mapping[int, Sequence[Case]]] = {
    10: (
        *(Case(server, 1200, 120) for server in _BATCHING),
        *(Case(server, 200, 20) for server in (_NAIVE, _WEBSOCKETS)),
    ),
    50: (
        *(Case(server, 1200, 24) for server in _BATCHING),
        *(Case(server, 100, 2) for server in (_NAIVE, _WEBSOCKETS)),
    ),
}
_LIGHT: Final = tuple(Case(server, 400, 400 // size) for size in (10, 50, 200) for server in (_OURS, _BATCHED))
_MAX_AGE_MS: Final = 100.0


@contextmanager
def contestants() -> Iterator[tuple[Mapping[str, Server], int]]:
    """All servers, and the broker's process id."""
    first, *others = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stack.enter_context(on_cpus(others or [first]))
        addresses = stack.enter_context(servers())
        prefix = new_prefix()
        asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
        env = environment(addresses, prefix)
        os.environ.update(env)
        gateway, line = stack.enter_context(running(module("gamebus", "gateway", "--port", "0"), env, cpus=[first]))
        found = {_OURS: Server(json.loads(line)["gateway"], "gamebus", gateway.pid)}
        for name, (kind, codec) in _RELAYS.items():
            process, url = stack.enter_context(relay(kind, cpus=[first]))
            found[name] = Server(url, codec, process.pid)
        broker = Stack(addresses.folder).process("kafka-1").pid
        assert broker is not None
        yield found, broker


def load(server: Server, broker: int, case: Case, *, seconds: float) -> dict[str, float]:
    """Put a load on a server; the figures of the tables."""
    command = module("bench.room_load", server.url, "--codec", server.codec, "--seconds", str(seconds))
    command += ["--players", str(case.players), "--rooms", str(case.rooms)]
    command += ["--watch", f"server={server.pid}", "--watch", f"broker={broker}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    told: dict[str, Any] = json.loads(done.stdout)
    took, cpu_s, delivered = told["seconds"], told["cpu_s"], told["delivered"]
    return {
        "us/update": cpu_s["server"] / delivered * 1e6,
        "us/player s": cpu_s["server"] / took / case.players * 1e6,
        "broker us/player s": cpu_s["broker"] / took / case.players * 1e6,
        "cores": cpu_s["server"] / took,
        "age p50 ms": told["age_p50_ms"],
        "age p99 ms": told["age_p99_ms"],
        "MB/s": told["bytes"] / took / 1e6,
        "delivered": delivered / told["expected"],
        "load: cores": told["cores"],
        "load: late p99 ms": told["late_p99_ms"],
    }


def rows_of(cases: Sequence[Case], found: Mapping[str, Mapping[str, float]]) -> Iterator[report.Row]:
    """The gateway beside its rivals, in rooms of one size."""
    ours, *rivals = cases
    mine, lower = found[str(ours)], partial(report.compare, lower_is_better=True)
    name = f"rooms of {ours.players // ours.rooms}"
    for rival in rivals:
        theirs, batching = found[str(rival)], rival.server in _BATCHING
        target = 1.0 if batching else 8.0 if rival.server == _NAIVE else None
        yield lower(name, "us/delivered update", mine["us/update"], theirs["us/update"], str(rival), target=target)
        if batching:
            yield lower(name, "us/player and s", mine["us/player s"], theirs["us/player s"], str(rival))
            yield lower(name, "MB/s", mine["MB/s"], theirs["MB/s"], str(rival))
            per_core = (ours.players / mine["cores"], rival.players / theirs["cores"])
            yield report.compare(name, "players/core", *per_core, str(rival), target=1.2)
    yield lower(name, "p99 age ms, of 100", mine["age p99 ms"], _MAX_AGE_MS, "limit", target=1.0)


def doubts(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What is to be known before a figure is believed."""
    for case, figures in found.items():
        if figures["load: late p99 ms"] > _LATE_MS or figures["load: cores"] > _FULL_CORES:
            yield f"{case}: the load was late or has no CPU left; ages are longer by that, or more"
        if figures["cores"] > _FULL_CORES:
            yield f"{case}: the server has no CPU left"


def main() -> None:
    """Run the bench."""
    parser = report.arguments(__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--players", type=int, help="measure this many only, in --rooms")
    what.add_argument("--light", action="store_true", help="also 400 players, in rooms of 10, 50 and 200")
    parser.add_argument("--rooms", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement")
    given = parser.parse_args()
    groups = [*_CASES.values(), *([_LIGHT] if given.light else [])]
    if given.players is not None:
        groups = [[Case(server, given.players, given.rooms) for server in _BATCHING]]
    with contestants() as (running_servers, broker):
        runs = {
            str(case): partial(load, running_servers[case.server], broker, case, seconds=given.seconds)
            for group in groups
            for case in group
        }
        # Each run begins with a warm-up; the first one warms the broker as well.
        next(iter(runs.values()))()
        found = report.interleaved(runs, rounds=given.rounds, warm_up_rounds=0)
    rows = [row for group in groups[:2] for row in rows_of(group, found)]
    report.publish("fanout", rows, given.json, figures=found)
    for doubt in doubts(found):
        print(doubt)


if __name__ == "__main__":
    main()
