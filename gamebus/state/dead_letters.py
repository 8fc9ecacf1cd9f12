"""The last dead letters, for operators; the letters themselves are in Kafka (`gamebus dlq`)."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import msgpack

from gamebus.state.connection import Connection

MAX_LETTERS: Final = 100
TTL_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class DeadLetterNote:
    """That a record could not be processed, and why."""

    at_ms: int
    topic: str
    partition: int
    offset: int
    """Of the record, not of the letter."""

    type: str
    """Empty, as the three that follow, when the record is no event."""

    room: str
    player: str
    id: str
    error: str


class DeadLetterState:
    """Notes of dead letters in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.keys.shared("dead_letters", "recent")

    async def add(self, note: DeadLetterNote) -> None:
        """Note a dead letter; after a lost reply it may be noted twice."""
        await self._connection.pipeline(
            [
                ("LPUSH", self._key, msgpack.packb(astuple(note))),
                ("LTRIM", self._key, 0, MAX_LETTERS - 1),
                ("PEXPIRE", self._key, TTL_MS),
            ]
        )

    async def recent(self) -> list[DeadLetterNote]:
        """The last notes, newest first."""
        values = await self._connection.execute("LRANGE", self._key, 0, -1)
        return [DeadLetterNote(*msgpack.unpackb(value)) for value in values]
