"""Requirements of the line to a broker, where only a scripted peer can break at the right byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.protocol.produce import ProduceRequest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.catalog import Catalog, with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.realtime_connection import ProducedBatch, RealtimeConnection, backoff_s, encode_produce
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.errors import ConfigurationError, TopicError
from gamebus.settings import RealtimeProducerSettings
from tests.delivery.scripted_broker import ScriptedBroker

TOPICS = {"gamebus.position": 2, "gamebus.heartbeat": 2}


def _catalog() -> Catalog:
    return with_partitions(parse_catalog(), 2)


@asynccontextmanager
async def _publishing(broker: ScriptedBroker, **settings: Any) -> AsyncIterator[RealtimePublisher]:
    publisher = RealtimePublisher(
        bootstrap_servers=broker.address, catalog=_catalog(), settings=RealtimeProducerSettings(**settings), boot="boot"
    )
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop(deadline_s=0.2)


def _publish(publisher: RealtimePublisher, number: int, *, room: str = "arena") -> DropReason | None:
    return publisher.publish("position", room, "alice", number, [number, 0.5, 0.5, 0.5])


async def _flood(publisher: RealtimePublisher, *, until: asyncio.Event) -> None:
    """Publish more than any buffer of the kernel holds, until something happens."""
    number = 0
    async with asyncio.timeout(60):
        while not until.is_set():
            for _ in range(500):
                number += 1
                _publish(publisher, number)
            await asyncio.sleep(0.001)


class TestEncodeProduce:
    @given(
        batches=st.lists(
            st.builds(ProducedBatch, st.sampled_from(["t", "gamebus.position"]), st.integers(0, 9), st.binary())
        ),
        version=st.integers(3, 7),
    )
    def test_is_what_aiokafka_would_write(self, batches: list[ProducedBatch], version: int) -> None:
        """Our framing and aiokafka's protocol classes agree byte for byte."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for batch in batches:
            topics.setdefault(batch.topic, []).append((batch.partition, bytes(batch.payload)))
        struct_ = ProduceRequest(None, 0, 1000, list(topics.items())).prepare({0: (version, version)})
        expected = struct_.build_request_header(0, "client").encode() + struct_.encode()

        frame = encode_produce(version, "client", batches)
        assert frame == len(expected).to_bytes(4, "big") + expected


class TestBackoff:
    def test_grows_to_a_second_and_never_vanishes(self) -> None:
        """Neither a tight loop nor a wait that outlives the outage."""
        waits = [backoff_s(failures) for failures in range(1, 40)]
        assert all(0.04 < wait <= 1.0 for wait in waits)
        assert waits[-1] >= 0.5


