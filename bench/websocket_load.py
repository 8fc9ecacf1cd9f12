"""Load for a websocket server: real `websockets` clients that publish positions at a steady rate, in a process of their own.

    python -m bench.websocket_load URL --clients 100 --rate 50 --seconds 5 --batch 1

Every client sends `hello`, then its positions at the planned times, then `ping`, and waits for the `pong`: when this process ends, the
server has taken everything. Prints one JSON line: {"sent": positions, "frames": n, "late_ms": p99 delay of a send}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from typing import Any

import msgpack
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from gamebus.catalog import Role
from gamebus.gateway.auth import mint_token

SUBPROTOCOL = Subprotocol("gamebus.v1.msgpack")


def position(seq: int) -> list[Any]:
    """Data of a position with velocity, as a game client sends it."""
    return [seq, 101.25 + seq * 0.01, 1.5, -37.75, 0.5, 0.0, -0.25]


async def open_client(url: str, number: int, rooms: int) -> tuple[ClientConnection, str]:
    """Connect and say hello as a game server, which may publish into rooms that it has not joined."""
    websocket = await connect(url, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None, max_queue=None)
    now_ms = time.time_ns() // 1_000_000
    token = mint_token(os.environ["GAMEBUS_AUTH__SECRET"], sub=f"load-{number}", role=Role.SERVER, now_ms=now_ms)
    await websocket.send(msgpack.packb(["hello", token]))
    assert msgpack.unpackb(await websocket.recv())[0] == "welcome"
    return websocket, f"bench-{number % rooms}"


def prepare(room: str, *, count: int, batch: int) -> list[bytes]:
    """Masked frames of `count` positions, made beforehand so that the load costs little next to the server."""
    messages: list[list[Any]]
    if batch == 1:
        messages = [["pub", "position", room, position(seq)] for seq in range(1, count + 1)]
    else:
        messages = [
            ["batch", [["position", room, position(first + index)] for index in range(batch)]]
            for first in range(1, count + 1, batch)
        ]
    return [Frame(Opcode.BINARY, msgpack.packb(message)).serialize(mask=True) for message in messages]


async def publish(
    websocket: ClientConnection, frames: list[bytes], *, start: float, interval: float, late: list[float]
) -> None:
    """Send the frames at the planned times, then wait until the server has taken them."""
    for number, frame in enumerate(frames):
        planned = start + number * interval
        wait = planned - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        late.append(time.monotonic() - planned)
        websocket.transport.write(frame)
    await websocket.send(msgpack.packb(["ping", 1]))
    while msgpack.unpackb(await websocket.recv())[0] != "pong":
        pass


async def main(url: str, *, clients: int, rooms: int, rate: float, seconds: float, batch: int) -> None:
    """Run the load; see the module."""
    count = int(rate * seconds) // batch * batch
    opened = [await open_client(url, number, rooms) for number in range(clients)]
    prepared = [prepare(room, count=count, batch=batch) for _, room in opened]
    late: list[float] = []
    # The parent begins to measure here: connecting does not count.
    print("ready", flush=True)
    start = time.monotonic() + 0.2
    interval = batch / rate
    async with asyncio.TaskGroup() as tasks:
        for number, ((websocket, _), frames) in enumerate(zip(opened, prepared, strict=True)):
            offset = number / clients * interval
            tasks.create_task(publish(websocket, frames, start=start + offset, interval=interval, late=late))
    took = time.monotonic() - start
    late.sort()
    result = {
        "sent": count * clients,
        "frames": count // batch * clients,
        "seconds": took,
        "late_ms": late[int(len(late) * 0.99)] * 1000,
    }
    print(json.dumps(result), flush=True)
    for websocket, _ in opened:
        websocket.transport.abort()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rooms", type=int, default=10)
    parser.add_argument("--rate", type=float, default=50.0, help="positions a second of one client")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    uvloop.run(
        main(
            given.url,
            clients=given.clients,
            rooms=given.rooms,
            rate=given.rate,
            seconds=given.seconds,
            batch=given.batch,
        )
    )
