"""A naive relay of positions on `websockets`' asyncio API, as its documentation shows: each position is broadcast to its room.

It speaks as much of our protocol as the load does. No bus, no tokens, no validation, no limits. Prints its port.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict

import msgpack
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.websocket_load import SUBPROTOCOL

ROOMS: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(websocket: ServerConnection) -> None:
    """Serve one connection; the load ends by cutting it."""
    with contextlib.suppress(ConnectionClosed):
        await converse(websocket)
    for members in ROOMS.values():
        members.discard(websocket)


async def converse(websocket: ServerConnection) -> None:
    """Take what comes until the connection closes."""
    player = str(id(websocket))
    async for payload in websocket:
        operation, *fields = msgpack.unpackb(payload)
        if operation == "pub":
            _, room, data = fields
            broadcast(ROOMS[room], msgpack.packb(["tick", room, 2**63, [[player, data]]]))
        elif operation == "join":
            ROOMS[fields[0]].add(websocket)
            await websocket.send(msgpack.packb(["joined", fields[0], {}]))
        else:
            await websocket.send(msgpack.packb(["welcome", "", "", {}]))


async def main() -> None:
    """Serve until killed."""
    async with serve(
        handle, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None
    ) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
