"""Load of rooms: players who each send 20 positions a second and take what comes, in a process of their own.

    python -m bench.room_load URL --codec gamebus --players 400 --rooms 8 --seconds 4 --watch gateway=4711

Prints one JSON line:

=====================  ================================================================================================
delivered              positions that came to a player, its own among them
expected               as many as there would be if each position were in exactly one tick
bytes                  received
age_p50_ms, age_p99_ms from the moment a position was sent to the moment it was received
late_p99_ms            how late the load itself sent; ages mean something only while this is small
cores                  what the load used; near 1 it is the load that is measured
cpu_s                  CPU seconds of each watched process, in the same span
=====================  ================================================================================================

Ages include what a message waits for in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.request import Request, urlopen

import psutil

from bench.codecs import Codec, Colyseus, Gamebus, SocketIo
from bench.crowd import Crowd
from gamebus.catalog import Role
from gamebus.gateway.auth import mint_token

POSITIONS_PER_S: Final = 20
# Before the measurement: connections settle, ticks fall into step.
_WARM_UP_S: Final = 1.0
# The load looks for what is due so often.
_STEP_S: Final = 0.001


def codec(kind: str, url: str, number: int, rooms: int) -> Codec:
    """A player's side of a protocol."""
    player, room = f"player-{number:05}", f"room-{number % rooms:04}"
    if kind == "colyseus":
        return Colyseus(room, _seat(url, room))
    if kind == "socketio":
        return SocketIo(player, room)
    now_ms = time.time_ns() // 1_000_000
    secret = os.environ["GAMEBUS_AUTH__SECRET"]
    return Gamebus(player, room, mint_token(secret, sub=player, role=Role.PLAYER, now_ms=now_ms))


def _seat(url: str, room: str) -> dict[str, str]:
    """A seat that Colyseus' matchmaker reserves."""
    request = Request(
        f"http{url.removeprefix('ws')}/matchmake/joinOrCreate/arena",
        data=json.dumps({"room": room}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=10) as answer:
        seat: dict[str, str] = json.load(answer)
    return seat


def play(crowd: Crowd, seconds: float) -> list[float]:
    """Send and receive for a while; by how many seconds each position was sent late."""
    # Phases are those of chance, as players are not in step with each other.
    order = random.Random(7).sample(crowd.players, len(crowd.players))
    interval = 1 / POSITIONS_PER_S / len(order)
    late: list[float] = []
    start, sent = time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        due = int((now - start) / interval) + 1
        while sent < due:
            late.append(time.monotonic() - start - sent * interval)
            crowd.send_position(order[sent % len(order)])
            sent += 1
        crowd.poll(_STEP_S)
    return late


def measure(crowd: Crowd, seconds: float, watched: Mapping[str, psutil.Process]) -> dict[str, Any]:
    """Play; what was received and what it cost."""
    play(crowd, _WARM_UP_S)
    crowd.reset()
    before = {name: _cpu_s(process) for name, process in watched.items()}
    own, start = time.process_time(), time.monotonic()
    late = sorted(play(crowd, seconds))
    took, own = time.monotonic() - start, time.process_time() - own
    cpu_s = {name: _cpu_s(process) - before[name] for name, process in watched.items()}
    ages = sorted(crowd.ages_ms)
    rooms: dict[str, int] = {}
    for player in crowd.players:
        rooms[player.codec.room] = rooms.get(player.codec.room, 0) + 1
    return {
        "seconds": took,
        "delivered": crowd.updates,
        "expected": sum(size * size for size in rooms.values()) * POSITIONS_PER_S * took,
        "bytes": crowd.bytes,
        "age_p50_ms": ages[len(ages) // 2],
        "age_p99_ms": ages[len(ages) * 99 // 100],
        "late_p99_ms": late[len(late) * 99 // 100] * 1000,
        "cores": own / took,
        "cpu_s": cpu_s,
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Run the load; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--codec", choices=("gamebus", "socketio", "colyseus"), default="gamebus")
    parser.add_argument("--players", type=int, default=400)
    parser.add_argument("--rooms", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--watch", action="append", default=[], help="NAME=PID of a process whose CPU time to measure")
    given = parser.parse_args()
    watched = {name: psutil.Process(int(pid)) for name, pid in (watch.split("=") for watch in given.watch)}
    crowd = Crowd(given.url, [codec(given.codec, given.url, number, given.rooms) for number in range(given.players)])
    crowd.join()
    json.dump(measure(crowd, given.seconds, watched), sys.stdout)
    print(flush=True)
    crowd.close()


if __name__ == "__main__":
    main()
