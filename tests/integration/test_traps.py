"""What aiokafka and redis-py do under faults that gamebus must not: each trap of docs/traps.md that touches our code, on real servers.

These tests are about the libraries. They hold as long as the library behaves as docs/traps.md says; when one fails after an upgrade, the trap is
gone, and what gamebus does about it may go too. Faults are made by the proxy that `gamebus verify` uses: it holds, loses and cuts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import KafkaError, KafkaTimeoutError, OutOfOrderSequenceNumber
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from redis.asyncio import Redis

from gamebus.localstack.stack import Stack
from gamebus.record import DurableRecord
from gamebus.state.effects import Effect, EffectState
from gamebus.verify.link import Way
from gamebus.verify.proxy import Proxy
from tests.integration.durable_kit import (
    WAIT_S,
    applied,
    chat_catalog,
    chat_topic,
    committed,
    created,
    eventually,
    publishing,
    read_all,
    redis,
    until,
)
from tests.integration.topics_kit import create_topic

_VALUE_BYTES = 10_000


@pytest.fixture(scope="module")
def proxied_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, int]]:
    """A broker that advertises the port of a proxy, and that port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    stack = Stack(tmp_path_factory.mktemp("proxied"), brokers=1, kafka_ports=(0,), redis_port=0, proxied_ports=(port,))
    try:
        stack.up(foreground=True)
        yield stack, port
    finally:
        stack.wipe()


@pytest.fixture
async def proxy(proxied_stack: tuple[Stack, int]) -> AsyncIterator[Proxy]:
    """The link to the broker."""
    stack, port = proxied_stack
    addresses = stack.addresses()
    assert addresses is not None
    proxy = Proxy(port=port, target_port=addresses.proxied[0])
    proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


@pytest.fixture
def kafka(proxied_stack: tuple[Stack, int]) -> str:
    """The same broker, not through the proxy."""
    addresses = proxied_stack[0].addresses()
    assert addresses is not None
    return addresses.kafka


@contextlib.asynccontextmanager
async def _lossy(proxy: Proxy, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    """aiokafka's own producer at acks=0, through the proxy."""
    producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{proxy.port}", acks=0, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        # It may wait for ever for a connection that takes nothing, and one whose sender has ended raises.
        await proxy.reset()
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(5):
                await producer.stop()


async def _values(kafka: str, topic: str) -> list[bytes]:
    """All values of a topic."""
    found = await read_all(kafka, topic)
    return [record.value or b"" for records in found.values() for record in records]


async def _led(kafka: str, topic_prefix: str) -> str:
    """A topic of one partition whose broker knows that it leads it; before, it cuts connections that bring records at acks=0."""
    topic = chat_topic(await created(kafka, topic_prefix, partitions=1))
    assert await _values(kafka, topic) == []
    return topic


def _batch(value: bytes) -> bytes:
    """A batch of one record."""
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1000
    )
    builder.append(0, 1, None, value, [])
    return bytes(builder.build())


