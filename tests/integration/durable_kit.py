"""What the tests of durable delivery share: small catalogs, running publishers and consumers, a store of marks in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from gamebus.catalog import Catalog, with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.dead_letters import DeadLetters
from gamebus.delivery.durable_consumer import DurableConsumer, DurableHandler, SourcedRecord, WatermarkStore
from gamebus.delivery.durable_publisher import DurablePublisher, Written
from gamebus.delivery.partition_work import KafkaRecord
from gamebus.delivery.topics import create_topics
from gamebus.localstack.process import ServerProcess
from gamebus.localstack.stack import Stack
from gamebus.processors.durable_effects import DurableEffects
from gamebus.record import DurableRecord, encode_durable
from gamebus.settings import ConsumerSettings, DurableProducerSettings, RedisSettings
from gamebus.state.audit import AuditState
from gamebus.state.connection import Connection, connect
from gamebus.state.effects import EffectState
from gamebus.state.marks import MarkState

WAIT_S = 60.0
"""How long anything may take before a test gives up; no assertion is about time."""


def chat_catalog(topic_prefix: str, *, partitions: int = 3) -> Catalog:
    """A catalog of two topics, so that a test creates no more than it needs: chat and dead letters."""
    catalog = with_partitions(parse_catalog(topic_prefix=topic_prefix), partitions)
    wanted = (chat_topic(catalog), catalog.dead_letter_topic)
    return replace(
        catalog,
        types=MappingProxyType({"chat": catalog.types["chat"]}),
        topics=MappingProxyType({name: catalog.topics[name] for name in wanted}),
    )


def chat_topic(catalog: Catalog) -> str:
    return catalog.types["chat"].topic


def chat(room: str, id_: str) -> bytes:
    """The value of a chat record."""
    return encode_durable(DurableRecord("chat", room, "ann", 5, "ann", id_, {"text": "hi"}))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task brings about and nothing signals."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - statistics have no events
            await asyncio.sleep(0.01)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """The same, for what a server must be asked."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110 - the answer comes from a server
            await asyncio.sleep(0.02)


@asynccontextmanager
async def publishing(bootstrap_servers: str, topics: Iterable[str], **settings: Any) -> AsyncIterator[DurablePublisher]:
    """A running publisher."""
    publisher = DurablePublisher(
        bootstrap_servers=bootstrap_servers, settings=DurableProducerSettings(**settings), topics=topics
    )
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop(deadline_s=1.0)


async def created(bootstrap_servers: str, topic_prefix: str, *, partitions: int = 3) -> Catalog:
    """A catalog whose topics exist."""
    catalog = chat_catalog(topic_prefix, partitions=partitions)
    await create_topics(bootstrap_servers, catalog)
    return catalog


def kafka_of(stack: Stack) -> tuple[str, ServerProcess]:
    """Bootstrap servers of a running stack of one broker, and the broker."""
    addresses = stack.addresses()
    assert addresses is not None
    return addresses.kafka, stack.process("kafka-1")


async def deleted(bootstrap_servers: str, topic: str) -> None:
    """Delete a topic; returns when no broker lists it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.delete_topics([topic])
    async with asyncio.timeout(WAIT_S):
        while topic in await admin.list_topics():  # noqa: ASYNC110 - Kafka has no event for it
            await asyncio.sleep(0.05)
    await admin.close()


async def read_all(bootstrap_servers: str, topic: str) -> dict[int, list[KafkaRecord]]:
    """Everything in a topic, by partition, as any Kafka client sees it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        await consumer.topics()
        cluster = await consumer._client.fetch_all_metadata()
        partitions = [TopicPartition(topic, index) for index in sorted(cluster.partitions_for_topic(topic))]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[int, list[KafkaRecord]] = {tp.partition: [] for tp in partitions}
        async with asyncio.timeout(WAIT_S):
            while any(len(found[tp.partition]) < ends[tp] for tp in partitions):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += records
        return found
    finally:
        await consumer.stop()


