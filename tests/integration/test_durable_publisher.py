"""The durable publisher on real brokers, with real faults."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from gamebus.delivery.durable_publisher import MAX_RECORD_BYTES, DurablePublisher, Written
from gamebus.delivery.topics import create_topics
from gamebus.errors import ConfigurationError, OutcomeUnknown, PublishFailed, TopicError
from gamebus.localstack.stack import Stack
from gamebus.settings import DurableProducerSettings
from tests.integration.durable_kit import WAIT_S, chat_catalog, chat_topic, created, publishing, read_all, until
from tests.integration.topics_kit import create_topic


def outcome_of(future: asyncio.Future[Written]) -> str:
    """`acked`, `failed` or `unknown`."""
    error = future.exception()
    if error is None:
        return "acked"
    assert isinstance(error, PublishFailed | OutcomeUnknown)
    return "failed" if isinstance(error, PublishFailed) else "unknown"


class TestPublish:
    async def test_an_ack_says_where_the_record_is(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Topic, partition, offset and time of the acknowledgement are those that every reader finds."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            futures = [
                publisher.publish(topic, b"room%d" % (index % 7), b"%d" % index, [("trace", b"%d" % index)])
                for index in range(300)
            ]
            written = await asyncio.gather(*futures)

        found = {
            (record.partition, record.offset): record
            for records in (await read_all(bootstrap_servers, topic)).values()
            for record in records
        }
        assert len(found) == 300
        for index, place in enumerate(written):
            record = found[place.partition, place.offset]
            assert (record.key, record.value) == (b"room%d" % (index % 7), b"%d" % index)
            assert record.headers == (("trace", b"%d" % index),)
            assert record.timestamp == place.timestamp_ms

    async def test_records_of_a_key_keep_the_order_of_the_calls(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Also when they fill several batches."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            futures = [publisher.publish(topic, b"arena", b"%06d" % index + bytes(1000)) for index in range(500)]
            written = await asyncio.gather(*futures)
            assert publisher.statistics().batches > 1

        offsets = [place.offset for place in written]
        assert offsets == sorted(offsets)
        assert len({place.partition for place in written}) == 1

    async def test_refuses_what_cannot_be_written(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """An oversized record, a topic of another publisher, a publisher that has stopped: told at once, never queued."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            with pytest.raises(PublishFailed) as too_large:
                publisher.publish(topic, b"arena", bytes(MAX_RECORD_BYTES))
            assert (too_large.value.code, too_large.value.retry_ms) == ("too_large", None)
            with pytest.raises(TopicError, match=r"other\.topic is not one of this publisher"):
                publisher.publish("other.topic", b"arena", b"value")
            largest = publisher.publish(topic, b"arena", bytes(MAX_RECORD_BYTES - 100))
            assert (await largest).offset == 0

        with pytest.raises(PublishFailed) as stopped:
            publisher.publish(topic, b"arena", b"value")
        assert stopped.value.code == "unavailable"

    async def test_stop_sends_what_was_accepted(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A graceful shutdown loses nothing."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            futures = [publisher.publish(topic, b"room%d" % index, b"value") for index in range(100)]
            await publisher.stop(deadline_s=WAIT_S)

        assert {outcome_of(future) for future in futures} == {"acked"}

    async def test_topics_come_and_go(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """One that was prepared takes records as if it had been there from the start; one that is closed takes none, and what it took
        is written."""
        old = chat_topic(await created(bootstrap_servers, f"{topic_prefix}old."))
        new = chat_topic(await created(bootstrap_servers, f"{topic_prefix}new."))
        async with publishing(bootstrap_servers, [old]) as publisher:
            with pytest.raises(TopicError):
                publisher.publish(new, b"room", b"1")
            before = publisher.publish(old, b"room", b"1")
            await publisher.prepare({new: 3})
            await publisher.follow({new}, known={old, new})
            with pytest.raises(PublishFailed) as refused:
                publisher.publish(old, b"room", b"2")
            assert refused.value.code == "unavailable"
            after = await publisher.publish(new, b"room", b"2")
            await before
            assert publisher.decided(old)
            await publisher.follow({new}, known={new})
            with pytest.raises(PublishFailed):
                publisher.publish(old, b"room", b"3")
            await publisher.publish(new, b"room", b"3")
            await publisher.prepare({old: 3})
            await publisher.follow({old, new}, known={old, new})
            await publisher.publish(old, b"room", b"4")

        assert after.topic == new
        values = {
            topic: [
                record.value for records in (await read_all(bootstrap_servers, topic)).values() for record in records
            ]
            for topic in (old, new)
        }
        assert values == {old: [b"1", b"4"], new: [b"2", b"3"]}

    async def test_lingering_makes_fuller_batches(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Records that arrive within the linger share a batch."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        async with publishing(bootstrap_servers, [topic], linger_ms=500) as publisher:
            futures = []
            for index in range(5):
                futures.append(publisher.publish(topic, b"arena", b"%d" % index))
                await asyncio.sleep(0.001)
            await asyncio.gather(*futures)

            assert publisher.statistics().batches == 1


class TestStart:
    async def test_names_missing_topics(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A publisher without its topics must not start, nor create them by asking."""
        topic = chat_topic(chat_catalog(topic_prefix))
        for _ in range(2):
            publisher = DurablePublisher(
                bootstrap_servers=bootstrap_servers, settings=DurableProducerSettings(), topics=[topic]
            )
            with pytest.raises(TopicError, match=rf"{topic} do not exist.*gamebus topics create"):
                await publisher.start()

    async def test_gives_up_on_brokers_that_are_not_there(self) -> None:
        """A deadline, and a message that names address and setting."""
        publisher = DurablePublisher(
            bootstrap_servers="127.0.0.1:1", settings=DurableProducerSettings(), topics=["any"]
        )
        with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1 answered within 1 s.*BOOTSTRAP_SERVERS"):
            await publisher.start(deadline_s=1.0)


class TestPoison:
    async def test_a_poisoned_partition_recovers_and_keeps_its_order(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """A batch that the topic refuses makes aiokafka's producer useless for the partition: it is replaced, the large record
        alone is reported as failed, and everything else of the batch is acknowledged in order."""
        topic = f"{topic_prefix}small"
        await create_topic(bootstrap_servers, topic, config={"max.message.bytes": "3000"})
        async with publishing(bootstrap_servers, [topic]) as publisher:
            sizes = [100, 100, 5000, 100, 2500, 100]
            futures = [publisher.publish(topic, b"arena", bytes(size)) for size in sizes]
            await asyncio.wait(futures)
            later = await publisher.publish(topic, b"arena", b"later")

            assert [outcome_of(future) for future in futures] == ["acked", "acked", "failed", "acked", "acked", "acked"]
            refused = futures[2].exception()
            assert isinstance(refused, PublishFailed)
            assert refused.code == "too_large"
            assert later.offset == 5
            assert publisher.statistics().rebuilds > 0

        (records,) = (await read_all(bootstrap_servers, topic)).values()
        assert [len(record.value or b"") for record in records] == [100, 100, 100, 2500, 100, 5]

    async def test_other_partitions_are_not_disturbed(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """While one partition is poisoned and its producer replaced, records of others are acknowledged once."""
        small = f"{topic_prefix}small"
        catalog = await created(bootstrap_servers, topic_prefix)
        await create_topic(bootstrap_servers, small, config={"max.message.bytes": "1000"})
        topic = chat_topic(catalog)
        async with publishing(bootstrap_servers, [small, topic]) as publisher:
            healthy, poison = [], []
            for index in range(200):
                if index % 50 == 0:
                    poison.append(publisher.publish(small, b"arena", bytes(2000)))
                healthy.append(publisher.publish(topic, b"room%d" % index, b"%d" % index))
                await asyncio.sleep(0.002)
            await asyncio.wait([*healthy, *poison])

            assert {outcome_of(future) for future in healthy} == {"acked"}
            assert {outcome_of(future) for future in poison} == {"failed"}

        found = await read_all(bootstrap_servers, topic)
        assert sum(len(records) for records in found.values()) == 200


class TestBrokerLoss:
    async def test_killed_and_back(self, new_stack: Callable[..., Stack], topic_prefix: str) -> None:
        """Every acknowledged record is there, in order of the calls; an unknown one is never called failed; a failed one is
        nowhere; after the broker is back everything is acknowledged again."""
        stack = new_stack()
        kafka = (await asyncio.to_thread(stack.up, foreground=True)).kafka
        topic = chat_topic(await created(kafka, topic_prefix))
        broker = stack.process("kafka-1")
        async with publishing(kafka, [topic], delivery_timeout_ms=3_000, request_timeout_ms=2_000) as publisher:
            futures: list[asyncio.Future[Written]] = []

            async def publish_until(done: asyncio.Event) -> None:
                while not done.is_set():
                    index = len(futures)
                    futures.append(publisher.publish(topic, b"room%d" % (index % 5), b"%d" % index))
                    await asyncio.sleep(0.005)

            done = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publish_until(done))
                await until(lambda: publisher.statistics().acked > 50)
                broker.kill(signal.SIGKILL)
                await until(lambda: publisher.statistics().failed > 0 and publisher.statistics().unknown > 0)
                acked_before = publisher.statistics().acked
                await asyncio.to_thread(broker.restart)
                await until(lambda: publisher.statistics().acked > acked_before + 50)
                done.set()
            await asyncio.wait(futures)

        found = await read_all(kafka, topic)
        values = {record.value for records in found.values() for record in records}
        outcomes = {b"%d" % index: outcome_of(future) for index, future in enumerate(futures)}
        assert {value for value, outcome in outcomes.items() if outcome == "acked"} <= values
        assert not {value for value, outcome in outcomes.items() if outcome == "failed"} & values
        for index, future in enumerate(futures):
            if outcome_of(future) == "acked":
                place = future.result()
                assert found[place.partition][place.offset].value == b"%d" % index
        for records in found.values():
            order = [int(record.value or b"") for record in records]
            assert order == sorted(order)

    async def test_a_hung_broker_fills_the_outbox_to_its_bound(
        self, new_stack: Callable[..., Stack], topic_prefix: str
    ) -> None:
        """Past the bound a publish is refused as overloaded with a hint when to come back; what was accepted is kept, and is
        acknowledged when the broker goes on."""
        stack = new_stack()
        kafka = (await asyncio.to_thread(stack.up, foreground=True)).kafka
        topic = chat_topic(await created(kafka, topic_prefix))
        broker = stack.process("kafka-1")
        async with publishing(kafka, [topic], outbox_records=100, delivery_timeout_ms=60_000) as publisher:
            await publisher.publish(topic, b"arena", b"warm")
            broker.kill(signal.SIGSTOP)
            futures = [publisher.publish(topic, b"room%d" % index, b"%d" % index) for index in range(100)]
            with pytest.raises(PublishFailed) as overloaded:
                publisher.publish(topic, b"arena", b"too much")
            assert overloaded.value.code == "overloaded"
            assert overloaded.value.retry_ms is not None
            assert publisher.statistics().queued_records == 100
            broker.kill(signal.SIGCONT)
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(*futures)

    async def test_one_dead_broker_of_three_costs_its_own_partitions_only(
        self, new_stack: Callable[..., Stack], topic_prefix: str
    ) -> None:
        """With one replica each, partitions of the living brokers go on being acknowledged while one broker is dead."""
        stack = new_stack(brokers=3)
        kafka = (await asyncio.to_thread(stack.up, foreground=True)).kafka
        catalog = chat_catalog(topic_prefix, partitions=6)
        topics = {name: replace(topic, replicas=1, min_insync_replicas=1) for name, topic in catalog.topics.items()}
        await create_topics(kafka, replace(catalog, topics=MappingProxyType(topics)))
        topic = chat_topic(catalog)
        async with publishing(kafka, [topic], delivery_timeout_ms=4_000, request_timeout_ms=2_000) as publisher:
            led = await _partitions_by_leader(kafka, topic)
            keys = await _key_of_each_partition(publisher, topic, 6)
            stack.process("kafka-3").kill(signal.SIGKILL)

            dead = {partition for partition, leader in led.items() if leader == 3}
            assert len(dead) == 2
            for _ in range(20):
                futures = {partition: publisher.publish(topic, key, b"value") for partition, key in keys.items()}
                alive = [future for partition, future in futures.items() if partition not in dead]
                async with asyncio.timeout(WAIT_S):
                    await asyncio.gather(*alive)
            await asyncio.wait(futures.values())
            assert {outcome_of(futures[partition]) for partition in dead} <= {"failed", "unknown"}


async def _partitions_by_leader(kafka: str, topic: str) -> dict[int, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    (described,) = await admin.describe_topics([topic])
    await admin.close()
    return {partition["partition"]: partition["leader"] for partition in described["partitions"]}


async def _key_of_each_partition(publisher: DurablePublisher, topic: str, partitions: int) -> dict[int, bytes]:
    keys: dict[int, bytes] = {}
    index = 0
    while len(keys) < partitions:
        place = await publisher.publish(topic, b"room%d" % index, b"probe")
        keys.setdefault(place.partition, b"room%d" % index)
        index += 1
    return keys