class TestAcks0:
    """Of aiokafka's producer; `realtime_publisher.py` does not use it (docs/adr/0002)."""

    async def test_an_outage_is_made_up_for_late(self, proxy: Proxy, kafka: str, topic_prefix: str) -> None:
        """There is no `retries=0`: a record of the time without a broker is delivered when the broker is back, however old."""
        topic = await _led(kafka, topic_prefix)
        async with _lossy(proxy, request_timeout_ms=30_000) as producer:
            await producer.send_and_wait(topic, b"before")
            proxy.partition(refuse=True)
            await proxy.reset()
            old = await producer.send(topic, b"old")
            await until(lambda: not any(conn.connected() for conn in producer.client._conns.values()))
            assert not old.done()
            await proxy.restore()
            await old

            async def is_there() -> bool:
                return b"old" in await _values(kafka, topic)

            await eventually(is_there)

    async def test_a_stall_blocks_callers_and_a_reset_then_ends_the_producer(
        self, proxy: Proxy, kafka: str, topic_prefix: str
    ) -> None:
        """A broker that takes no bytes makes `send` wait until it raises; when that connection is reset, every later `send` of the
        producer raises, for ever."""
        topic = await _led(kafka, topic_prefix)
        async with _lossy(proxy, request_timeout_ms=500, max_batch_size=200_000) as producer:
            await producer.send_and_wait(topic, b"before")
            proxy.partition(Way.TO_BROKER)

            async def flood() -> None:
                while True:
                    await producer.send(topic, bytes(_VALUE_BYTES))

            with pytest.raises(KafkaTimeoutError):
                await flood()
            await proxy.reset()
            await proxy.restore()
            sender = producer._sender.sender_task
            assert sender is not None
            await asyncio.wait((sender,), timeout=WAIT_S)
            for _ in range(3):
                with pytest.raises(KafkaError, match="Unexpected error during batch delivery"):
                    await producer.send(topic, b"after")
        assert b"after" not in await _values(kafka, topic)

    async def test_a_connection_that_the_kernel_gives_up_is_written_again(
        self, proxy: Proxy, kafka: str, topic_prefix: str
    ) -> None:
        """After ETIMEDOUT the batch that was being written is written once more, late; batches before it are lost, reported as sent.

        The broker does not see the batch twice: it handles whole requests, and of this one at least 16 KB had not left asyncio.
        """
        topic = await _led(kafka, topic_prefix)
        async with _lossy(proxy, request_timeout_ms=60_000, max_batch_size=200_000) as producer:
            await producer.send_and_wait(topic, b"before")
            for conn in producer.client._conns.values():
                sock = conn._writer.transport.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
            proxy.partition(Way.TO_BROKER)
            futures: list[asyncio.Future[Any]] = []

            async def publish() -> None:
                while True:
                    value = b"%07d" % len(futures) + bytes(_VALUE_BYTES)
                    futures.append(await producer.send(topic, value))

            publishing_ = asyncio.create_task(publish())
            await until(lambda: not any(conn.connected() for conn in producer.client._conns.values()))
            publishing_.cancel()
            await asyncio.wait((publishing_,))
            said = sum(future.done() for future in futures)
            assert said < len(futures)
            await proxy.restore()
            await asyncio.gather(*futures)

            async def is_there() -> bool:
                return any(value.startswith(b"%07d" % (len(futures) - 1)) for value in await _values(kafka, topic))

            await eventually(is_there)
        numbers = Counter(int(value[:7]) for value in await _values(kafka, topic) if value != b"before")
        assert set(range(said, len(futures))) <= set(numbers)
        assert len(numbers) < len(futures)
        assert set(numbers.values()) == {1}

    async def test_nothing_is_answered_and_an_error_cuts_the_connection(self, kafka: str, topic_prefix: str) -> None:
        """A broker answers no request at acks=0. One for a partition that it does not have ends the connection, and what was
        written behind it is lost, whatever its partition."""
        topic = await _led(kafka, topic_prefix)
        ended: asyncio.Future[CloseReason | None] = asyncio.get_running_loop().create_future()
        host, port = kafka.split(":")
        conn = await create_conn(host, int(port), on_close=lambda _, reason: ended.set_result(reason))
        payload = _batch(b"good")

        await conn.send(ProduceRequest(None, 0, 1000, [(topic, [(0, payload)])]), expect_response=False)
        # Answers come in the order of the requests: this one would be taken for the answer to the records.
        answer = await conn.send(MetadataRequest([topic], allow_auto_topic_creation=False))
        assert [found[1] for found in answer.topics] == [topic]
        assert not ended.done()

        behind = [(topic, [(0, _batch(b"behind"))])]
        drains = [
            conn.send(ProduceRequest(None, 0, 1000, topics), expect_response=False)
            for topics in ([(topic, [(99, payload)])], behind)
        ]
        await asyncio.gather(*drains)
        async with asyncio.timeout(WAIT_S):
            assert await ended is CloseReason.CONNECTION_BROKEN
        assert await _values(kafka, topic) == [b"good"]

    async def test_a_busy_connection_is_closed_as_idle(self, kafka: str, topic_prefix: str) -> None:
        """Only answers count as activity, and at acks=0 there are none: `max_idle_ms` must be off."""
        topic = await _led(kafka, topic_prefix)
        ended: asyncio.Future[CloseReason | None] = asyncio.get_running_loop().create_future()
        host, port = kafka.split(":")
        conn: AIOKafkaConnection = await create_conn(
            host, int(port), max_idle_ms=300, on_close=lambda _, reason: ended.set_result(reason)
        )
        request = ProduceRequest(None, 0, 1000, [(topic, [(0, _batch(b"busy"))])])
        async with asyncio.timeout(WAIT_S):
            while not ended.done():
                await conn.send(request, expect_response=False)
                await asyncio.sleep(0.01)
        assert ended.result() is CloseReason.IDLE_DROP


