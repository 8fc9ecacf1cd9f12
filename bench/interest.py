"""Area of interest: what the ticks of a room of 1,000 players cost a gateway with `interest = "grid"`, against `all`, in the same process.

Everybody moves in every tick, on a plane of which each player sees about 50. Measured is the CPU time of the process, from Kafka's records to
the last byte that the kernel took: the hub, and a TCP connection to each player, read by another process. A tick begins when the one
before it has gone out, since `all` sends more in a second than this machine can carry.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from functools import partial
from typing import Any, Final

from bench import report
from bench.servers import contestant, run_contestant
from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.gateway.hub import Hub
from gamebus.gateway.outbox import Outbox
from gamebus.protocol.frames import Encoding
from gamebus.record import encode_realtime
from gamebus.settings import GatewaySettings

_PLAYERS: Final = 1_000
_IN_VIEW: Final = 50
_CELL: Final = 10.0
# Nine cells are in view: so large is a square in which that many of all players are.
_SIDE: Final = 3 * _CELL * (_PLAYERS / _IN_VIEW) ** 0.5
_STEP: Final = 0.5
_TICKS: Final = 40
_ROOM: Final = "arena"


class _Player:
    """A client on a real connection, whose bytes are counted."""

    role = Role.PLAYER
    rate_limited = 0
    rtt_ms = None

    def __init__(self, name: str, transport: asyncio.WriteTransport) -> None:
        self.player = self.session = name
        self.bytes = self.frames = 0
        self.transport = transport
        # The whole of a tick fits in: nobody is conflated.
        transport.set_write_buffer_limits(1 << 20)
        self.outbox = Outbox(
            self._write,
            encoding=Encoding.MSGPACK,
            on_overflow=lambda: None,
            call_soon=asyncio.get_running_loop().call_soon,
        )
        self.place = [random.uniform(0, _SIDE), random.uniform(0, _SIDE)]

    def _write(self, frame: bytes) -> None:
        self.bytes += len(frame)
        self.frames += 1
        self.transport.write(frame)

    def step(self) -> list[float]:
        self.place = [min(max(0.0, at + random.uniform(-_STEP, _STEP)), _SIDE) for at in self.place]
        return self.place


class _Record:
    __slots__ = ("key", "offset", "value")

    def __init__(self, offset: int, value: bytes) -> None:
        self.offset, self.key, self.value = offset, _ROOM.encode(), value


class _NoRedis:
    def __getattr__(self, _name: str) -> Any:
        async def nothing(*_arguments: Any, **_options: Any) -> dict[str, Any]:
            return {}

        return nothing


class _Sink(asyncio.BufferedProtocol):
    """Reads and forgets."""

    _buffer = bytearray(1 << 18)

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, _nbytes: int) -> None:
        pass


async def sink() -> None:
    """The other end of all connections, until its standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Sink, "127.0.0.1", 0, backlog=_PLAYERS)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def play(interest: str) -> None:
    """One contestant: print CPU seconds, bytes and entries per tick."""
    random.seed(7)
    rooms = f'[rooms."{_ROOM}"]\ninterest = "{interest}"\n' + (f"cell_size = {_CELL}\n" if interest == "grid" else "")
    redis: Any = _NoRedis()
    hub = Hub(
        catalog=parse_catalog(rooms),
        partition=lambda _topic, _key: 0,
        settings=GatewaySettings(tick_hz=60),
        presence=redis,
        positions=redis,
        replaced=redis.replaced,
    )
    hub.go_live({(topic, 0): 0 for topic in hub.durable_topics})
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.interest", "sink", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    port = int(await other.stdout.readline())
    players = []
    for number in range(_PLAYERS):
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
        players.append(_Player(f"player-{number:04}", transport))
    for player in players:
        hub.join(player, _ROOM)
    # Joins wait for Redis, which has nothing to say.
    await asyncio.sleep(1.0)
    cpu_s = 0.0
    for tick in range(_TICKS + 2):
        records = [
            _Record(
                index,
                encode_realtime(
                    "position", _ROOM, one.player, time.time_ns() // 1_000_000, "b", tick, [tick, *one.step(), 0.0]
                ),
            )
            for index, one in enumerate(players)
        ]
        if tick == 2:
            for player in players:
                player.bytes = player.frames = 0
        began = time.process_time()
        hub.on_realtime(hub.realtime_topics[0], 0, records)
        while any(player.transport.get_write_buffer_size() for player in players):  # noqa: ASYNC110 - transports have no event
            await asyncio.sleep(0.001)
        cpu_s += time.process_time() - began if tick >= 2 else 0.0
        # Until the room may tick again.
        await asyncio.sleep(0.02)
    sent = sum(player.frames for player in players)
    told = hub.statistics()
    other.stdin.close()
    await other.wait()
    print(
        json.dumps(
            {
                "cpu_ms": cpu_s / _TICKS * 1000,
                "bytes": sum(player.bytes for player in players) / _TICKS,
                "frames": sent / _TICKS,
                "ticks": told.ticks_total,
            }
        )
    )


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    found = report.interleaved(
        {name: partial(contestant, "bench.interest", name) for name in ("grid", "all")},
        rounds=given.rounds,
        warm_up_rounds=0,
    )
    mine, theirs = found["grid"], found["all"]
    lower = partial(report.compare, lower_is_better=True, target=3.0)
    case = f"{_PLAYERS:,} players, {_IN_VIEW} in view"
    rows = [
        lower(case, "CPU ms/tick", mine["cpu_ms"], theirs["cpu_ms"], "all"),
        lower(case, "kB/tick", mine["bytes"] / 1000, theirs["bytes"] / 1000, "all"),
        report.compare(case, "frames/tick", mine["frames"], theirs["frames"], "all"),
    ]
    report.publish("interest", rows, given.json)


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        run_contestant(sink())
    elif len(sys.argv) > 1 and sys.argv[1] in ("grid", "all"):
        run_contestant(play(sys.argv[1]))
    else:
        main()
