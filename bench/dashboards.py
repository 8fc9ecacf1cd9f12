"""Open dashboards: what fifty of them cost Redis beside one, and beside none, while 2,000 players play.

    python -m bench.dashboards          about a minute

A dashboard in a browser is two streams here, the overview and the rooms. The players are simulated: what two gateways and two processors
write for them to Redis is written by the same classes, at the same rates, by one process (`world`); a gateway and bots for so many need
more than two cores. Gateways and processors are never asked by a dashboard, so Redis is all that it can cost them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from bench import report
from bench.servers import module, run_contestant, running
from gamebus.gateway.directory import Directory
from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.directory import DirectoryState, PlayerEntry, RoomEntry
from gamebus.state.positions import PositionState
from gamebus.state.presence import Heartbeat, PresenceState
from gamebus.state.timeline import TimelineState
from gamebus.state.vitals import Vitals, VitalsState
from gamebus.telemetry.histogram import BOUNDS_S, Distribution
from tests.redis_server import running_redis_server

_PLAYERS: Final = 2_000
_ROOMS: Final = 40
_ROLES: Final = ("gateway", "gateway", "processor-realtime", "processor-durable")
# What a poll of a realtime processor conflates under this load.
_POSITIONS_EVERY_S: Final = 0.05
_SETTLE_S: Final = 2.0
_MEASURED_S: Final = 4.0
_DASHBOARDS: Final = (0, 1, 50)
_PAGES: Final = ("overview", "rooms")
# Of a gateway; a processor has fewer.
_SAMPLES: Final = 90
_HISTOGRAMS: Final = 3
_NO_MORE: Final = 0.95


class World:
    """All processes of a fleet as far as Redis sees them."""

    def __init__(self, connection: Connection) -> None:
        self._positions = PositionState(connection)
        self._presence = PresenceState(connection)
        self._vitals = VitalsState(connection)
        self._timeline = TimelineState(connection)
        self._directory = DirectoryState(connection)
        self._rooms = {f"room-{number:03}": self._names(number) for number in range(_ROOMS)}
        self._seq = 0

    @staticmethod
    def _names(room: int) -> list[str]:
        size = _PLAYERS // _ROOMS
        return [f"player-{room * size + number:05}" for number in range(size)]

    async def run(self) -> None:
        """Write until cancelled."""
        now_ms = _now_ms()
        for room, players in self._rooms.items():
            await asyncio.gather(*(self._presence.join(room, player, player, now_ms) for player in players))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(_POSITIONS_EVERY_S, self._move))
            tasks.create_task(_every(1.0, self._beat))
            for number, role in enumerate(_ROLES):
                tasks.create_task(_every(1.0, partial(self._report, number, role)))
            for gateway in range(_ROLES.count("gateway")):
                directory = Directory(self._directory, gateway=f"p{gateway}", census=partial(self._census, gateway))
                tasks.create_task(directory.run())
            print("ready", flush=True)

    async def _move(self) -> None:
        self._seq += 1
        now_ms = _now_ms()
        place = (now_ms, [self._seq, random.random(), 0.0, random.random()])
        await self._positions.write({room: dict.fromkeys(players, place) for room, players in self._rooms.items()})

    async def _beat(self) -> None:
        beat = Heartbeat(_now_ms(), 20.0)
        await self._presence.extend({room: dict.fromkeys(players, beat) for room, players in self._rooms.items()})

    async def _report(self, number: int, role: str) -> None:
        at_ms = _now_ms()
        counts = tuple(random.randrange(1000) for _ in range(len(BOUNDS_S) + 1))
        samples: dict[str, Any] = {f"component_metric_{index}_total": at_ms + index for index in range(_SAMPLES)}
        samples |= {f"component_{index}_seconds": Distribution(counts, 1.0) for index in range(_HISTOGRAMS)}
        samples |= {"hub_clients": _PLAYERS // 2, "gateway_connections": _PLAYERS // 2}
        about: dict[str, Any] = {"host": "bench", "pid": number, "version": "0", "started_ms": 0, "url": "", "ops": ""}
        await self._vitals.write(Vitals(id=f"p{number}", role=role, at_ms=at_ms, samples=samples, **about))
        await self._timeline.add(
            at_ms // 1000 - 1,
            {f"series_{index}": 1.0 for index in range(20)} | {f"age:{index}": 3.0 for index in range(12)},
        )

    def _census(self, gateway: int) -> tuple[dict[str, RoomEntry], dict[str, PlayerEntry]]:
        rooms = {room: RoomEntry(len(players) // 2, 20.0) for room, players in self._rooms.items()}
        players = {
            # One of ten has something in its outbox, each time as much as chance has it.
            player: PlayerEntry(player, "player", (room,), random.choice((0,) * 9 + (random.randrange(4096),)), 0, 20.0)
            for room, players in self._rooms.items()
            for player in players[gateway::2]
        }
        return rooms, players


async def _every(interval_s: float, write: Any) -> None:
    due = time.monotonic()
    while True:
        await write()
        due += interval_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def world(url: str) -> None:
    """The process that writes."""
    connection = connect(RedisSettings(url=url))
    await World(connection).run()


async def watching(url: str, dashboards: int) -> dict[str, float]:
    """Let browsers look for a while, the given number of dashboards; returns the frames that came to each stream each second."""
    address = urlsplit(url)
    frames = 0

    async def stream(page: str) -> None:
        nonlocal frames
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 22)
        writer.write(f"GET /api/feed?page={page} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        with contextlib.closing(writer):
            while True:
                line = await reader.readline()
                assert line, "the dashboard has ended the stream"
                frames += line.startswith(b"data: ")

    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(stream(page)) for page in _PAGES for _ in range(dashboards)]
        await asyncio.sleep(_SETTLE_S)
        frames = 0
        start = time.monotonic()
        before = await asyncio.to_thread(_costs)
        await asyncio.sleep(_MEASURED_S)
        after, took = await asyncio.to_thread(_costs), time.monotonic() - start
        for task in streams:
            task.cancel()
    figures = {name: (after[name] - before[name]) / took for name in after}
    return figures | {"frames/s of a stream": frames / took / len(streams) if streams else 0.0}


_measured: dict[str, Any] = {}


def _costs() -> dict[str, float]:
    """What was spent so far: Redis by its own account, the processes by that of the system."""
    info = _info(_measured["redis"])
    writer, dashboard = (sum(_measured[name].cpu_times()[:2]) for name in ("world", "dashboard"))
    return {
        "Redis commands/s": float(info["total_commands_processed"]),
        "Redis CPU ms/s": (float(info["used_cpu_user"]) + float(info["used_cpu_sys"])) * 1000,
        "writers CPU ms/s": writer * 1000,
        "dashboard CPU ms/s": dashboard * 1000,
    }


def _info(port: int) -> dict[str, str]:
    """INFO, on a connection of its own: three commands a measurement, whoever is measured."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"INFO stats\r\nINFO cpu\r\nQUIT\r\n")
        lines = answer.read().decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


