"""Directory: which rooms and players each gateway has, for operators.

A gateway writes what changed and says once in a while that it is still there; when it dies its part expires within
:data:`TTL_MS`. Players are found by name in the parts of all gateways, so no key grows with the number of players who ever played.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgpack

from gamebus.state.connection import Command, Connection

TTL_MS: Final = 15_000
"""A gateway of which nothing was heard for so long is not in the directory."""

SLOW_RTT_MS: Final = 300.0
"""A longer round trip is felt by the player."""

_SCAN_COUNT: Final = 1000
_KINDS: Final = ("rooms", "players", "troubled")


class RoomEntry(NamedTuple):
    """A room as one gateway has it."""

    clients: int
    """Connections in the room, spectators and servers included."""

    tick_hz: float


class PlayerEntry(NamedTuple):
    """A connection of a player to one gateway. A tuple: a gateway makes one for each player every two seconds."""

    session: str
    role: str
    rooms: tuple[str, ...]
    queued_bytes: int
    """What waits in its outbox."""

    rate_limited: int
    """Messages refused since it connected, because too many of a type or operation came."""

    rtt_ms: float | None
    """Round trip of the last ping of the gateway; None until one was answered."""

    @property
    def troubled(self) -> bool:
        """Whether an operator should look at it: it sends too much, reads too slowly, or is far away."""
        return bool(self.rate_limited or self.queued_bytes or (self.rtt_ms or 0.0) > SLOW_RTT_MS)


class DirectoryState:
    """The directory in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(
        self,
        gateway: str,
        *,
        rooms: Mapping[str, RoomEntry | None],
        players: Mapping[str, PlayerEntry | None],
        troubled: Mapping[str, PlayerEntry | None] = MappingProxyType({}),
        anew: bool = False,
    ) -> tuple[int, ...]:
        """Write what changed in the part of a gateway (None: gone), or all of it anew, and prolong it.

        Args:
            troubled: those of the players whom operators are to see first.
        Returns:
            How many rooms, players and troubled ones Redis has of this gateway now.
        """
        commands: list[Command] = []
        parts: tuple[Mapping[str, RoomEntry | PlayerEntry | None], ...] = (rooms, players, troubled)
        for kind, changes in zip(_KINDS, parts, strict=True):
            key = self._key(gateway, kind)
            if anew:
                commands.append(("DEL", key))
            gone = [name for name, entry in changes.items() if entry is None]
            fields: list[str | bytes] = []
            for name, entry in changes.items():
                if entry is not None:
                    fields += (name, msgpack.packb(entry))
            if gone:
                commands.append(("HDEL", key, *gone))
            if fields:
                commands.append(("HSET", key, *fields))
            commands += (("PEXPIRE", key, TTL_MS), ("HLEN", key))
        answers = await self._connection.pipeline(commands)
        return tuple(answer for command, answer in zip(commands, answers, strict=True) if command[0] == "HLEN")

    async def forget(self, gateway: str) -> None:
        """Take out a gateway that ends in order."""
        await self._connection.pipeline([("DEL", self._key(gateway, kind)) for kind in _KINDS])

    async def rooms(self, gateways: Sequence[str]) -> dict[str, dict[str, RoomEntry]]:
        """Room -> gateway -> entry, of all rooms with clients."""
        parts = await self._connection.pipeline([("HGETALL", self._key(gateway, "rooms")) for gateway in gateways])
        found: dict[str, dict[str, RoomEntry]] = {}
        for gateway, part in zip(gateways, parts, strict=True):
            for name, value in part.items():
                found.setdefault(name.decode(), {})[gateway] = RoomEntry(*msgpack.unpackb(value))
        return found

    async def room_names(self, gateways: Iterable[str]) -> set[str]:
        """Rooms with clients; one of several gateways is one."""
        parts = await self._connection.pipeline([("HKEYS", self._key(gateway, "rooms")) for gateway in gateways])
        return {name.decode() for part in parts for name in part}

    async def room(self, gateways: Sequence[str], room: str) -> dict[str, RoomEntry]:
        """Gateway -> entry, of one room."""
        values = await self._connection.pipeline([("HGET", self._key(gateway, "rooms"), room) for gateway in gateways])
        return {
            gateway: RoomEntry(*msgpack.unpackb(value))
            for gateway, value in zip(gateways, values, strict=True)
            if value is not None
        }

    async def player(self, gateways: Sequence[str], player: str) -> dict[str, PlayerEntry]:
        """Gateway -> entry, of one player."""
        values = await self._connection.pipeline(
            [("HGET", self._key(gateway, "players"), player) for gateway in gateways]
        )
        return {gateway: _player(value) for gateway, value in zip(gateways, values, strict=True) if value is not None}

    async def players(self, gateways: Sequence[str], players: Sequence[str]) -> dict[str, PlayerEntry]:
        """Player -> entry, of those who are there; with more than one connection, any of them."""
        if not players:
            return {}
        parts = await self._connection.pipeline(
            [("HMGET", self._key(gateway, "players"), *players) for gateway in gateways]
        )
        return {
            player: _player(value)
            for part in parts
            for player, value in zip(players, part, strict=True)
            if value is not None
        }

    async def troubled(self, gateways: Sequence[str]) -> list[tuple[str, str, PlayerEntry]]:
        """(player, gateway, entry) of those whom operators are to see first, in no order."""
        parts = await self._connection.pipeline([("HGETALL", self._key(gateway, "troubled")) for gateway in gateways])
        return [
            (name.decode(), gateway, _player(value))
            for gateway, part in zip(gateways, parts, strict=True)
            for name, value in part.items()
        ]

    async def search(self, gateways: Iterable[str], text: str, *, limit: int) -> list[tuple[str, str, PlayerEntry]]:
        """(player, gateway, entry) of at most `limit` players whose name holds `text`, in no order."""
        pattern = "*" + "".join(f"\\{letter}" if letter in r"\*?[]" else letter for letter in text) + "*"
        found: list[tuple[str, str, PlayerEntry]] = []
        for gateway in gateways:
            cursor = b"0"
            while True:
                cursor, values = await self._connection.execute(
                    "HSCAN", self._key(gateway, "players"), cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT
                )
                fields = iter(
                    values.items() if isinstance(values, dict) else zip(values[::2], values[1::2], strict=True)
                )
                found += ((name.decode(), gateway, _player(value)) for name, value in fields)
                if len(found) >= limit:
                    return found[:limit]
                if cursor in {b"0", 0}:
                    break
        return found

    def _key(self, gateway: str, kind: str) -> str:
        return self._connection.keys.shared(f"directory:{kind}", gateway)


def _player(value: bytes) -> PlayerEntry:
    session, role, rooms, queued_bytes, *later = msgpack.unpackb(value)
    # A gateway of a version before, which runs on while a fleet is replaced, does not know all of it.
    rate_limited = later[0] if later else 0
    rtt_ms = later[1] if len(later) > 1 else None
    return PlayerEntry(session, role, tuple(rooms), queued_bytes, rate_limited, rtt_ms)
