"""The realtime publisher on a real broker."""

from __future__ import annotations

import asyncio

from gamebus.catalog import Profile
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.settings import RealtimeProducerSettings
from tests.integration.durable_kit import read_all, until
from tests.integration.realtime_kit import assert_nothing_doubled, created, found, position_topic, publish, publishing


class TestPublish:
    async def test_every_record_arrives_once_and_in_order(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Without faults at most once is exactly once: key, time, sequence and data as published."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog) as publisher:
            for number in range(5_000):
                assert (
                    publisher.publish("position", f"room-{number % 7}", "alice", 1_000 + number, [number, 0, 0, 0])
                    is None
                )
                if number % 100 == 0:
                    await asyncio.sleep(0)

        records = await found(bootstrap_servers, catalog)
        assert_nothing_doubled(records)
        assert sorted(record.data[0] for of in records.values() for record in of) == list(range(5_000))
        for of in records.values():
            assert [record.seq for record in of] == list(range(1, len(of) + 1))
            assert all(record.server_ms == 1_000 + record.data[0] for record in of)
            for room in {record.room for record in of}:
                numbers = [record.data[0] for record in of if record.room == room]
                assert numbers == sorted(numbers)
        for of_kafka in (await read_all(bootstrap_servers, position_topic(catalog))).values():
            for raw in of_kafka:
                assert raw.key is not None
                assert raw.key.startswith(b"room-")
                # The broker's time; that of the event is its own.
                assert raw.timestamp_type == 1

    async def test_one_request_holds_the_batches_of_all_partitions(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Requests, not bytes, cost a broker: a flush makes one for each broker."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=6)
        async with publishing(bootstrap_servers, catalog) as publisher:
            for number in range(60):
                publish(publisher, number, room=f"room-{number}")
            await until(lambda: publisher.statistics().written == 60)
            statistics = publisher.statistics()

        assert (statistics.requests, statistics.batches) == (1, 6)

    async def test_snappy_is_read_by_every_client(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Compression changes what is written, not what is read."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog, compression="snappy") as publisher:
            for number in range(2_000):
                publish(publisher, number)
            await until(lambda: publisher.statistics().written == 2_000)
            assert publisher.statistics().written_bytes < 2_000 * 40

        records = await found(bootstrap_servers, catalog)
        assert [record.data[0] for of in records.values() for record in of] == list(range(2_000))


class TestLinger:
    async def test_a_quiet_line_does_not_linger(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Records of a quiet line are written at the end of the turn of the event loop; those after a burst linger."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog, linger_ms=1000) as publisher:
            publish(publisher, 1)
            publish(publisher, 2)
            await asyncio.sleep(0)
            assert publisher.statistics().written == 2

            for number in range(3, 1_003):
                publish(publisher, number)
            await until(lambda: publisher.statistics().written == 1_002)
            publish(publisher, 1_003)
            for _ in range(10):
                await asyncio.sleep(0)
            assert publisher.statistics().written == 1_002
            await until(lambda: publisher.statistics().written == 1_003)

    async def test_a_full_batch_does_not_linger(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Under load batches are written as they fill, also by a caller that never lets go of the event loop."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog, linger_ms=1000, batch_bytes=4096) as publisher:
            for number in range(200):
                publish(publisher, number)
            assert 100 < publisher.statistics().written < 200

    async def test_the_telemetry_profile_gathers_large_batches(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Log streaming by the seed: batches of 1 MB, whatever the realtime settings are."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1, profile=Profile.TELEMETRY)
        async with publishing(bootstrap_servers, catalog) as publisher:
            publish(publisher, 0)
            await until(lambda: publisher.statistics().written == 1)
            for number in range(1, 5_000):  # about 400 KB: a dozen batches of the realtime profile
                publish(publisher, number)
            await until(lambda: publisher.statistics().written == 5_000)
            assert publisher.statistics().batches == 2

        assert len((await found(bootstrap_servers, catalog))[0]) == 5_000


class TestStop:
    async def test_what_was_accepted_is_in_kafka_when_stop_returns(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """A graceful shutdown loses nothing, and says that everything is decided."""
        catalog = await created(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, catalog, linger_ms=1000) as publisher:
            for number in range(3_000):
                publish(publisher, number, room=f"room-{number % 5}")
            await publisher.stop()
            assert publish(publisher, 3_000) is DropReason.CLOSING

            reports = publisher.stream_reports()
            assert sum(report.seq for report in reports) == 3_001
            assert sum(sum(report.dropped.values()) for report in reports) == 1
        assert sum(len(of) for of in (await found(bootstrap_servers, catalog)).values()) == 3_000

    async def test_nothing_is_accepted_before_the_start(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A drop with a reason, not an exception: the caller is a hot path."""
        catalog = await created(bootstrap_servers, topic_prefix)
        publisher = RealtimePublisher(
            bootstrap_servers=bootstrap_servers, catalog=catalog, settings=RealtimeProducerSettings(), boot="boot"
        )
        assert publish(publisher, 1) is DropReason.CLOSING
        await publisher.start()
        assert publish(publisher, 2) is None
        await until(lambda: publisher.statistics().written == 1)
        await publisher.stop()
