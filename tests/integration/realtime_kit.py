"""What the tests of realtime delivery share: a small catalog, running publishers with reporters, consumers, handlers that remember."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from gamebus.catalog import Catalog, Profile, with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.delivery.reports import Reporter
from gamebus.delivery.stream_ledger import StreamLedger
from gamebus.delivery.topics import create_topics
from gamebus.record import RealtimeRecord, decode_realtime
from gamebus.settings import ConsumerSettings, DurableProducerSettings, RealtimeProducerSettings
from tests.integration.durable_kit import WAIT_S, read_all, until

MAX_AGE_MS = 600_000
"""For consumers and publishers whose test is not about stale records: a slow machine must not make any."""


def realtime_catalog(topic_prefix: str, *, partitions: int = 3, profile: Profile = Profile.REALTIME) -> Catalog:
    """A catalog of two topics, so that a test creates no more than it needs: position and reports."""
    catalog = with_partitions(parse_catalog(topic_prefix=topic_prefix), partitions)
    position = catalog.types["position"].topic
    topics = {name: catalog.topics[name] for name in (position, catalog.reports_topic)}
    topics[position] = replace(topics[position], profile=profile)
    return replace(
        catalog,
        types=MappingProxyType({"position": catalog.types["position"]}),
        topics=MappingProxyType(topics),
    )


def position_topic(catalog: Catalog) -> str:
    return catalog.types["position"].topic


async def created(
    bootstrap_servers: str, topic_prefix: str, *, partitions: int = 3, profile: Profile = Profile.REALTIME
) -> Catalog:
    """A catalog whose topics exist and have leaders that know it.

    Kafka lists a leader before that broker knows that it leads. What is written at acks=0 in between is lost, as it should be,
    and in the way of tests that say that nothing else loses anything.
    """
    catalog = realtime_catalog(topic_prefix, partitions=partitions, profile=profile)
    await create_topics(bootstrap_servers, catalog)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        await consumer.end_offsets(
            [
                TopicPartition(topic.name, index)
                for topic in catalog.topics.values()
                for index in range(topic.partitions)
            ]
        )
    finally:
        await consumer.stop()
    return catalog


def publish(publisher: RealtimePublisher, number: int, *, room: str = "arena") -> DropReason | None:
    """Publish one position, stamped now."""
    return publisher.publish("position", room, "alice", time.time_ns() // 1_000_000, [number, 0.5, 0.5, 0.5])


@asynccontextmanager
async def publishing(
    bootstrap_servers: str, catalog: Catalog, *, boot: str = "boot", **settings: Any
) -> AsyncIterator[RealtimePublisher]:
    """A running publisher that sends its reports, the final one at the end."""
    publisher = RealtimePublisher(
        bootstrap_servers=bootstrap_servers,
        catalog=catalog,
        settings=RealtimeProducerSettings(**{"max_age_ms": 60_000} | settings),
        boot=boot,
    )
    durable = DurablePublisher(
        bootstrap_servers=bootstrap_servers, settings=DurableProducerSettings(), topics=[catalog.reports_topic]
    )
    await durable.start()
    await publisher.start()
    reporter = Reporter(publisher, durable, topic=catalog.reports_topic, boot=boot)
    reporting = asyncio.create_task(reporter.run())
    try:
        yield publisher
    finally:
        await publisher.stop(deadline_s=WAIT_S)
        reporting.cancel()
        await asyncio.wait((reporting,))
        await reporter.finish(deadline_s=WAIT_S)
        await durable.stop(deadline_s=5.0)


class Collector:
    """A handler that remembers what it was given; `before` runs ahead of each call and may raise."""

    def __init__(self, before: Callable[[Sequence[RealtimeRecord]], Awaitable[None]] | None = None) -> None:
        self._before = before
        self.handled: list[RealtimeRecord] = []

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        if self._before is not None:
            await self._before(records)
        self.handled += records

    @property
    def numbers(self) -> list[int]:
        """What was published, by the number of each position."""
        return [record.data[0] for record in self.handled]


@asynccontextmanager
async def consuming(
    bootstrap_servers: str,
    catalog: Catalog,
    handler: Collector,
    *,
    group_id: str,
    max_age_ms: int = MAX_AGE_MS,
    **settings: Any,
) -> AsyncIterator[RealtimeConsumer]:
    """A running member of a group; stopped in order at the end."""
    consumer = RealtimeConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group_id,
        catalog=catalog,
        settings=ConsumerSettings(**settings),
        handler=handler,
        max_age_ms=max_age_ms,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        async with asyncio.timeout(WAIT_S):
            await consumer.ready.wait()
        try:
            yield consumer
        finally:
            consumer.stop()


async def ended(*consumers: RealtimeConsumer, streams: int) -> list[StreamLedger]:
    """The accounts of `streams` streams, when all of them have ended."""

    def rows() -> list[StreamLedger]:
        return [row for consumer in consumers for row in consumer.ledgers() if row.ended]

    await until(lambda: len(rows()) >= streams)
    assert len(rows()) == streams
    assert all(row.balanced for row in rows()), rows()
    return rows()


def total(rows: Sequence[StreamLedger], term: str) -> int:
    """One term, over all streams."""
    return sum(getattr(row, term) for row in rows)


async def found(bootstrap_servers: str, catalog: Catalog) -> dict[int, list[RealtimeRecord]]:
    """Everything in the topic of positions, by partition."""
    records = await read_all(bootstrap_servers, position_topic(catalog))
    return {partition: [decode_realtime(record.value) for record in of] for partition, of in records.items()}


def assert_nothing_doubled(records: dict[int, list[RealtimeRecord]]) -> None:
    """Every sequence number stands at most once in its stream."""
    for of_partition in records.values():
        names = [(record.boot, record.seq) for record in of_partition]
        assert len(names) == len(set(names))


def assert_in_order(records: Sequence[RealtimeRecord]) -> None:
    """Positions of a room come as they were published."""
    for room in {record.room for record in records}:
        numbers = [record.data[0] for record in records if record.room == room]
        assert numbers == sorted(numbers)
