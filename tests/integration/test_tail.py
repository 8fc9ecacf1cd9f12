"""The tail on real brokers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gamebus.delivery.partition_work import KafkaRecord
from gamebus.delivery.tail import Tail
from gamebus.localstack.stack import Stack
from tests.integration.durable_kit import WAIT_S, chat_topic, created, deleted, publishing, until

PARTITIONS = 3


class Reader:
    """What a tail handed over, by partition."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.offsets: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
        self.values: list[bytes] = []

    def __call__(self, topic: str, partition: int, records: Sequence[KafkaRecord]) -> None:
        assert topic == self._topic
        self.offsets[partition] += [record.offset for record in records]
        self.values += [record.value or b"" for record in records]


@asynccontextmanager
async def tailing(
    bootstrap_servers: str, topic: str, *, followed: Sequence[int] | None = None, **options: Any
) -> AsyncIterator[tuple[Tail, Reader]]:
    """A running tail that has caught up."""
    reader = Reader(topic)
    tail = Tail(bootstrap_servers=bootstrap_servers, partitions={topic: PARTITIONS}, on_records=reader, **options)
    if followed is not None:
        tail.follow([(topic, index) for index in followed])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(tail.run())
        async with asyncio.timeout(WAIT_S):
            await tail.caught_up.wait()
        yield tail, reader
        tail.stop()
        await running


