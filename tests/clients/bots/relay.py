"""A tiny gateway on a real websocket server: rooms, positions and durable events, relayed in one process.

It keeps the wire protocol of a gateway that has no resume, and breaks it where `Faults` says so, by known counts.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import jwt
import msgpack
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

SECRET = "a secret of the tests, thirty-two bytes or more"
TICK_S = 0.02


@dataclass
class Faults:
    """What the relay does wrong, each to one receiver of an event: the first in the room.

    The numbers are those of chats in the order in which the relay took them, from 1.
    """

    duplicate: frozenset[int] = frozenset()
    withhold: frozenset[int] = frozenset()
    swap_with_next: frozenset[int] = frozenset()
    nack_for_good: frozenset[int] = frozenset()
    nack_once: frozenset[int] = frozenset()
    never_answer: frozenset[int] = frozenset()
    refuse_players: frozenset[str] = frozenset()


@dataclass
class _Room:
    members: dict[str, ServerConnection] = field(default_factory=dict)
    positions: dict[str, Any] = field(default_factory=dict)
    events: int = 0


class Relay:
    """The server; `published` holds what it acknowledged, as (publisher, room, type, id).

    Args:
        enough: so many durable events set `reached`.
    """

    def __init__(self, faults: Faults | None = None, *, enough: int = 0) -> None:
        self._left = enough
        self.reached = asyncio.Event()
        self._faults = faults or Faults()
        self._rooms: defaultdict[str, _Room] = defaultdict(_Room)
        self._server: Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._chats = 0
        self._nacked_once: set[str] = set()
        # A chat that waits for the next one to overtake it, for the first receiver.
        self._held: list[Any] | None = None
        self.published: list[tuple[str, str, str, str]] = []
        self.positions = 0

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol("gamebus.v1.msgpack")], compression=None
        )
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._ticker is not None
        self._ticker.cancel()
        await asyncio.wait((self._ticker,))
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1"

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for name, room in self._rooms.items():
                if room.positions:
                    entries = [[player, data] for player, data in room.positions.items()]
                    broadcast(room.members.values(), msgpack.packb(["tick", name, 1, entries]))
                    room.positions.clear()

    async def _serve(self, connection: ServerConnection) -> None:
        hello = msgpack.unpackb(await connection.recv())
        claims = jwt.decode(hello[1], SECRET, algorithms=["HS256"], audience="gamebus")
        player = claims["sub"]
        if player in self._faults.refuse_players:
            await connection.send(msgpack.packb(["bye", 4502, "bad token", None]))
            await connection.close(4502, "bad token")
            return
        await connection.send(
            msgpack.packb(["welcome", "s", player, {"server_ms": 1, "types": {"chat": "at-least-once"}}])
        )
        try:
            async for frame in connection:
                await self._take(connection, player, claims["role"], msgpack.unpackb(frame))
        except ConnectionClosed:
            pass
        finally:
            for room in self._rooms.values():
                room.members.pop(player, None)

    async def _take(self, connection: ServerConnection, player: str, role: str, message: list[Any]) -> None:
        room = self._rooms[message[2] if message[0] == "pub" else message[1]]
        match message:
            case ["join", name]:
                room.members[player] = connection
                info = {"cursor": "0", "players": list(room.members), "positions": [], "tick_hz": 50, "recovered": None}
                await connection.send(msgpack.packb(["joined", name, info]))
            case ["leave", name]:
                room.members.pop(player, None)
                await connection.send(msgpack.packb(["left", name]))
            case ["pub", "position", _, data]:
                self.positions += 1
                room.positions[player] = data
            case ["pub", event_type, name, data, event_id]:
                assert role == "server" or event_type == "chat"
                await self._durable(connection, player, event_type, name, data, event_id)

    async def _durable(
        self, connection: ServerConnection, player: str, event_type: str, name: str, data: Any, event_id: str
    ) -> None:
        self._left -= 1
        if self._left <= 0:
            self.reached.set()
        number = 0
        if event_type == "chat" and event_id not in self._nacked_once:
            self._chats += 1
            number = self._chats
        faults = self._faults
        if number in faults.nack_for_good:
            await connection.send(msgpack.packb(["nack", event_id, "bad_data", "no", None]))
            return
        if number in faults.nack_once:
            self._nacked_once.add(event_id)
            await connection.send(msgpack.packb(["nack", event_id, "unavailable", "later", 1]))
            return
        room = self._rooms[name]
        room.events += 1
        cursor = f"{name}-{room.events}"
        event = ["event", event_type, name, player, 1, data, event_id, cursor]
        if number not in faults.never_answer:
            self.published.append((player, name, event_type, event_id))
            await connection.send(msgpack.packb(["ack", event_id, cursor]))
        self._deliver(room, event, number)

    def _deliver(self, room: _Room, event: list[Any], number: int) -> None:
        first, *others = room.members.values()
        frame = msgpack.packb(event)
        broadcast(others, frame)
        faults = self._faults
        if number in faults.swap_with_next:
            self._held = event
            return
        if number not in faults.withhold:
            broadcast([first], frame)
        if number in faults.duplicate:
            broadcast([first], frame)
        if self._held is not None:
            broadcast([first], msgpack.packb(self._held))
            self._held = None
