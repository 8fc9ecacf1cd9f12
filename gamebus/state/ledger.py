"""Loss accounting in Redis, for operators: the row of every stream of at-most-once events.

One hash per topic partition, written by the processor that owns it, read by `gamebus loss` and the demo. Rows are overwritten, so
writing twice is harmless; a partition without a processor is forgotten after :data:`TTL_MS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.state.connection import Command, Connection

TTL_MS: Final = 15 * 60_000


class LedgerState:
    """Ledger rows. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._connection = connection
        self._partitions = [
            (topic.name, partition)
            for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
            for partition in range(topic.partitions)
        ]

    async def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows; each names its `topic`, `partition` and `boot`."""
        commands: list[Command] = []
        for row in rows:
            key = self._key(row["topic"], row["partition"])
            commands += (("HSET", key, row["boot"], msgpack.packb(dict(row))), ("PEXPIRE", key, TTL_MS))
        if commands:
            await self._connection.pipeline(commands)

    async def read(self) -> list[dict[str, Any]]:
        """Rows of all streams, sorted by topic, partition and boot."""
        answers = await self._connection.pipeline([("HVALS", self._key(*partition)) for partition in self._partitions])
        rows: list[dict[str, Any]] = [msgpack.unpackb(value) for values in answers for value in values]
        return sorted(rows, key=lambda row: (row["topic"], row["partition"], row["boot"]))

    def _key(self, topic: str, partition: int) -> str:
        return self._connection.keys.shared("ledger", f"{topic}/{partition}")
