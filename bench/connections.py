"""Idle connections: what each costs a server in memory, and what 10,000 of them cost a client that is not idle.

    python -m bench.connections
    python -m bench.connections --connections 2000

===========  ==========================================================================================================
ours         `gamebus gateway`: players who said hello and joined, in rooms of 50
Socket.IO    the relay of `rivals/socketio`: connected to the namespace, joined
websockets   the asyncio server of `websockets`, which answers hello and join
===========  ==========================================================================================================

Memory is what the server's resident set grew by, from 100 connections to all, for each; before a reading Node collects garbage. Then one
more player of the gateway moves and chats in a room of its own: the round trip of its position, through Kafka and a tick, and the time to
the ack of its chat line, beside the same with nobody else there.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any, Final

import msgpack
import psutil

from bench import report
from bench.codecs import Codec, Gamebus, masked
from bench.crowd import Crowd, Player
from bench.relays import relay
from bench.room_load import codec
from bench.servers import create, environment, module, new_prefix, running, servers
from gamebus.catalog_file import parse_catalog

_ROOM: Final = 50
_FIRST: Final = 100
_TRIPS: Final = 50
# Below the rate of chat that a client has.
_TRIP_EVERY_S: Final = 0.12
_SETTLE_S: Final = 2.0


def hold(url: str, kind: str, pid: int, *, connections: int) -> dict[str, float]:
    """Join, and tell what the server's memory grew by for each; of a gateway what a canary meets, too."""
    codecs = [codec(kind, url, number, max(1, connections // _ROOM)) for number in range(connections)]
    server = psutil.Process(pid)
    crowd = Crowd(url, codecs)
    crowd.join(_FIRST)
    before = _resident_bytes(server, kind, crowd)
    crowd.join()
    figures = {"kB": (_resident_bytes(server, kind, crowd) - before) / (connections - _FIRST) / 1000}
    if kind == "gamebus":
        figures |= _canary(url, crowd)
    crowd.close()
    return figures


def alone(url: str) -> dict[str, float]:
    """What a canary meets with nobody else there."""
    return _canary(url, None)


def _canary(url: str, others: Crowd | None) -> dict[str, float]:
    crowd = Crowd(url, [_with_room(codec("gamebus", url, 99_999, 1), "canary")])
    crowd.join()
    (player,) = crowd.players
    trips: list[float] = []
    acks: list[float] = []
    for number in range(_TRIPS):
        start = time.monotonic()
        trips.append(_until(crowd, player, partial(crowd.send_position, player), b"\x94\xa4tick"))
        chat = masked(0x82, msgpack.packb(["pub", "chat", "canary", {"text": "tweet"}, f"{os.getpid()}-{number}"]))
        acks.append(_until(crowd, player, partial(player.socket.send, chat), b"\x93\xa3ack"))
        while (left := start + _TRIP_EVERY_S - time.monotonic()) > 0:
            if others is not None:
                # Which answer the pings of the gateway, as clients do.
                others.poll(0)
            crowd.poll(min(left, 0.01))
    crowd.close()
    return {
        "trip p50 ms": sorted(trips)[_TRIPS // 2],
        "trip max ms": max(trips),
        "ack p50 ms": sorted(acks)[_TRIPS // 2],
        "ack max ms": max(acks),
    }


def _until(crowd: Crowd, player: Player, send: Any, head: bytes) -> float:
    """Milliseconds from sending to the message that begins so."""
    seen: list[float] = []
    player.on_message = lambda message: seen.append(time.monotonic()) if message.startswith(head) else None
    start = time.monotonic()
    send()
    crowd.until(lambda: bool(seen))
    player.on_message = None
    return (seen[0] - start) * 1000


def _with_room(of: Codec, room: str) -> Codec:
    assert isinstance(of, Gamebus)
    return Gamebus(of.player, room, of.token)


def _resident_bytes(server: psutil.Process, kind: str, crowd: Crowd) -> int:
    settled = time.monotonic() + _SETTLE_S
    if kind == "socketio":
        server.send_signal(signal.SIGUSR2)
    while time.monotonic() < settled:
        crowd.poll(0.1)
    return int(server.memory_info().rss)


def child(*arguments: str) -> dict[str, float]:
    """Run a function of this module in a process of its own."""
    done = subprocess.run(
        module("bench.connections", *arguments), stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(connections: int) -> dict[str, dict[str, float]]:
    """Every contestant, one after the other, each in a process that served nobody before."""
    found: dict[str, dict[str, float]] = {}
    with servers() as addresses:
        prefix = new_prefix()
        asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
        env = environment(addresses, prefix) | {"GAMEBUS_GATEWAY__MAX_CONNECTIONS": str(connections + _FIRST)}
        os.environ.update(env)
        with running(module("gamebus", "gateway", "--port", "0"), env) as (gateway, line):
            url = json.loads(line)["gateway"]
            found["alone"] = child("alone", url)
            found["ours"] = child("hold", url, "gamebus", str(gateway.pid), str(connections))
        with relay("socketio batched") as (process, url):
            found["Socket.IO"] = child("hold", url, "socketio", str(process.pid), str(connections))
        with running(module("bench.rival_websocket", "receive"), env) as (process, line):
            found["websockets asyncio"] = child("hold", line.strip(), "websockets", str(process.pid), str(connections))
    return found


def main() -> None:
    """Run the bench."""
    parser = report.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = measure(given.connections)
    case, lower = f"{given.connections:,} connections", partial(report.compare, lower_is_better=True)
    mine = found["ours"]
    rows = [lower(case, "kB each, of 10", mine["kB"], 10, "limit", target=1.0)]
    rows += (
        lower(case, "kB each", mine["kB"], found[rival]["kB"], rival) for rival in ("websockets asyncio", "Socket.IO")
    )
    rows += (
        lower(f"one that plays beside {case}", figure, mine[figure], alone_ms, "alone")
        for figure, alone_ms in found["alone"].items()
    )
    report.publish("connections", rows, given.json)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["hold", url, kind, pid, connections]:
            print(json.dumps(hold(url, kind, int(pid), connections=int(connections))))
        case ["alone", url]:
            print(json.dumps(alone(url)))
        case _:
            main()
