"""The seed's failure tables, row by row, on real brokers and processes that really stop and die.

Each row loses what the seed says it may lose; beyond that: no call waits, every drop is counted, nothing is doubled, fresh records
flow again, and the account of every record holds.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.localstack.stack import Stack
from tests.integration.children import running, said
from tests.integration.durable_kit import kafka_of, until
from tests.integration.realtime_kit import (
    Collector,
    assert_in_order,
    assert_nothing_doubled,
    consuming,
    created,
    ended,
    found,
    publish,
    publishing,
    total,
)


class _Player:
    """Publishes a position every few milliseconds, in rooms of all partitions."""

    def __init__(self, publisher: RealtimePublisher) -> None:
        self._publisher = publisher
        self.published = 0

    async def play(self) -> None:
        while True:
            for room in range(20):
                self.published += 1
                publish(self._publisher, self.published, room=f"room-{room}")
            await asyncio.sleep(0.005)


async def _assert_recovers(handler: Collector, player: _Player) -> None:
    """Records that are published from now on are processed."""
    now = player.published
    await until(lambda: bool(handler.handled) and handler.handled[-1].data[0] > now)


async def _outage(
    kafka: str,
    topic_prefix: str,
    begin: Callable[[], object],
    end: Callable[[], object],
    reasons: set[DropReason],
) -> None:
    """Play through an outage of the only broker, then hold everyone to account."""
    catalog = await created(kafka, topic_prefix)
    handler = Collector()
    async with consuming(kafka, catalog, handler, group_id=topic_prefix) as consumer:
        async with publishing(kafka, catalog, max_age_ms=1000, stall_timeout_ms=500) as publisher:
            player = _Player(publisher)
            playing = asyncio.create_task(player.play())
            await _assert_recovers(handler, player)
            begin()
            await until(lambda: sum(publisher.statistics().dropped.values()) > 500)
            await asyncio.to_thread(end)
            await _assert_recovers(handler, player)
            playing.cancel()
            await asyncio.wait((playing,))
        rows = await ended(consumer, streams=3)
        statistics = publisher.statistics()

    assert set(statistics.dropped) <= reasons
    assert total(rows, "attempted") == statistics.attempted == player.published
    assert sum(sum(row.dropped.values()) for row in rows) == sum(statistics.dropped.values())
    assert total(rows, "processed") == len(handler.handled)
    assert total(rows, "unknown") == 0
    assert total(rows, "duplicates") == 0
    assert_nothing_doubled(await found(kafka, catalog))
    assert_in_order(handler.handled)


class TestProducerFailures:
    async def test_network_timeout(self, fault_stack: Stack, topic_prefix: str) -> None:
        """A broker that hangs (its connections stand, nothing answers): messages are lost, the publisher goes on."""
        kafka, broker = kafka_of(fault_stack)
        await _outage(
            kafka,
            topic_prefix,
            lambda: broker.kill(signal.SIGSTOP),
            lambda: broker.kill(signal.SIGCONT),
            {DropReason.EXPIRED, DropReason.NOT_CONNECTED, DropReason.NO_LEADER},
        )

    async def test_broker_unavailable(self, fault_stack: Stack, topic_prefix: str) -> None:
        """A broker that dies and returns: messages are lost meanwhile, and it is told why; fresh ones flow again."""
        kafka, broker = kafka_of(fault_stack)
        await _outage(
            kafka,
            topic_prefix,
            lambda: broker.kill(signal.SIGKILL),
            broker.restart,
            {DropReason.NOT_CONNECTED, DropReason.NO_LEADER},
        )

    async def test_serialization_error(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The message is dropped and the error counted; the messages around it are delivered."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                publish(publisher, 1)
                assert publisher.publish("position", "arena", "alice", 1, object()) is DropReason.INVALID
                assert publisher.publish("position", "arena", "alice", 1, 2**70) is DropReason.INVALID
                publish(publisher, 2)
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [1, 2]
        assert (row.attempted, row.processed, dict(row.dropped), row.lost_on_wire) == (4, 2, {"invalid": 2}, 0)

    async def test_message_too_large(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A message that no batch can hold is dropped alone: at acks=0 a broker would answer by cutting the connection."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(bootstrap_servers, catalog) as publisher:
                publish(publisher, 1)
                assert publisher.publish("position", "arena", "a", 1, bytes(1_000_000)) is DropReason.TOO_LARGE
                now_ms = time.time_ns() // 1_000_000
                assert publisher.publish("position", "arena", "a", now_ms, [2, bytes(900_000)]) is None
                publish(publisher, 3)
                await until(lambda: publisher.statistics().written == 3)
                assert publisher.statistics().connects == 1
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [1, 2, 3]
        assert (row.processed, dict(row.dropped), row.lost_on_wire) == (3, {"too_large": 1}, 0)

    async def test_buffer_full(self, fault_stack: Stack, topic_prefix: str) -> None:
        """No call waits: past the bound of all buffers new messages are dropped, and counted as such."""
        kafka, broker = kafka_of(fault_stack)
        catalog = await created(kafka, topic_prefix)
        handler = Collector()
        async with consuming(kafka, catalog, handler, group_id=topic_prefix) as consumer:
            async with publishing(kafka, catalog, buffer_bytes=1_000_000, stall_timeout_ms=500) as publisher:
                broker.kill(signal.SIGSTOP)
                number = 0
                while not publisher.statistics().dropped.get(DropReason.BACKPRESSURE):
                    for _ in range(1_000):
                        number += 1
                        publish(publisher, number, room=f"room-{number % 9}")
                    await asyncio.sleep(0)
                    assert publisher.statistics().buffered_bytes < 1_100_000
                assert publisher.statistics().buffer_available_bytes < 100_000

                broker.kill(signal.SIGCONT)
                await until(lambda: publisher.statistics().buffered_bytes == 0)
                assert publish(publisher, 0) is None
            rows = await ended(consumer, streams=3)
        assert total(rows, "attempted") == number + 1
        assert set().union(*(row.dropped for row in rows)) == {"backpressure"}
        assert total(rows, "unknown") == 0
        assert_nothing_doubled(await found(kafka, catalog))

    async def test_producer_crash(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """What was in the buffer of a killed process is lost with it; what it had written is delivered, once."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        handler = Collector()
        async with consuming(bootstrap_servers, catalog, handler, group_id=topic_prefix) as consumer:
            async with running(
                "realtime_process", "publish", kafka=bootstrap_servers, topic_prefix=topic_prefix
            ) as process:
                await said(process, "written", at_least=1)
                await said(process, "buffered", at_least=10)
                process.kill()
                await process.wait()
            await until(lambda: bool(handler.handled))
            async with publishing(bootstrap_servers, catalog, boot="next") as publisher:
                publish(publisher, 100)
            (row,) = await ended(consumer, streams=1)
        assert handler.numbers == [1, 100]
        assert (row.boot, row.processed) == ("next", 1)


