"""What gamebus takes from aiokafka below its public interface, on a real broker.

aiokafka is pinned to a minor release for these. When a test here fails after an upgrade, read the module that it names before anything else:
docs/adr/0002 says why they are used at all.
"""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from gamebus.delivery import closed_transport
from tests.integration.durable_kit import chat_topic, created


class TestVersion:
    def test_is_the_one_that_was_read(self) -> None:
        """The private names below were read in this minor release."""
        assert version("aiokafka").startswith("0.14.")


class TestConnection:
    """`realtime_connection.py` and `leaders.py` write to aiokafka's connection and ask through it."""

    async def test_tells_versions_transport_and_its_end(self, bootstrap_servers: str) -> None:
        """The versions that the broker takes are known after the dial, the writer has a transport, and `on_close` is called."""
        closed = asyncio.Event()

        def on_close(connection: AIOKafkaConnection, reason: Any) -> None:
            closed.set()

        host, port = bootstrap_servers.split(":")
        connection = await create_conn(
            host, int(port), client_id="contract", request_timeout_ms=5000, max_idle_ms=None, on_close=on_close
        )
        lowest, highest = connection._versions[ProduceRequest.API_KEY]
        assert lowest <= highest
        answer = await connection.send(MetadataRequest([], allow_auto_topic_creation=False))
        assert answer.brokers

        assert connection._writer is not None
        transport = connection._writer.transport
        assert transport.get_write_buffer_size() == 0
        transport.abort()
        async with asyncio.timeout(10):
            await closed.wait()

    @pytest.mark.parametrize("on_uvloop", [False, True])
    def test_a_request_on_a_connection_that_was_just_reset_is_a_lost_connection(
        self, bootstrap_servers: str, on_uvloop: bool
    ) -> None:
        """As `closed_transport.py` has it: not the RuntimeError of uvloop's transports, which ends the task that asked for good."""
        closed_transport.install()

        async def ask(iterations: int) -> None:
            host, port = bootstrap_servers.split(":")
            connection = await create_conn(host, int(port), client_id="contract", request_timeout_ms=5000)
            assert connection._writer is not None
            connection._writer.transport.abort()
            # The transport ends in one iteration of the loop, its reader hears of it in another.
            for _ in range(iterations):
                await asyncio.sleep(0)
            with pytest.raises(KafkaConnectionError):
                await connection.send(MetadataRequest([], allow_auto_topic_creation=False))
            assert not connection.connected()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
            for iterations in range(5):
                runner.run(ask(iterations))

    def test_takes_these_arguments(self) -> None:
        """Without `max_idle_ms` a busy acks=0 connection would be closed as idle."""
        assert {"client_id", "request_timeout_ms", "max_idle_ms", "on_close"} <= set(
            inspect.signature(create_conn).parameters
        )


class TestRecords:
    """`realtime_buffer.py` builds record batches with the compiled builder."""

    def test_builder_says_what_it_added_and_when_it_is_full(self) -> None:
        """`append` gives the size that was added, None when the batch is full, and `build` the bytes of what was taken."""
        assert DefaultRecordBatchBuilder is not default_records._DefaultRecordBatchBuilderPy
        builder = DefaultRecordBatchBuilder(
            2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=200
        )
        empty = builder.size()
        added = builder.append(0, 1, b"key", b"value", [])
        assert added is not None
        assert builder.size() == empty + added.size
        assert builder.append(1, 1, b"key", b"v" * 500, []) is None
        assert len(builder.build()) == empty + added.size


class TestProducer:
    """`idempotent_producer.py` ends a producer without waiting for dead brokers."""

    async def test_can_be_ended_from_below(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Its connections have transports, its sender is a task, its accumulator fails what is left."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(topic, b"value", partition=0)
            assert producer._sender.sender_task is not None
            assert not producer._sender.sender_task.done()
            assert any(connection._writer.transport for connection in producer.client._conns.values())
            left = await producer.send(topic, b"left", partition=0)
            producer._message_accumulator.fail_all(KafkaConnectionError("contract"))
            assert isinstance(left.exception(), KafkaConnectionError)
        finally:
            await producer.stop()


class TestConsumer:
    """`realtime_consumer.py` and `tail.py` look below the consumer."""

    async def test_metadata_of_a_commit_comes_back(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The loss ledger travels in the metadata of a commit, which `committed` keeps to itself."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        tp = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap_servers, group_id=topic, enable_auto_commit=False
        )
        await consumer.start()
        try:
            await consumer.commit({tp: OffsetAndMetadata(0, "ledger")})
            coordinator, fetcher = consumer._coordinator, consumer._fetcher
            assert coordinator is not None
            assert fetcher is not None
            found = await coordinator.fetch_committed_offsets([tp])
            assert found[tp] == OffsetAndMetadata(0, "ledger")
            assert coordinator.generation > 0
            assert not fetcher.error_future.done()
        finally:
            await consumer.stop()
        assert coordinator.generation < 0

    async def test_a_paused_partition_is_left_alone(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The tail pauses partitions that nobody follows: they must not need a valid offset, nor hold the others up."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix))
        read, paused = TopicPartition(topic, 0), TopicPartition(topic, 1)
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="none")
        await producer.start()
        await consumer.start()
        try:
            consumer.assign([read, paused])
            consumer.seek(read, 0)
            consumer.seek(paused, 1_000_000)
            consumer.pause(paused)
            await producer.send_and_wait(topic, b"value", partition=0)
            async with asyncio.timeout(30):
                found = await consumer.getmany(timeout_ms=20_000)
            assert [record.value for record in found[read]] == [b"value"]
        finally:
            await consumer.stop()
            await producer.stop()
