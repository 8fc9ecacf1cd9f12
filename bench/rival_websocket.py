"""The rivals of the gateway's ingest: bare `websockets` asyncio loops, on uvloop as the gateway.

    python -m bench.rival_websocket receive            receives and decodes
    python -m bench.rival_websocket produce TOPIC      the same, and AIOKafkaProducer.send(acks=0) for every position
    python -m bench.rival_websocket model TOPIC        the same, each position through a pydantic model and written as JSON, as the
                                                       handlers of FastStream and its like do

No validation, no limits, no accounting. Both answer `hello`, `join` and `ping`, so that the same load can be put on them. Prints the URL.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import uvloop
from aiokafka import AIOKafkaProducer
from pydantic import BaseModel
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.websocket_load import SUBPROTOCOL

Publish = Callable[[str, Any], Awaitable[None]]


async def handle(websocket: ServerConnection, publish: Publish | None) -> None:
    """Serve one connection; the load ends by cutting it."""
    with contextlib.suppress(ConnectionClosed):
        await converse(websocket, publish)


async def converse(websocket: ServerConnection, publish: Publish | None) -> None:
    """Take what comes until the connection closes."""
    async for payload in websocket:
        message = msgpack.unpackb(payload)
        operation = message[0]
        if operation == "pub":
            if publish is not None:
                await publish(message[2], message[3])
        elif operation == "batch":
            if publish is not None:
                for _, room, data in message[1]:
                    await publish(room, data)
        elif operation == "ping":
            await websocket.send(msgpack.packb(["pong", message[1], 0]))
        elif operation == "join":
            await websocket.send(msgpack.packb(["joined", message[1], {}]))
        else:
            await websocket.send(msgpack.packb(["welcome", "", "", {}]))


class Position(BaseModel):
    """What a handler declares that it takes."""

    seq: int
    x: float
    y: float
    z: float
    vx: float = 0.0
    vy: float = 0.0
    vz: float = 0.0


async def main(topic: str | None, *, model: bool) -> None:
    """Serve until killed."""
    producer: AIOKafkaProducer | None = None
    publish: Publish | None = None
    if topic is not None:
        producer = AIOKafkaProducer(
            bootstrap_servers=os.environ["GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"], acks=0, linger_ms=5, max_batch_size=32_768
        )
        await producer.start()
        send = producer.send

        async def publish(room: str, data: Any) -> None:
            if model:
                position = Position.model_validate(dict(zip(Position.model_fields, data, strict=True)))
                value = position.model_dump_json().encode()
            else:
                value = msgpack.packb(data)
            await send(topic, value, key=room.encode())

    async with serve(
        lambda websocket: handle(websocket, publish), "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], compression=None
    ) as server:
        print(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    kind, *topics = sys.argv[1:]
    uvloop.run(main(topics[0] if kind != "receive" else None, model=kind == "model"))