class TestConsumerFailures:
    async def _crash(
        self, kafka: str, topic_prefix: str, *, stop_before: int | None, killed_at: str, count: int
    ) -> tuple[list[int], list[int], dict[str, int]]:
        """Kill a consumer at a word, let another take over; returns what each processed, and the account."""
        catalog = await created(kafka, topic_prefix, partitions=1)
        async with running(
            *("realtime_process", "consume"),
            kafka=kafka,
            topic_prefix=topic_prefix,
            group_id=topic_prefix,
            stop_before=stop_before,
        ) as process:
            await said(process, "ready")
            async with publishing(kafka, catalog) as publisher:
                for number in range(1, 6):
                    publish(publisher, number)
                await until(lambda: publisher.statistics().written == 5)
                lines = await said(process, killed_at, at_least=count)
                process.kill()
                await process.wait()
                for number in range(6, 9):
                    publish(publisher, number)
        handler = Collector()
        async with consuming(kafka, catalog, handler, group_id=topic_prefix) as consumer:
            (row,) = await ended(consumer, streams=1)
        assert (row.attempted, row.lost_on_wire, row.unknown, row.skipped) == (8, 0, 0, 0)
        before = [int(line[1]) for line in lines if line[0] == "processed"]
        return before, handler.numbers, {"processed": row.processed, "lost_in_crash": row.lost_in_crash}

    async def test_after_commit_before_process(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """All polled records are lost and counted; none is delivered again."""
        before, after, account = await self._crash(
            bootstrap_servers, topic_prefix, stop_before=1, killed_at="stuck", count=0
        )
        assert before == []
        assert after == [6, 7, 8]
        assert account == {"processed": 3, "lost_in_crash": 5}

    async def test_during_processing(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The remaining records of the batch are lost; none is delivered again.

        The account gives up the whole batch: the process died before it said how far it came.
        """
        before, after, account = await self._crash(
            bootstrap_servers, topic_prefix, stop_before=3, killed_at="stuck", count=0
        )
        assert before == [1, 2]
        assert after == [6, 7, 8]
        assert account == {"processed": 3, "lost_in_crash": 5}

    async def test_after_processing(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """No impact: what was processed, and said to be in the commit that follows when the line is quiet, counts as such."""
        before, after, account = await self._crash(
            bootstrap_servers, topic_prefix, stop_before=None, killed_at="commits", count=2
        )
        assert before == [1, 2, 3, 4, 5]
        assert after == [6, 7, 8]
        assert account == {"processed": 8, "lost_in_crash": 0}