class TestBrokenConnection:
    async def test_a_reset_in_the_middle_of_a_batch_doubles_nothing(self) -> None:
        """What the broken connection held is lost; the next connection carries only records that were never written."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker) as publisher:
            for number in range(1, 400):
                _publish(publisher, number)
            await broker.until(lambda: bool(broker.records))
            broker.cut_after_bytes = 1_000
            for number in range(400, 900):
                _publish(publisher, number)
                await asyncio.sleep(0)
            await broker.until(lambda: broker.cuts > 0)
            before = len(broker.records)
            while len(broker.records) == before:
                number += 1
                _publish(publisher, number)
                await asyncio.sleep(0.005)
            await publisher.stop()

        seqs = [record.seq for record in broker.records]
        assert len(seqs) == len(set(seqs))
        assert seqs == sorted(seqs)
        statistics = publisher.statistics()
        assert statistics.written + sum(statistics.dropped.values()) == statistics.attempted
        assert len(seqs) < statistics.written
        assert statistics.connects == 2

    async def test_a_peer_that_stops_reading_is_aborted_and_dialled_again(self) -> None:
        """A connection that takes no bytes for the stall timeout ends, and no call waits for it meanwhile."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker, stall_timeout_ms=100, max_age_ms=100) as publisher:
            _publish(publisher, 1)
            await broker.until(lambda: bool(broker.records))
            broker.reads.clear()
            aborted = asyncio.Event()
            flood = asyncio.create_task(_flood(publisher, until=aborted))
            while publisher.statistics().connected:  # noqa: ASYNC110 - statistics have no events
                await asyncio.sleep(0.01)
            aborted.set()
            await flood
            broker.reads.set()
            await broker.until(lambda: broker.connections > 2)
            before = len(broker.records)
            while len(broker.records) == before or publisher.statistics().connected == 0:
                _publish(publisher, 2)
                await asyncio.sleep(0.01)

        seqs = [record.seq for record in broker.records]
        assert len(seqs) == len(set(seqs))

    async def test_a_connection_that_ends_by_itself_is_dialled_again(self) -> None:
        """aiokafka closes a connection that a broker has ended, and the broker may take all that waits in it before the line gives
        it up: there is nothing to abort any more, and the line goes on."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker, stall_timeout_ms=10_000, max_age_ms=10_000) as publisher:
            broker.reads.clear()
            while not publisher._lines.buffered_bytes:
                for number in range(1000):
                    _publish(publisher, number)
                await asyncio.sleep(0)
            (line,) = publisher._lines._lines.values()
            line._transport.close()
            broker.reads.set()
            await broker.until(lambda: broker.connections > 2)
            before = len(broker.records)
            _publish(publisher, 1)
            await broker.until(lambda: len(broker.records) > before)
            assert publisher.statistics().connects == 2

    async def test_a_peer_that_answers_nothing_is_aborted(self) -> None:
        """Bytes that are taken prove nothing: a hung broker's kernel takes them, too."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker, stall_timeout_ms=50):
            broker.answers = False
            connections = broker.connections
            await broker.until(lambda: broker.connections > connections)

    async def test_a_publisher_that_cannot_go_on_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What nothing in it expects ends `watch`, and so the process that awaits it: it does not serve on without Kafka."""

        async def fail(_: RealtimeConnection) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(RealtimeConnection, "run", fail)
        monkeypatch.setattr("gamebus.delivery.realtime_lines._CONNECT_TIMEOUT_S", 0.01)
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker) as publisher:
            with pytest.raises(ExceptionGroup) as failed:
                await publisher.watch()
            assert failed.group_contains(ZeroDivisionError)

    async def test_a_publisher_that_was_stopped_is_watched_no_longer(self) -> None:
        """A shutdown in order ends `watch` without an error."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker) as publisher:
            watching = asyncio.ensure_future(publisher.watch())
            await publisher.stop()
            await watching

    async def test_records_wait_while_no_one_leads_and_grow_stale(self) -> None:
        """Without a leader records wait for one as long as they are fresh, and are then dropped for that reason."""
        broker = ScriptedBroker(TOPICS)
        async with broker.running(), _publishing(broker, max_age_ms=50) as publisher:
            broker.leads = False
            broker.cut_after_bytes = 0
            _publish(publisher, 1)
            await broker.until(lambda: broker.cuts > 0)
            while not publisher.statistics().dropped.get(DropReason.NO_LEADER):
                assert _publish(publisher, 2) is None
                await asyncio.sleep(0.005)
            assert broker.records == []

            broker.leads = True
            while not broker.records:
                _publish(publisher, 3)
                await asyncio.sleep(0.005)


class TestStart:
    async def test_a_missing_topic(self) -> None:
        """The message names the topic and the command that makes it."""
        broker = ScriptedBroker({"gamebus.position": 2})
        async with broker.running():
            with pytest.raises(TopicError, match=r"gamebus\.heartbeat.*gamebus topics create"):
                async with _publishing(broker):
                    pass

    async def test_another_partition_count(self) -> None:
        """Publisher and readers must agree where a room is."""
        broker = ScriptedBroker(TOPICS | {"gamebus.heartbeat": 3})
        async with broker.running():
            with pytest.raises(TopicError, match="has 3 partitions, the catalog says 2"):
                async with _publishing(broker):
                    pass

    async def test_no_broker_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The start fails after a deadline and names what it tried."""
        monkeypatch.setattr("gamebus.delivery.realtime_lines._START_TIMEOUT_S", 0.2)
        with pytest.raises(ConfigurationError, match="GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"):
            async with _publishing(ScriptedBroker(TOPICS)):
                pass

    async def test_a_broker_that_speaks_no_version_of_ours_is_not_written_to(self) -> None:
        """A broker of another time is reported, and its records are dropped, not garbled."""
        broker = ScriptedBroker(TOPICS, produce_versions=(9, 20))
        async with broker.running(), _publishing(broker, max_age_ms=20) as publisher:
            while not publisher.statistics().dropped.get(DropReason.NOT_CONNECTED):
                _publish(publisher, 1)
                await asyncio.sleep(0.005)
            assert broker.requests == 0
