"""Fan-out: what it costs a gateway that everyone in a room sees everyone move, 20 times a second, beside two Socket.IO relays.

    python -m bench.fanout                          all cases, about four minutes
    python -m bench.fanout --players 1800 --rooms 36   one load of your own, on the gateway and on the hand-batched relay

========  =============================================================================================================
ours      `gamebus gateway`: client, gateway, Kafka, gateway, tick; with validation, permissions, limits and accounting
naive     Socket.IO 4.8 in Node: each position is emitted to its room
batched   the same, batched by hand: the newest position of each player, one emit for each room at 20 Hz
========  =============================================================================================================

One load serves all (`room_load`): it differs in the codec only. A delivered update is one position that one player received, its own
among them. Servers are pinned to the first CPU, the load, the broker and Redis have the others. Ages count only where the load itself is
not late; the naive relay gets as many players as the load can read, and none in rooms of 200: that would be 800,000 messages a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench import report
from bench.servers import create, environment, module, new_prefix, on_cpus, running, servers
from bench.socketio import relay
from gamebus.catalog import parse_catalog
from gamebus.localstack.stack import Stack

_NAIVE: Final = "Socket.IO, naive"
_BATCHED: Final = "Socket.IO, batched by hand"
_OURS: Final = "gateway"
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


# The naive relay gets fewer players: 100 in rooms of 50 are 100,000 messages a second, nearly all that the load can read.
_CASES: Final = {
    10: (Case(_OURS, 400, 40), Case(_BATCHED, 400, 40), Case(_NAIVE, 200, 20)),
    50: (Case(_OURS, 400, 8), Case(_BATCHED, 400, 8), Case(_NAIVE, 100, 2)),
    200: (Case(_OURS, 400, 2), Case(_BATCHED, 400, 2)),
}
_MANY: Final = (Case(_OURS, 1200, 24), Case(_BATCHED, 1200, 24))


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
        for name, kind in ((_NAIVE, "naive"), (_BATCHED, "batched")):
            process, url = stack.enter_context(relay(kind, cpus=[first]))
            found[name] = Server(url, "socketio", process.pid)
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


def rows_of(size: int, found: Mapping[str, Mapping[str, float]]) -> Iterator[report.Row]:
    """The comparisons of one size of rooms."""
    ours, *rivals = _CASES[size]
    mine, lower = found[str(ours)], partial(report.compare, lower_is_better=True)
    for rival in rivals:
        theirs, naive = found[str(rival)], rival.server == _NAIVE
        target = None if size == 200 else 8.0 if naive else 1.0
        yield lower(
            f"rooms of {size}", "us/delivered update", mine["us/update"], theirs["us/update"], str(rival), target=target
        )
        if not naive:
            yield lower(f"rooms of {size}", "us/player and s", mine["us/player s"], theirs["us/player s"], str(rival))


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
    parser.add_argument("--players", type=int, help="measure this many only, in --rooms")
    parser.add_argument("--rooms", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    given = parser.parse_args()
    many: tuple[Case, ...] = _MANY
    if given.players is not None:
        many = tuple(Case(server, given.players, given.rooms) for server in (_OURS, _BATCHED))
    sizes = () if given.players is not None else tuple(_CASES)
    cases = [case for size in sizes for case in _CASES[size]] + list(many)
    with contestants() as (running_servers, broker):
        runs = {
            str(case): partial(load, running_servers[case.server], broker, case, seconds=given.seconds)
            for case in cases
        }
        found = report.interleaved(runs, rounds=given.rounds)
    rows = [row for size in sizes for row in rows_of(size, found)]
    mine, theirs = (found[str(case)] for case in many)
    name = f"{many[0].players:,} in rooms of {many[0].players // many[0].rooms}"
    rows.append(
        report.compare(name, "p99 age ms, of 100", mine["age p99 ms"], 100, "limit", target=1.0, lower_is_better=True)
    )
    rows += (
        report.compare(name, figure, mine[figure], theirs[figure], _BATCHED, lower_is_better=True)
        for figure in ("us/player s", "age p99 ms", "MB/s")
    )
    report.publish("fanout", rows, given.json, figures=found)
    for doubt in doubts(found):
        print(doubt)


if __name__ == "__main__":
    main()
