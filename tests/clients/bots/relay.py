"""A tiny gateway on a real websocket server: rooms, positions and durable events, relayed in one process.

It keeps the wire protocol, resume included, and breaks it where `Faults` says so, by known counts.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
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
    not_resumed: frozenset[int] = frozenset()
    """Left out of what a resume brings, to everyone."""
    stale: frozenset[int] = frozenset()
    """After the positions of these numbers a tick brings the very first one once more."""
    delay_s: float = 0.0
    """Everything sent is this much later."""
    stall: tuple[int, float] = (0, 0.0)
    """At the position of this number nothing is read, sent or ticked for so many seconds."""


@dataclass
class _Room:
    members: dict[str, ServerConnection] = field(default_factory=dict)
    positions: dict[str, Any] = field(default_factory=dict)
    log: list[tuple[int, list[Any]]] = field(default_factory=list)
    """Every event with its number."""


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
        self._flows = asyncio.Event()
        self._flows.set()
        self._first_position: list[Any] | None = None
        self.published: list[tuple[str, str, str, str]] = []
        self.positions = 0
        self.playing = asyncio.Event()
        """Set at the first position."""
        self.moves: defaultdict[str, list[Any]] = defaultdict(list)
        """Player -> its positions."""
        self.lines: defaultdict[str, list[str]] = defaultdict(list)
        """Player -> what it said."""
        self.cuts = 0
        """Connections that ended without a close frame."""

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
            await self._flows.wait()
            for name, room in self._rooms.items():
                if room.positions:
                    entries = [[player, data] for player, data in room.positions.items()]
                    self._send(room.members.values(), ["tick", name, 1, entries])
                    room.positions.clear()

    def _send(self, connections: Iterable[ServerConnection], message: list[Any]) -> None:
        frame, targets = msgpack.packb(message), list(connections)
        if self._faults.delay_s:
            asyncio.get_running_loop().call_later(self._faults.delay_s, broadcast, targets, frame)
        else:
            broadcast(targets, frame)

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
        for name, cursor in hello[2].get("resume", {}).items():
            await self._join(connection, player, name, resumed_from=int(cursor))
        try:
            async for frame in connection:
                await self._flows.wait()
                await self._take(connection, player, claims["role"], msgpack.unpackb(frame))
        except ConnectionClosed:
            self.cuts += 1
        finally:
            for room in self._rooms.values():
                if room.members.get(player) is connection:
                    del room.members[player]

    async def _join(self, connection: ServerConnection, player: str, name: str, resumed_from: int | None) -> None:
        room = self._rooms[name]
        room.members[player] = connection
        cursor = str(len(room.log) if resumed_from is None else resumed_from)
        info = {
            "cursor": cursor,
            "players": list(room.members),
            "positions": [],
            "tick_hz": 50,
            "recovered": None if resumed_from is None else True,
        }
        frames = [["joined", name, info]]
        if resumed_from is not None:
            missed = room.log[resumed_from:]
            frames += [event for number, event in missed if number not in self._faults.not_resumed]
        # At once: what is written to the room next must come after it.
        for frame in frames:
            broadcast([connection], msgpack.packb(frame))

    async def _take(self, connection: ServerConnection, player: str, role: str, message: list[Any]) -> None:
        room = self._rooms[message[2] if message[0] == "pub" else message[1]]
        match message:
            case ["join", name]:
                await self._join(connection, player, name, resumed_from=None)
            case ["leave", name]:
                room.members.pop(player, None)
                await connection.send(msgpack.packb(["left", name]))
            case ["pub", "position", name, data]:
                self.positions += 1
                self.playing.set()
                self.moves[player].append(data)
                room.positions[player] = data
                self._first_position = self._first_position or [player, data]
                if self.positions in self._faults.stale:
                    broadcast(room.members.values(), msgpack.packb(["tick", name, 1, [self._first_position]]))
                if self.positions == self._faults.stall[0]:
                    self._flows.clear()
                    asyncio.get_running_loop().call_later(self._faults.stall[1], self._flows.set)
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
            self.lines[player].append(data["text"])
        faults = self._faults
        if number in faults.nack_for_good:
            await connection.send(msgpack.packb(["nack", event_id, "bad_data", "no", None]))
            return
        if number in faults.nack_once:
            self._nacked_once.add(event_id)
            await connection.send(msgpack.packb(["nack", event_id, "unavailable", "later", 1]))
            return
        room = self._rooms[name]
        cursor = str(len(room.log) + 1)
        event = ["event", event_type, name, player, 1, data, event_id, cursor]
        if number not in faults.never_answer:
            self.published.append((player, name, event_type, event_id))
            self._send([connection], ["ack", event_id, cursor])
        room.log.append((number, event))
        self._deliver(room, event, number)

    def _deliver(self, room: _Room, event: list[Any], number: int) -> None:
        if not room.members:
            return
        first, *others = room.members.values()
        self._send(others, event)
        faults = self._faults
        if number in faults.swap_with_next:
            self._held = event
            return
        if number not in faults.withhold:
            self._send([first], event)
        if number in faults.duplicate:
            self._send([first], event)
        if self._held is not None:
            self._send([first], self._held)
            self._held = None
