"""The realtime consumer on a real broker: commit, then process, and an exact account of what that loses."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable, Sequence

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.errors import TopicError
from gamebus.localstack.stack import Stack
from gamebus.record import RealtimeRecord, encode_realtime
from gamebus.settings import ConsumerSettings
from tests.integration.durable_kit import WAIT_S, committed, kafka_of, until
from tests.integration.realtime_kit import (
    Collector,
    consuming,
    created,
    ended,
    position_topic,
    publish,
    publishing,
    realtime_catalog,
    total,
)


async def _publish_slowly(publisher: RealtimePublisher, done: asyncio.Event) -> None:
    number = 0
    while not done.is_set():
        number += 1
        publish(publisher, number, room=f"room-{number % 11}")
        await asyncio.sleep(0.002)


async def _handles(handler: Collector, more: int) -> None:
    wanted = len(handler.handled) + more
    await until(lambda: len(handler.handled) >= wanted)


class TestCommitOrder:
    async def test_offsets_are_committed_when_records_are_processed(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """At the moment of processing the broker already has the offset after the batch: a crash cannot bring it back."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        seen: list[tuple[int, int]] = []

        async def compare(records: Sequence[RealtimeRecord]) -> None:
            # One partition and one stream without losses: the sequence number is the offset after the record.
            offsets = await committed(bootstrap_servers, topic_prefix, position_topic(catalog))
            seen.append((records[-1].seq, offsets[0]))

        handler = Collector(compare)
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                for number in range(300):
                    publish(publisher, number)
                    await asyncio.sleep(0.001)
            await until(lambda: len(handler.handled) == 300)
            (row,) = await ended(consumer, streams=1)

        assert len(seen) > 1
        assert all(offset == last for last, offset in seen)
        assert (row.attempted, row.processed) == (300, 300)

    async def test_a_new_group_begins_at_the_end_and_says_so(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Where it begins is committed before anything is read, so that a crash does not begin again further on."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog, boot="early") as early:
            for number in range(30):
                publish(early, number, room=f"room-{number}")
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            offsets = await committed(bootstrap_servers, topic_prefix, position_topic(catalog))
            assert (len(offsets), sum(offsets.values())) == (3, 30)
            async with publishing(bootstrap_servers, catalog, boot="late") as late:
                publish(late, 100)
            await until(lambda: handler.numbers == [100])
            (row,) = await ended(consumer, streams=1)
        assert (row.boot, row.processed) == ("late", 1)

    async def test_a_group_that_returns_goes_on_where_it_was(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """What came while no member ran is read, nothing twice."""
        catalog = await created(bootstrap_servers, topic_prefix)
        first, second = Collector(), Collector()
        async with publishing(bootstrap_servers, catalog) as publisher:
            async with consuming(bootstrap_servers, catalog, first, group_id=topic_prefix):
                publish(publisher, 1)
                await until(lambda: first.numbers == [1])
            publish(publisher, 2)
            await until(lambda: publisher.statistics().written == 2)
            await publisher.stop()
        async with consuming(bootstrap_servers, catalog, second, group_id=topic_prefix) as consumer:
            (row,) = await ended(consumer, streams=1)
        assert second.numbers == [2]
        assert (row.processed, row.skipped, row.lost_in_crash) == (2, 0, 0)

    async def test_a_batch_whose_commit_has_no_answer_is_dropped(self, fault_stack: Stack, topic_prefix: str) -> None:
        """An unknown outcome counts as a failure: the batch is dropped and counted, and what follows is processed."""
        kafka, broker = kafka_of(fault_stack)
        catalog = await created(kafka, topic_prefix, partitions=1)
        publishers: list[RealtimePublisher] = []

        async def stop_broker_after_prefetch(records: Sequence[RealtimeRecord]) -> None:
            if records[0].data[0] == 1:
                for number in (2, 3, 4):
                    publish(publishers[0], number)
                buffered = member._consumer._fetcher._records  # type: ignore[union-attr]  # set while it runs
                await until(lambda: bool(buffered))
                broker.kill(signal.SIGSTOP)

        handler = Collector(stop_broker_after_prefetch)
        async with consuming(kafka, catalog, handler, group_id=topic_prefix) as member:
            async with publishing(kafka, catalog, linger_ms=50) as publisher:
                publishers.append(publisher)
                publish(publisher, 1)
                await until(lambda: member.statistics().dropped_on_failed_commit > 0)
                broker.kill(signal.SIGCONT)
                await until(lambda: publisher.statistics().connected == 1)
                publish(publisher, 5)
                await until(lambda: 5 in handler.numbers)
            (row,) = await ended(member, streams=1)
        assert handler.numbers == [1, 5]
        assert (row.attempted, row.processed, row.dropped_on_failed_commit, row.unknown) == (5, 2, 3, 0)


class TestRecords:
    async def test_poison_is_passed_over(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A record that is none of ours does not stop its partition."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            stranger = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
            await stranger.start()
            await stranger.send_and_wait(position_topic(catalog), b"\xc1 poison", partition=0)
            await stranger.send_and_wait(position_topic(catalog), None, key=b"tombstone", partition=0)
            await stranger.stop()
            async with publishing(bootstrap_servers, catalog) as publisher:
                publish(publisher, 1)
            await until(lambda: handler.numbers == [1])
            assert consumer.statistics().invalid == 2
            assert consumer.statistics().skipped == 0

    async def test_stale_records_are_skipped(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """After an outage the state shows what is, not a replay of what was."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix, max_age_ms=60_000) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                publisher.publish("position", "arena", "alice", time.time_ns() // 1_000_000 - 61_000, [1, 0, 0, 0])
                publish(publisher, 2)
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [2]
        assert (row.processed, row.skipped) == (1, 1)

    async def test_a_record_that_stands_twice_is_processed_once(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Doubled by whoever it may be: the second is counted as a duplicate, an alarm, and not handed over."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                publish(publisher, 1)
                await until(lambda: handler.numbers == [1])
                copier = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
                await copier.start()
                again = encode_realtime(
                    "position", "arena", "alice", time.time_ns() // 1_000_000, "boot", 1, [1, 0, 0, 0]
                )
                await copier.send_and_wait(position_topic(catalog), again, partition=0)
                await copier.stop()
                publish(publisher, 2)
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [1, 2]
        assert (row.processed, row.duplicates) == (2, 1)

    async def test_a_handler_that_raises_loses_its_batch_only(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A committed batch cannot be tried again; it is counted, and the next one is processed."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)

        async def refuse_the_first(records: Sequence[RealtimeRecord]) -> None:
            if records[0].data[0] == 1:
                raise ConnectionError("the state is away")

        handler = Collector(refuse_the_first)
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                publish(publisher, 1)
                await until(lambda: consumer.statistics().failed_in_handler == 1)
                publish(publisher, 2)
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [2]
        assert (row.processed, row.lost_in_crash) == (1, 1)

    async def test_what_retention_took_was_skipped(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A position that the log no longer has jumps to the end, and the gap is not called loss on the wire."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        first, second = Collector(), Collector()
        async with publishing(bootstrap_servers, catalog) as publisher:
            async with consuming(bootstrap_servers, catalog, first, group_id=topic_prefix):
                publish(publisher, 1)
                await until(lambda: first.numbers == [1])
            for number in range(2, 22):
                publish(publisher, number)
            await until(lambda: publisher.statistics().written == 21)
            await publisher.stop()
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
            await admin.start()
            await admin.delete_records({TopicPartition(position_topic(catalog), 0): RecordsToDelete(before_offset=21)})
            await admin.close()
        async with consuming(bootstrap_servers, catalog, second, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog, boot="later") as later:
                # The jump is seen with the first record after it.
                await until(lambda: publish(later, 100) is None and bool(second.handled))
            rows = {row.boot: row for row in await ended(consumer, streams=2)}
        assert consumer.statistics().resets == 1
        assert (rows["boot"].processed, rows["boot"].skipped, rows["boot"].lost_on_wire) == (1, 20, 0)


class TestRebalance:
    async def test_partitions_change_hands_without_loss(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Members come and go while records flow: nothing is processed twice, nothing is lost, and every term is known."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=6)
        handlers = [Collector(), Collector(), Collector()]
        done = asyncio.Event()
        async with (
            consuming(
                bootstrap_servers, catalog, handlers[0], group_id=topic_prefix, session_timeout_ms=3_000
            ) as stays,
            publishing(bootstrap_servers, catalog) as publisher,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(_publish_slowly(publisher, done))
            for handler in handlers[1:]:
                async with consuming(
                    bootstrap_servers, catalog, handler, group_id=topic_prefix, session_timeout_ms=3_000
                ) as comes_and_goes:
                    await _handles(handler, 100)
                    assert 0 < comes_and_goes.statistics().assigned < 6
                await until(lambda: stays.statistics().assigned == 6)
                await _handles(handlers[0], 100)
            done.set()
        # All members have stopped by now, after the publisher; a last one reads the accounts that were handed down.
        async with consuming(bootstrap_servers, catalog, Collector(), group_id=topic_prefix) as last:
            rows = await ended(last, streams=6)
        numbers = [number for handler in handlers for number in handler.numbers]
        assert len(numbers) == len(set(numbers))
        assert total(rows, "attempted") == publisher.statistics().attempted
        assert total(rows, "processed") == total(rows, "attempted") == len(numbers)


class TestFaults:
    async def test_a_missing_topic_is_said(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A fault that a person must mend ends `run`, with what to do."""
        consumer = RealtimeConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=topic_prefix,
            catalog=realtime_catalog(topic_prefix),
            settings=ConsumerSettings(),
            handler=Collector(),
            max_age_ms=1000,
        )
        with pytest.raises(TopicError, match="gamebus topics create"):
            async with asyncio.timeout(WAIT_S):
                await consumer.run()

    async def test_it_joins_again_after_a_rebalance_that_lasted_longer_than_the_poll_interval(
        self, fault_stack: Stack, topic_prefix: str
    ) -> None:
        """A coordinator that stands still in the middle of a rebalance leaves a member without partitions. Meanwhile it does not read,
        which must not count as a member that does not poll: aiokafka would not let it join again, ever."""
        kafka, broker = kafka_of(fault_stack)
        catalog = await created(kafka, topic_prefix, partitions=1)
        handler = Collector()
        stopped = asyncio.Event()
        settings = {"max_poll_interval_ms": 1000, "session_timeout_ms": 6000}
        async with consuming(kafka, catalog, handler, group_id=topic_prefix, **settings) as member:
            async with publishing(kafka, catalog) as publisher:
                publish(publisher, 1)
                await until(lambda: 1 in handler.numbers)

                async def on_partitions_revoked(revoked: Iterable[TopicPartition]) -> None:
                    if not stopped.is_set():
                        broker.kill(signal.SIGSTOP)
                        stopped.set()
                    await RealtimeConsumer.on_partitions_revoked(member, revoked)

                member.on_partitions_revoked = on_partitions_revoked  # type: ignore[method-assign]
                member._consumer._coordinator.request_rejoin()  # type: ignore[union-attr]  # as when another member comes
                await stopped.wait()
                # Longer than a request waits for its answer, and so than the poll interval.
                await asyncio.sleep(7)
                broker.kill(signal.SIGCONT)
                await until(lambda: publisher.statistics().connected == 1)
                await until(member._assigned.is_set)
                publish(publisher, 2)
                await until(lambda: 2 in handler.numbers)

    async def test_it_can_be_stopped_while_no_broker_answers(self) -> None:
        """`stop` does not wait for Kafka."""
        consumer = RealtimeConsumer(
            bootstrap_servers="127.0.0.1:1",
            group_id="group",
            catalog=realtime_catalog("nowhere."),
            settings=ConsumerSettings(),
            handler=Collector(),
            max_age_ms=1000,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consumer.run())
            await until(lambda: consumer.statistics().restarts > 1)
            consumer.stop()
