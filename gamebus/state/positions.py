"""Last known position of every player, by room.

The last writer wins: the realtime consumer writes what it processed in the order of Kafka, so a read shows, of each player,
the newest position that was processed. A position lasts while its player is present, and a while longer
(:data:`KEEP_MS`); a room where nobody moves or sends heartbeats vanishes after ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgpack

from gamebus.state.connection import Command, Connection
from gamebus.state.presence import ROOM_TTL_MS
from gamebus.state.scripts import load_script

KEEP_MS: Final = 60_000
"""How long the position of a player is kept who is not present (a bot of a game server, one who has left)."""

_PRUNE: Final = load_script("prune_positions")


class PositionState:
    """Positions in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, room: str) -> dict[str, Any]:
        """Player -> data of the last position (`[seq, x, y, z, ...]`), players included who have just left."""
        values = await self._connection.execute("HGETALL", self._key(room))
        return {player.decode(): msgpack.unpackb(value)[1] for player, value in values.items()}

    async def write(self, batch: Mapping[str, Mapping[str, tuple[int, Any]]]) -> None:
        """Write room -> player -> (server_ms, data), the newest of each player, in one round trip.

        Writing a batch twice is harmless; two batches in the wrong order are not, so await one before the next.
        """
        commands: list[Command] = []
        for room, players in batch.items():
            key = self._key(room)
            fields: list[str | bytes] = []
            for player, position in players.items():
                fields += (player, msgpack.packb(position))
            commands += (("HSET", key, *fields), ("PEXPIRE", key, ROOM_TTL_MS))
        await self._connection.pipeline(commands)

    async def prune(self, rooms: Iterable[str], now_ms: int) -> int:
        """Forget positions older than :data:`KEEP_MS` of players who are not present; return how many."""
        presence = self._connection.keys.room
        calls = [([self._key(room), presence(room, "presence")], (now_ms, now_ms - KEEP_MS)) for room in rooms]
        return sum(await self._connection.run_many(_PRUNE, calls))

    def _key(self, room: str) -> str:
        return self._connection.keys.room(room, "positions")