async def committed(bootstrap_servers: str, group_id: str, topic: str) -> dict[int, int]:
    """Committed offsets of a group, by partition, as the broker has them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group_id)
        return {tp.partition: found.offset for tp, found in offsets.items() if tp.topic == topic and found.offset >= 0}
    finally:
        await admin.close()


async def until_committed(bootstrap_servers: str, group_id: str, topic: str, expected: dict[int, int]) -> None:
    """Wait until the broker's committed offsets are these."""

    async def are_these() -> bool:
        return await committed(bootstrap_servers, group_id, topic) == expected

    await eventually(are_these)


async def publish_chat(
    publisher: DurablePublisher, topic: str, ids: Sequence[str], *, rooms: Sequence[str] = ("arena",)
) -> list[Written]:
    """Publish chat under these ids, to the rooms in turn."""
    futures = []
    for index, id_ in enumerate(ids):
        room = rooms[index % len(rooms)]
        futures.append(publisher.publish(topic, room.encode(), chat(room, id_)))
    return await asyncio.gather(*futures)


class Marks:
    """A store of marks that lives as long as its test; moves marks by compare-and-set, as the one in Redis does."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, int], int] = {}
        self._seen: dict[tuple[str, int], int | None] = {}

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        found = {partition: self.marks.get(partition) for partition in partitions}
        self._seen.update(found)
        return found

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        lost = {}
        for partition, mark in marks.items():
            before = self.marks.get(partition)
            if (before or 0) < (self._seen.get(partition) or 0):
                lost[partition] = self._seen[partition] = before
            elif mark > (before or 0):
                self.marks[partition] = self._seen[partition] = mark
        return lost


class Collector:
    """A handler that remembers what it was given; `before` runs ahead of each call and may raise."""

    def __init__(self, before: Callable[[str, Sequence[SourcedRecord]], Awaitable[None]] | None = None) -> None:
        self._before = before
        self.handled: list[SourcedRecord] = []

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        if self._before is not None:
            await self._before(room, records)
        self.handled += records

    @property
    def ids(self) -> list[str]:
        return [record.record.id for record in self.handled]


@asynccontextmanager
async def consuming(
    bootstrap_servers: str,
    catalog: Catalog,
    handler: DurableHandler,
    publisher: DurablePublisher,
    marks: WatermarkStore,
    *,
    group_id: str,
    **settings: Any,
) -> AsyncIterator[DurableConsumer]:
    """A running member of a group; stopped in order at the end."""
    consumer = DurableConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group_id,
        topics=[chat_topic(catalog)],
        handler=handler,
        dead_letters=DeadLetters(publisher, catalog.dead_letter_topic),
        marks=marks,
        settings=ConsumerSettings(**settings),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        async with asyncio.timeout(WAIT_S):
            await consumer.ready.wait()
        try:
            yield consumer
        finally:
            consumer.stop()


class RedisEffects:
    """A handler that applies effects in Redis as the durable processor does, with the marks that go with them.

    `after` runs when the effects of a call are in Redis and nobody knows it yet.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        after: Callable[[str, Sequence[SourcedRecord]], Awaitable[None]] | None = None,
    ) -> None:
        state = EffectState(connection, catalog)
        self.marks = MarkState(connection, on_moved=state.forget)
        self._effects = DurableEffects(state, catalog)
        self._after = after

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        await self._effects.handle(room, records)
        if self._after is not None:
            await self._after(room, records)

    @property
    def applied(self) -> int:
        return self._effects.statistics().applied_total

    @property
    def duplicates(self) -> int:
        return self._effects.statistics().duplicates_total


@asynccontextmanager
async def redis(url: str, key_prefix: str, **settings: Any) -> AsyncIterator[Connection]:
    """A connection with keys of the test's own."""
    connection = connect(RedisSettings(url=url, key_prefix=key_prefix, **settings))
    try:
        yield connection
    finally:
        await connection.close()


async def applied(connection: Connection, catalog: Catalog, rooms: Iterable[str]) -> list[str]:
    """Ids of all events that had their effect in `rooms`; each had it once."""
    ids: list[str] = []
    for room in rooms:
        audit = await AuditState(connection, catalog).read(room)
        assert audit.duplicates_applied == 0, room
        ids += [identity.partition("/")[2] for identity in audit.identities]
    return sorted(ids)
