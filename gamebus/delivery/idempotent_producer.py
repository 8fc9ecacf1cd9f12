"""One life of aiokafka's idempotent producer, and its end.

aiokafka 0.14 numbers the records of a partition when it takes a batch up and never takes a number back, so one batch that fails
for good makes the broker refuse every later batch of that partition as out of order, for the life of the producer (KIP-360 is
not implemented). It also has no way to stop without waiting for brokers that may be dead. This module is where those facts,
and the private names that they cost, are confined; a contract test watches the names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from gamebus.delivery.durable_outbox import Entry
from gamebus.delivery.topics import require_topics

_log = structlog.get_logger(__name__)

_ABORT_TIMEOUT_S = 5.0


class IdempotentProducer:
    """Sends batches with acks=all under one producer id.

    Guarantees: a batch that :meth:`send` returns from was written once by all in-sync replicas. Batches of one partition keep
    their order as long as the caller sends one after the other. After :meth:`send` raised for a partition, that partition
    takes no further batch from this producer; other partitions are not affected.

    Args:
        number: counts the producers of a publisher, for its logs and to tell which one failed a partition.
        batch_bytes: largest batch; a single larger record travels alone.
    """

    def __init__(
        self, *, number: int, bootstrap_servers: str, client_id: str, request_timeout_ms: int, batch_bytes: int
    ) -> None:
        self.number = number
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            # The publisher waits for fuller batches itself: what it sends is complete.
            linger_ms=0,
            max_batch_size=batch_bytes,
            request_timeout_ms=request_timeout_ms,
        )
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, topics: Iterable[str]) -> dict[str, int]:
        """Connect, fetch the producer id and the metadata of `topics`.

        Returns:
            The number of partitions of each topic.
        Raises:
            TopicError: a topic does not exist.
            KafkaError: no broker answered.
        """
        await self._producer.start()
        client = self._producer.client
        # All topics first: asking for one by name makes a broker with auto.create.topics.enable create it.
        cluster = await client.fetch_all_metadata()
        require_topics(topics, cluster.topics())
        await client.set_topics(topics)
        return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}

    def has_leader(self, topic: str, partition: int) -> bool:
        """Whether a batch for the partition can be sent now.

        A batch for a leaderless partition must not be handed to aiokafka: it asks for metadata without a pause, and drops
        the batch with its sequence numbers when its time is up.
        """
        leader = self._producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return leader is not None and leader != -1

    async def refresh_metadata(self, topics: Iterable[str]) -> None:
        """Ask the brokers who leads which partition of `topics`, and of no others."""
        client = self._producer.client
        await client.set_topics(topics)
        await client.force_metadata_update()

    async def send(self, topic: str, partition: int, entries: Sequence[Entry]) -> RecordMetadata:
        """Send one batch and wait until all in-sync replicas have it; the offset is that of its first record.

        Retriable errors are retried without end, so the caller keeps the time.

        Raises:
            KafkaError: the batch failed for good.
        """
        self._in_flight += 1
        self._idle.clear()
        try:
            batch = self._producer.create_batch()
            for entry in entries:
                appended = batch.append(
                    key=entry.key, value=entry.value, timestamp=entry.timestamp_ms, headers=list(entry.headers)
                )
                assert appended is not None, "the outbox took more than a batch holds"
            batch.close()
            delivery = await self._producer.send_batch(batch, topic, partition=partition)
            metadata: RecordMetadata = await delivery
            return metadata
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no batch is in flight."""
        await self._idle.wait()

    async def abort(self) -> None:
        """End now: cut the connections and fail every batch in flight, so that nothing is written after this returns."""
        producer = self._producer
        sender, client = producer._sender, producer.client  # noqa: SLF001 - stop() alone waits for dead brokers
        try:
            async with asyncio.timeout(_ABORT_TIMEOUT_S):
                for connection in client._conns.values():  # noqa: SLF001
                    if connection._writer is not None:  # noqa: SLF001
                        connection._writer.transport.abort()  # noqa: SLF001
                while sender.sender_task is not None and not sender.sender_task.done():
                    # It swallows a cancellation to await its requests: each further one ends one of those.
                    sender.sender_task.cancel()
                    await asyncio.wait([sender.sender_task], timeout=0.1)
                producer._message_accumulator.fail_all(KafkaConnectionError("the producer was replaced"))  # noqa: SLF001
                with suppress(KafkaError):
                    await producer.stop()
        except TimeoutError:
            _log.warning("producer.abort_timed_out", number=self.number)