class TestTail:
    async def test_reads_from_the_end_every_record_once_in_order(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """What was written before the start is not seen; everything after it is, per partition in offset order."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publisher.publish(topic, b"before", b"before")
            async with tailing(bootstrap_servers, topic) as (tail, reader):
                written = [
                    await publisher.publish(topic, b"room%d" % (index % 9), b"%d" % index) for index in range(50)
                ]
                await until(lambda: len(reader.values) >= 50)

                assert sorted(reader.values) == sorted(b"%d" % index for index in range(50))
                for partition, offsets in reader.offsets.items():
                    assert offsets == [place.offset for place in written if place.partition == partition]
                    assert not offsets or tail.position(topic, partition) == offsets[-1] + 1
                assert tail.statistics().records == 50
                assert tail.statistics().skipped == 0

    async def test_begins_some_time_back(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """`caught_up` is set when everything that was there at the start was handed over."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            for index in range(20):
                await publisher.publish(topic, b"room%d" % index, b"%d" % index)

        async with tailing(bootstrap_servers, topic, start_back_ms=600_000) as (_, reader):
            assert sorted(reader.values) == sorted(b"%d" % index for index in range(20))

    async def test_follows_only_what_is_asked_for(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A gateway reads the partitions of its own rooms: one that is followed anew begins at its end, one that is left is
        not read, the others go on without a gap."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        rooms: dict[int, bytes] = {}
        async with publishing(bootstrap_servers, [topic]) as publisher:
            for number in range(50):
                room = b"room%d" % number
                rooms.setdefault((await publisher.publish(topic, room, b"unseen")).partition, room)
            assert sorted(rooms) == [0, 1, 2]
            async with tailing(bootstrap_servers, topic, followed=[0]) as (tail, reader):

                async def written(mark: bytes) -> None:
                    for room in rooms.values():
                        await publisher.publish(topic, room, mark)

                await written(b"one of 0")
                await until(lambda: reader.values == [b"one of 0"])
                tail.follow([(topic, 0), (topic, 1)])
                await until(lambda: tail.position(topic, 1) is not None)
                await written(b"both")
                await until(lambda: reader.values.count(b"both") == 2)
                tail.follow([(topic, 1)])
                await until(lambda: tail.position(topic, 0) is None)
                await written(b"one of 1")
                await until(lambda: b"one of 1" in reader.values)
                tail.follow([(topic, index) for index in range(3)])
                await until(lambda: tail.position(topic, 2) is not None and tail.position(topic, 0) is not None)
                await written(b"all")
                await until(lambda: reader.values.count(b"all") == 3)

                assert sorted(reader.values) == [b"all"] * 3 + [b"both"] * 2 + [b"one of 0", b"one of 1"]
                assert tail.statistics().skipped == 0

    async def test_covers_other_topics(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A topic that comes is read from its beginning, those that stay go on without a gap, one that goes is not read."""
        names = {word: chat_topic(await created(bootstrap_servers, topic_prefix + word)) for word in ("a.", "b.", "c.")}
        found: list[tuple[str, bytes]] = []

        def read(topic: str, partition: int, records: Sequence[KafkaRecord]) -> None:
            found.extend((topic.removeprefix(topic_prefix)[:1], record.value or b"") for record in records)

        tail = Tail(
            bootstrap_servers=bootstrap_servers,
            partitions={names["a."]: PARTITIONS, names["b."]: PARTITIONS},
            on_records=read,
            start_back_ms=600_000,
        )
        async with publishing(bootstrap_servers, names.values()) as publisher, asyncio.TaskGroup() as tasks:

            async def written(value: bytes) -> None:
                for name in names.values():
                    await publisher.publish(name, b"room", value)

            await written(b"1")
            running = tasks.create_task(tail.run())
            await until(lambda: len(found) == 2)
            tail.cover({names["b."]: PARTITIONS, names["c."]: PARTITIONS})
            await until(lambda: ("c", b"1") in found)
            await written(b"2")
            await until(lambda: {("b", b"2"), ("c", b"2")} <= set(found))
            tail.stop()
            await running

        assert sorted(found) == [("a", b"1"), ("b", b"1"), ("b", b"2"), ("c", b"1"), ("c", b"2")]
        assert tail.position(names["a."], 0) is None
        assert tail.statistics().skipped == 0

    async def test_what_the_reader_raises_ends_it(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A bug of the reader is not swallowed."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))

        def broken(topic: str, partition: int, records: Sequence[KafkaRecord]) -> None:
            raise LookupError("no such room")

        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publisher.publish(topic, b"room", b"value")
        tail = Tail(
            bootstrap_servers=bootstrap_servers,
            partitions={topic: PARTITIONS},
            on_records=broken,
            start_back_ms=600_000,
        )
        with pytest.raises(LookupError, match="no such room"):
            await tail.run()

    async def test_a_position_outside_the_log_is_counted_and_mended(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """The topic is deleted and made again: reading goes on at its beginning, and the jump is in the statistics."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            for index in range(30):
                await publisher.publish(topic, b"room%d" % index, b"old")
        async with tailing(bootstrap_servers, topic, start_back_ms=600_000) as (tail, reader):
            await deleted(bootstrap_servers, topic)
            await created(bootstrap_servers, topic_prefix)
            async with publishing(bootstrap_servers, [topic]) as publisher:
                for partition_key in (b"room1", b"room2", b"room3", b"room4"):
                    await publisher.publish(topic, partition_key, b"new")

            await until(lambda: reader.values.count(b"new") == 4)
            assert tail.statistics().resets > 0


class TestBrokerLoss:
    @pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
    async def test_it_goes_on_where_it_was(
        self, new_stack: Callable[..., Stack], topic_prefix: str, fault: signal.Signals
    ) -> None:
        """A broker that dies, or hangs past the request timeout, and comes back: nothing is missed and nothing comes twice."""
        stack = new_stack()
        kafka = (await asyncio.to_thread(stack.up, foreground=True)).kafka
        topic = chat_topic(await created(kafka, topic_prefix))
        async with publishing(kafka, [topic]) as publisher, tailing(kafka, topic) as (tail, reader):
            for index in range(10):
                await publisher.publish(topic, b"room%d" % index, b"%d" % index)
            broker = stack.process("kafka-1")
            if fault is signal.SIGKILL:
                broker.kill(fault)
                await asyncio.to_thread(broker.restart)
            else:
                broker.kill(fault)
                await asyncio.sleep(6.0)
                broker.kill(signal.SIGCONT)

            async with asyncio.timeout(WAIT_S):
                for index in range(10, 20):
                    await publisher.publish(topic, b"room%d" % index, b"%d" % index)
            await until(lambda: len(reader.values) >= 20)

            assert sorted(reader.values) == sorted(b"%d" % index for index in range(20))
            assert all(offsets == list(range(len(offsets))) for offsets in reader.offsets.values())
            assert tail.statistics().skipped == 0