@contextlib.contextmanager
def contestants() -> Iterator[str]:
    """Redis, the world and a dashboard; the URL of that."""
    with running_redis_server() as redis, contextlib.ExitStack() as stack:
        writer, _ = stack.enter_context(running(module("bench.dashboards", "world", redis.url), os.environ))
        env = os.environ | {"GAMEBUS_REDIS__URL": redis.url, "GAMEBUS_DASHBOARD__INSECURE": "true"}
        env |= {"GAMEBUS_LOG__LEVEL": "warning"}
        dashboard, line = stack.enter_context(running(module("gamebus", "dashboard", "--port", "0"), env))
        _measured.update(redis=redis.port, world=psutil.Process(writer.pid), dashboard=psutil.Process(dashboard.pid))
        yield json.loads(line)["dashboard"]


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    with contestants() as url:
        runs = {str(number): (lambda number=number: asyncio.run(watching(url, number))) for number in _DASHBOARDS}
        found = report.interleaved(runs, rounds=given.rounds, warm_up_rounds=0)
    none, one, many = (found[str(number)] for number in _DASHBOARDS)
    lower = partial(report.compare, lower_is_better=True)
    rows = [
        lower("50 dashboards, beside 1", figure, many[figure], one[figure], "1 dashboard", target=_NO_MORE)
        for figure in ("Redis commands/s", "Redis CPU ms/s", "writers CPU ms/s")
    ]
    rows += (
        lower("1 dashboard, beside none", figure, one[figure], none[figure], "none")
        for figure in ("Redis commands/s", "Redis CPU ms/s")
    )
    named = {f"{number} dashboards": found[number] for number in found}
    report.publish("dashboards", rows, given.json, figures=named)


if __name__ == "__main__":
    if sys.argv[1:2] == ["world"]:
        run_contestant(world(sys.argv[2]))
    else:
        main()
