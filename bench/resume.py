"""A resume storm: 1,000 clients lose their connections and come back within two seconds, while others play.

Real Kafka, Redis and one gateway process, with admission and (the rival) without. A process with the 1,000 clients, in 20 rooms of 50:
durable events come to every room all the time, all clients are cut, a second later they begin to come back, spread over two seconds,
with their cursors; who is told to wait (`bye` 4003) waits so long and a little more, as clients do. A second process plays: 20 players
in rooms of their own publish 20 positions a second and see them come back in ticks. Their age is what the storm may cost the others.

Measured: seconds from the first return until the last client has everything that it missed; events that never came or came twice, of
which there must be none; the age of positions, p99, during the storm and before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from bench import report
from bench.servers import create, environment, module, new_prefix, run_contestant, running, servers
from bench.websocket_load import SUBPROTOCOL, open_client
from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.gateway.auth import mint_token
from gamebus.localstack.stack import StackAddresses
from gamebus.settings import GatewaySettings

_ROOMS: Final = 20
_EVENTS_PER_S: Final = 2
"""Of each room."""
_PLAYERS: Final = 20
_TICK_HZ: Final = 20
_BEFORE_S: Final = 5.0
_AWAY_S: Final = 1.0
_RETURN_S: Final = 2.0
_AFTER_S: Final = 2.0
_TIMEOUT_S: Final = 240.0
# Of the clients' back-off, on top of what the gateway asks for.
_JITTER_S: Final = 0.25
_LIMIT_S: Final = 8.0


async def say_hello(url: str, player: str, resume: dict[str, str]) -> ClientConnection:
    """Connect as a player."""
    websocket = await connect(url, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None, max_queue=None)
    now_ms = time.time_ns() // 1_000_000
    token = mint_token(os.environ["GAMEBUS_AUTH__SECRET"], sub=player, role=Role.PLAYER, now_ms=now_ms)
    await websocket.send(msgpack.packb(["hello", token, {"resume": resume}]))
    return websocket


class Client:
    """One of the thousand, across its connections."""

    def __init__(self, url: str, number: int, told: Callable[[], None]) -> None:
        self.room = f"storm-{number % _ROOMS}"
        self._url = url
        self._player = f"storm-{number}"
        self._told = told
        self._cursor = ""
        self.events: list[int] = []
        self.joined = 0
        self.deferred = 0
        self.lost = 0
        self._websocket: ClientConnection | None = None

    async def play(self, back_at: Callable[[], Awaitable[None]]) -> None:
        """Be connected until cancelled; after a cut wait for `back_at`."""
        while True:
            with contextlib.suppress(OSError, WebSocketException, EOFError):
                wait_s = await self._connection()
                if wait_s is not None:
                    self.deferred += 1
                    await asyncio.sleep(wait_s + random.uniform(0, _JITTER_S))
                    continue
            await back_at()

    def cut(self) -> None:
        """Lose the connection without a word."""
        if self._websocket is not None:
            self._websocket.transport.abort()

    async def _connection(self) -> float | None:
        """One connection from its hello to its end; seconds to wait when it was not let in."""
        resume = {self.room: self._cursor} if self._cursor else {}
        websocket = self._websocket = await say_hello(self._url, self._player, resume)
        if not resume:
            await websocket.send(msgpack.packb(["join", self.room]))
        wait_s = None
        with contextlib.suppress(ConnectionClosed):
            while True:
                message: list[Any] = msgpack.unpackb(await websocket.recv())
                if message[0] == "bye":
                    wait_s = message[3] / 1000
                elif message[0] == "joined":
                    self._cursor = message[2]["cursor"]
                    self.joined += 1
                    self.lost += message[2]["recovered"] is False
                elif message[0] == "event":
                    self._cursor = message[7]
                    self.events.append(int(message[6]))
                else:
                    continue
                self._told()
        return wait_s


class Storm:
    """The thousand, and who publishes to them."""

    def __init__(self, url: str, clients: int) -> None:
        self._url = url
        self._changed = asyncio.Event()
        self._back = asyncio.Event()
        self._over = asyncio.Event()
        self._clients = [Client(url, number, self._changed.set) for number in range(clients)]
        self._acked = 0

    async def run(self) -> dict[str, float]:
        """Come, be cut, come back; see the module."""
        async with asyncio.timeout(_TIMEOUT_S), asyncio.TaskGroup() as tasks:
            playing = [tasks.create_task(client.play(self._come_back)) for client in self._clients]
            await self._until(lambda: all(client.joined for client in self._clients))
            deferred = sum(client.deferred for client in self._clients)
            publishing = tasks.create_task(self._publish())
            began = time.time()
            await asyncio.sleep(_BEFORE_S)
            cut = time.time()
            for client in self._clients:
                client.cut()
            await asyncio.sleep(_AWAY_S)
            missed, back = self._acked // _ROOMS, time.time()
            self._back.set()
            await self._until(lambda: all(c.joined > 1 and len(c.events) >= missed for c in self._clients))
            recovered = time.time()
            await asyncio.sleep(_AFTER_S)
            self._over.set()
            await publishing
            await self._until(lambda: all(len(client.events) >= self._acked // _ROOMS for client in self._clients))
            for task in playing:
                task.cancel()
        published = list(range(self._acked // _ROOMS))
        return {
            "began": began,
            "cut": cut,
            "back": back,
            "recovered": recovered,
            "deferred": sum(client.deferred for client in self._clients) - deferred,
            "expected": float(len(published) * len(self._clients)),
            "missed": float(sum(len(set(published) - set(client.events)) for client in self._clients)),
            "doubled": float(sum(len(client.events) - len(set(client.events)) for client in self._clients)),
            "not_recovered": float(sum(client.lost for client in self._clients)),
        }

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()
            # The thousand change all the time: looked at a hundred times a second it costs little.
            await asyncio.sleep(0.01)

    async def _come_back(self) -> None:
        await self._back.wait()
        await asyncio.sleep(random.uniform(0, _RETURN_S))

    async def _publish(self) -> None:
        """Send the same number of events to every room, each acknowledged before the next round, and end between two."""
        websocket, _ = await open_client(self._url, 0, 1)
        for number in itertools.takewhile(lambda _: not self._over.is_set(), itertools.count()):
            due = time.monotonic() + 1 / _EVENTS_PER_S
            for room in range(_ROOMS):
                data = {"killer": "ann", "victim": "bob", "weapon": "axe", "at_ms": number}
                await websocket.send(msgpack.packb(["pub", "kill", f"storm-{room}", data, str(number)]))
            await self._acks(websocket)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _acks(self, websocket: ClientConnection) -> None:
        for _ in range(_ROOMS):
            message = msgpack.unpackb(await websocket.recv())
            if message[0] != "ack":
                raise RuntimeError(f"expected an ack, got {message}")
            self._acked += 1


async def storm(url: str, clients: int) -> None:
    """The process of the thousand."""
    print(json.dumps(await Storm(url, clients).run()))


async def live(url: str) -> None:
    """The process of those who play until standard input ends; prints when each position came back, and its age in milliseconds."""
    ages: list[tuple[float, float]] = []

    async def watch(websocket: ClientConnection) -> None:
        while True:
            message: list[Any] = msgpack.unpackb(await websocket.recv())
            if message[0] == "tick":
                now = time.time()
                ages.extend((now, (now - data[1]) * 1000) for _, data in message[3] if data is not None)

    async def move(websocket: ClientConnection, room: str) -> None:
        await asyncio.sleep(random.uniform(0, 1 / _TICK_HZ))
        for seq in range(1, 1_000_000):
            due = time.monotonic() + 1 / _TICK_HZ
            await websocket.send(msgpack.packb(["pub", "position", room, [seq, time.time(), 0.0, 0.0]]))
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        playing = []
        for number in range(_PLAYERS):
            websocket = await say_hello(url, f"live-{number}", {})
            await websocket.send(msgpack.packb(["join", f"live-{number}"]))
            playing += [
                tasks.create_task(watch(websocket)),
                tasks.create_task(move(websocket, f"live-{number}")),
            ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in playing:
            task.cancel()
    print(json.dumps(ages))


def run(addresses: StackAddresses, clients: int, **settings: str) -> dict[str, float]:
    """One round, on a gateway and topics of its own."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
    env = environment(addresses, prefix) | settings
    with running(module("gamebus", "gateway", "--port", "0"), env) as (_, line):
        url = json.loads(line)["gateway"]
        with subprocess.Popen(
            module("bench.resume", "live", url), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as playing:
            assert playing.stdout is not None
            if playing.stdout.readline() != "ready\n":
                raise RuntimeError("the players did not start")
            done = subprocess.run(
                module("bench.resume", "storm", url, str(clients)),
                env=env,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=300,
            )
            # Its ages are larger than a pipe, so it is read while it ends.
            ages = json.loads(playing.communicate()[0])
    found: dict[str, float] = json.loads(done.stdout)
    if found["missed"] or found["doubled"] or found["not_recovered"]:
        raise RuntimeError(f"a client did not get each event once: {found}")
    return {
        "recovered_s": found["recovered"] - found["back"],
        "events": found["expected"] - found["missed"],
        "expected": found["expected"],
        "deferred": found["deferred"],
        "before_ms": _p99(age for at, age in ages if found["began"] <= at < found["cut"]),
        "storm_ms": _p99(age for at, age in ages if found["back"] <= at < found["recovered"]),
    }


def _p99(ages: Any) -> float:
    ordered: list[float] = sorted(ages)
    return ordered[len(ordered) * 99 // 100]


def main() -> None:
    """Run the bench."""
    parser = report.arguments(__doc__)
    parser.add_argument("--clients", type=int, default=1_000, help="clients that are cut and come back")
    given = parser.parse_args()
    defaults = GatewaySettings()
    bounded = {
        "GAMEBUS_GATEWAY__HELLO_PER_SECOND": str(defaults.hello_per_second),
        "GAMEBUS_GATEWAY__HELLO_BURST": str(defaults.hello_burst),
    }
    with servers() as addresses:
        found = report.interleaved(
            {
                "ours": partial(run, addresses, given.clients, **bounded),
                "unbounded": partial(run, addresses, given.clients),
            },
            rounds=given.rounds,
            warm_up_rounds=0,
        )
    mine, theirs = found["ours"], found["unbounded"]
    lower = partial(report.compare, lower_is_better=True)
    rival = "without admission"
    rows = [
        lower("until all have recovered", "s", mine["recovered_s"], _LIMIT_S, "limit", target=1.0),
        lower("until all have recovered", "s", mine["recovered_s"], theirs["recovered_s"], rival),
        report.compare(
            "events, each client each one", "events", mine["events"], mine["expected"], "published", target=1.0
        ),
        lower("age of positions in the storm, p99", "ms", mine["storm_ms"], mine["before_ms"], "before it"),
        lower("age of positions in the storm, p99", "ms", mine["storm_ms"], theirs["storm_ms"], rival),
        lower("clients told to wait, and 1", "times", mine["deferred"] + 1, theirs["deferred"] + 1, rival),
    ]
    report.publish("resume", rows, given.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["storm"]:
        run_contestant(storm(sys.argv[2], int(sys.argv[3])))
    elif sys.argv[1:2] == ["live"]:
        run_contestant(live(sys.argv[2]))
    else:
        main()
