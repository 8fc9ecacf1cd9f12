"""Loss ledger for operators: what became of every at-most-once event, by stream, as the realtime processors account for it.

The processors also say which topics they keep account of: a type that migrated is in another topic than the catalog's file says.

Rows are cumulative and written again once a second by the processor that owns the partition, so a lost write costs a second,
and a Redis that lost them has them back at once (those of publishers that have ended, for as long as the processor keeps them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Final

import msgpack

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.state.connection import Connection, Value
from gamebus.state.scripts import load_script

TTL_MS: Final = 24 * 3_600_000
"""The rows of a partition vanish so long after the last was written."""

MAX_ROWS: Final = 256
"""Streams of one partition that are kept; those that ended longest ago go first."""

_WRITE: Final = load_script("write_ledger")


@dataclass(frozen=True, slots=True)
class LossRow:
    """Account of one stream: one boot of a publishing process in one partition.

    `attempted = processed + dropped + lost_on_wire + dropped_on_failed_commit + lost_in_crash + skipped + unknown`
    """

    written_ms: int
    """When the row was written, Unix milliseconds."""

    boot: str
    topic: str
    partition: int
    attempted: int
    processed: int
    dropped: Mapping[str, int]
    """Never written, by the publisher's reason."""

    lost_on_wire: int
    dropped_on_failed_commit: int
    lost_in_crash: int
    """After the commit: the process died or its handler failed."""

    skipped: int
    unknown: int
    duplicates: int
    """Beside the identity, and an alarm: this class never doubles."""

    reordered: int
    """Beside the identity."""

    ended: bool
    """The publisher has ended, and the row is final."""


@dataclass(frozen=True, slots=True)
class LedgerTopic:
    """A topic of which the ledger keeps account.

    Attributes:
        rationales: why a loss is acceptable, by the event types that travel in it.
    """

    name: str
    partitions: int
    rationales: Mapping[str, str | None]


def ledger_topics(catalog: Catalog) -> tuple[LedgerTopic, ...]:
    """Topics of at-most-once events, those that are read besides among them."""
    return tuple(
        LedgerTopic(
            topic.name,
            topic.partitions,
            {event_type.name: event_type.rationale for event_type in catalog.types_of(topic.name)},
        )
        for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
    )


class LedgerState:
    """The ledger in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(self, rows: Iterable[LossRow]) -> None:
        """Write rows, each in place of the last one of its stream."""
        partitions: dict[tuple[str, int], list[Value]] = {}
        for row in rows:
            arguments = partitions.setdefault((row.topic, row.partition), [TTL_MS, MAX_ROWS])
            arguments += (row.boot, msgpack.packb(astuple(row)))
        await self._connection.run_many(
            _WRITE, [([self._key(*partition)], arguments) for partition, arguments in partitions.items()]
        )

    async def announce(self, topics: Iterable[LedgerTopic]) -> None:
        """Say which topics are accounted for; it holds for as long as a row does."""
        value = msgpack.packb([[topic.name, topic.partitions, dict(topic.rationales)] for topic in topics])
        await self._connection.execute("SET", self._topics_key, value, "PX", TTL_MS)

    async def topics(self, catalog: Catalog) -> tuple[LedgerTopic, ...]:
        """Topics that are accounted for, as the processors said last; those of `catalog` when none has."""
        value = await self._connection.execute("GET", self._topics_key)
        if value is None:
            return ledger_topics(catalog)
        return tuple(LedgerTopic(*topic) for topic in msgpack.unpackb(value))

    async def read(self, topics: Mapping[str, int]) -> list[LossRow]:
        """All rows of `topics` (name -> partitions)."""
        return await self.read_partitions(
            [(topic, partition) for topic, count in topics.items() for partition in range(count)]
        )

    async def read_partitions(self, partitions: Iterable[tuple[str, int]]) -> list[LossRow]:
        """All rows of these partitions (topic, number)."""
        keys = [self._key(*partition) for partition in partitions]
        answers = await self._connection.pipeline([("HVALS", key) for key in keys])
        return [LossRow(*msgpack.unpackb(row)) for rows in answers for row in rows]

    @property
    def _topics_key(self) -> str:
        return self._connection.keys.shared("loss", "topics")

    def _key(self, topic: str, partition: int) -> str:
        return self._connection.keys.shared("loss", f"{topic}/{partition}")