class TestIdempotence:
    """Of aiokafka's producer; `idempotent_producer.py` confines it, `durable_publisher.py` replaces it."""

    async def test_one_refused_batch_poisons_its_partition(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """After a batch that the topic refuses, every later one of that partition is out of order; another partition goes on."""
        topic = f"{topic_prefix}small"
        await create_topic(bootstrap_servers, topic, partitions=2, config={"max.message.bytes": "1000"})
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(topic, b"good", partition=0)
            with pytest.raises(KafkaError):
                await producer.send_and_wait(topic, bytes(2000), partition=0)
            for _ in range(3):
                with pytest.raises(OutOfOrderSequenceNumber):
                    await producer.send_and_wait(topic, b"good", partition=0)
            await producer.send_and_wait(topic, b"good", partition=1)
        finally:
            await producer.stop()

    async def test_the_publisher_outlives_the_end_of_the_sequence(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """aiokafka counts on past 2**31 records of a partition with negative numbers, which brokers refuse: the publisher takes a new
        producer and acknowledges everything, in order."""
        topic = chat_topic(await created(bootstrap_servers, topic_prefix, partitions=1))
        async with publishing(bootstrap_servers, [topic]) as publisher:
            publisher._producers.current._producer._txn_manager._sequence_numbers[TopicPartition(topic, 0)] = 2**31 - 2
            for number in range(6):
                await publisher.publish(topic, b"arena", b"%d" % number)
            assert publisher.statistics().rebuilds == 1
        assert await _values(bootstrap_servers, topic) == [b"%d" % number for number in range(6)]


class TestCommit:
    """Of aiokafka's consumer; `committer.py` and `realtime_committer.py` have one commit at a time, with a deadline."""

    async def test_one_that_is_tried_again_overwrites_a_later_one(
        self, proxy: Proxy, kafka: str, topic_prefix: str
    ) -> None:
        """A commit that fails for a passing reason waits outside of the lock and is sent again, over what was committed since."""
        topic = chat_topic(await created(kafka, topic_prefix, partitions=1))
        tp = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=f"127.0.0.1:{proxy.port}",
            group_id=topic,
            enable_auto_commit=False,
            retry_backoff_ms=3_000,
        )
        await consumer.start()
        try:
            proxy.partition()
            early = asyncio.create_task(consumer.commit({tp: OffsetAndMetadata(100, "")}))
            coordinator = consumer._coordinator
            assert coordinator is not None
            await until(coordinator._commit_lock.locked)
            await proxy.restore()
            await proxy.reset()
            await until(lambda: not coordinator._commit_lock.locked())
            await consumer.commit({tp: OffsetAndMetadata(200, "")})
            assert not early.done()
            await early
        finally:
            await consumer.stop()
        assert await committed(kafka, topic, topic) == {0: 100}


class TestRedis:
    """Of redis-py; `state/` runs nothing but scripts that check before they count, reads and overwrites."""

    async def test_a_lost_answer_makes_a_command_run_twice_and_an_effect_once(
        self, redis_url: str, topic_prefix: str
    ) -> None:
        """With redis-py's defaults one INCR counts two when its answer is lost; the script of effects has its effect once."""
        proxy = Proxy(target_port=int(redis_url.rpartition(":")[2].partition("/")[0]))
        proxy.start()
        try:
            async with redis(redis_url, topic_prefix) as direct:

                async def lose_the_answer(command: Callable[[], Awaitable[Any]], key: str) -> Any:
                    lost_bytes = proxy.statistics().dropped_bytes
                    proxy.partition(Way.TO_CLIENT, lose=True)
                    call = asyncio.ensure_future(command())

                    async def is_lost() -> bool:
                        # That the command ran is not enough: its answer may still be on the way to the proxy.
                        return proxy.statistics().dropped_bytes > lost_bytes and bool(
                            await direct.execute("EXISTS", key)
                        )

                    await eventually(is_lost)
                    await proxy.restore()
                    return await call

                async with Redis(port=proxy.port, decode_responses=True) as client:
                    key = f"{topic_prefix}counter"
                    await client.ping()
                    await lose_the_answer(lambda: client.incr(key), key)
                    assert await client.get(key) == "2"

                catalog = chat_catalog(topic_prefix)
                async with redis(f"redis://127.0.0.1:{proxy.port}", topic_prefix, timeout_s=30) as connection:
                    state = EffectState(connection, catalog)
                    await connection.execute("PING")
                    effect = Effect(DurableRecord("chat", "arena", "ann", 5, "ann", "1", {"text": "hi"}), 0, "chat")
                    # Known to the server, so that the next call is one round trip.
                    await state.apply("lobby", chat_topic(catalog), 0, [effect])
                    applied_anew = await lose_the_answer(
                        lambda: state.apply("arena", chat_topic(catalog), 0, [effect]),
                        connection.keys.room("arena", "totals"),
                    )
                    assert applied_anew == [False]
                    assert await applied(direct, catalog, ["arena"]) == ["1"]
        finally:
            await proxy.close()
