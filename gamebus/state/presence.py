"""Presence: who is in which room, as the gateways say and the heartbeats keep.

A player is present from :meth:`PresenceState.join` until :meth:`PresenceState.leave`, or until :data:`EXPIRY_MS` after the
last word of him: a refresh by his gateway or a heartbeat. A player is in a room once, with the session that joined last; what
an older session says no longer counts, so a slow `leave` of a replaced connection removes nobody.

Gateways compare wall clocks here through `now_ms`: a clock that is wrong by seconds makes its players come and go too late or
too early by as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgpack

from gamebus.state.connection import Connection, Value
from gamebus.state.scripts import load_script

EXPIRY_MS: Final = 10_000
"""A player of whom nothing was heard for so long is gone."""

KEY_TTL_MS: Final = 60_000
"""Presence keys of a room of which nothing was heard for so long vanish."""

ROOM_TTL_MS: Final = 600_000
"""Positions and heartbeats of a room vanish so long after the last of them."""

_JOIN: Final = load_script("join_presence")
_LEAVE: Final = load_script("leave_presence")
_REFRESH: Final = load_script("refresh_presence")
_EXTEND: Final = load_script("extend_presence")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a player."""

    server_ms: int
    """When a gateway took it."""

    rtt_ms: float | None
    """Round trip that the client measured."""


class PresenceState:
    """Presence in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def join(self, room: str, player: str, session: str, now_ms: int) -> None:
        """Put a player into a room, replacing his other session there."""
        await self._connection.run(_JOIN, self._keys(room), (player, session, now_ms + EXPIRY_MS, now_ms, KEY_TTL_MS))

    async def leave(self, room: str, player: str, session: str) -> bool:
        """Take a player out of a room; False, and nothing happens, when another session of his is there."""
        return bool(await self._connection.run(_LEAVE, self._keys(room), (player, session)))

    async def refresh(self, members: Iterable[tuple[str, str, str]], now_ms: int) -> list[tuple[str, str, str]]:
        """Say that (room, player, session) are still here; players whom Redis has lost come back.

        Returns:
            Those that another session has replaced: the player connected elsewhere and the takeover message was missed.
        """
        rooms: dict[str, dict[str, str]] = {}
        for room, player, session in members:
            rooms.setdefault(room, {})[player] = session
        calls = []
        for room, players in rooms.items():
            arguments: list[Value] = [now_ms + EXPIRY_MS, now_ms, KEY_TTL_MS]
            for player, session in players.items():
                arguments += (player, session)
            calls.append((self._keys(room), arguments))
        replaced = await self._connection.run_many(_REFRESH, calls)
        return [
            (room, player.decode(), players[player.decode()])
            for (room, players), names in zip(rooms.items(), replaced, strict=True)
            for player in names
        ]

    async def members(self, rooms: Sequence[str], now_ms: int) -> dict[str, frozenset[str]]:
        """Who is in each of `rooms`, in one round trip."""
        key = self._connection.keys.room
        commands = [("ZRANGEBYSCORE", key(room, "presence"), f"({now_ms}", "+inf") for room in rooms]
        results = await self._connection.pipeline(commands)
        return {
            room: frozenset(player.decode() for player in players) for room, players in zip(rooms, results, strict=True)
        }

    async def extend(self, heartbeats: Mapping[str, Mapping[str, Heartbeat]]) -> int:
        """Keep present the players of each room who sent heartbeats and are present; return how many that were."""
        calls = []
        for room, players in heartbeats.items():
            arguments: list[Value] = [KEY_TTL_MS, ROOM_TTL_MS]
            for player, beat in players.items():
                arguments += (player, beat.server_ms + EXPIRY_MS, msgpack.packb([beat.server_ms, beat.rtt_ms]))
            calls.append(([*self._keys(room), self._connection.keys.room(room, "positions")], arguments))
        return sum(await self._connection.run_many(_EXTEND, calls))

    async def heartbeats(self, room: str) -> dict[str, Heartbeat]:
        """Last heartbeat of each player of a room."""
        values = await self._connection.execute("HGETALL", self._connection.keys.room(room, "heartbeats"))
        return {player.decode(): Heartbeat(*msgpack.unpackb(value)) for player, value in values.items()}

    async def last_heartbeats(self, places: Sequence[tuple[str, str]]) -> dict[str, Heartbeat]:
        """Last heartbeat of the player of each (room, player) that sent one there."""
        key = self._connection.keys.room
        values = await self._connection.pipeline([("HGET", key(room, "heartbeats"), player) for room, player in places])
        return {
            player: Heartbeat(*msgpack.unpackb(value))
            for (_, player), value in zip(places, values, strict=True)
            if value is not None
        }

    def _keys(self, room: str) -> list[str]:
        key = self._connection.keys.room
        return [key(room, "presence"), key(room, "sessions"), key(room, "heartbeats")]
