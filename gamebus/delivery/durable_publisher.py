"""Publisher of at-least-once events.

Guarantees:

* the future of a publish ends with :class:`Written` only after every in-sync replica has the record;
* with :exc:`~gamebus.errors.PublishFailed` only when the record was surely not written;
* with :exc:`~gamebus.errors.OutcomeUnknown` otherwise: the record may be written, now or later;
* records of one partition (so of one key) are written in the order of the calls to `publish`;
* a dead broker, a leaderless or a poisoned partition holds up its own partitions only.

Not guaranteed: that a record is written once. What a failing producer may have written is sent again, with the same bytes, so
readers tell records apart by the event id in them.

How: each partition has a lane in a bounded outbox and a task that sends one batch after the other. When a batch fails for good
its partition is poisoned (:mod:`gamebus.delivery.idempotent_producer`); a supervisor builds the next producer
(:mod:`gamebus.delivery.producer_supervisor`), the lane sends its unacknowledged records again, and the old producer is ended once
the batches of the other lanes have landed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import RecordMetadata

from gamebus.delivery.durable_outbox import RECORD_OVERHEAD_BYTES, Entry, Headers, Lane, Outbox, Written
from gamebus.delivery.idempotent_producer import IdempotentProducer
from gamebus.delivery.partitioner import Partitioner
from gamebus.delivery.producer_supervisor import RETRY_S, ProducerSupervisor
from gamebus.errors import ConfigurationError, DeliveryError, OutcomeUnknown, PublishFailed, TopicError
from gamebus.settings import DurableProducerSettings
from gamebus.telemetry.metrics import counter, gauge
from gamebus.telemetry.tracing import Tracing

__all__ = ["MAX_RECORD_BYTES", "DurablePublisher", "DurablePublisherStatistics", "Written"]

_log = structlog.get_logger(__name__)

MAX_RECORD_BYTES: Final = 1_000_000
"""Key, value and headers of one record: what the topics take (gamebus.delivery.topics.MAX_MESSAGE_BYTES), less the framing."""

_BATCH_BYTES: Final = 131_072
_BATCH_FRAMING_BYTES: Final = 128
_SWEEP_S: Final = 0.05
_OVERLOADED_RETRY_MS: Final = 1_000
_UNAVAILABLE_RETRY_MS: Final = 1_000
# A batch this old has met something that retries do not mend: brokers at new addresses, or a bug of the client.
_STUCK_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DurablePublisherStatistics:
    """Counters since the start, and what waits in the outbox."""

    accepted: int = counter("Publishes taken; every one of them ends as acked, failed or unknown.")
    acked: int = counter("Publishes that all in-sync replicas have.")
    failed: int = counter("Publishes that were surely not written.")
    unknown: int = counter("Publishes of which nobody knows whether they were written.")
    overloaded: int = counter("Publishes refused because the outbox was full.")
    batches: int = counter("Record batches acknowledged.")
    rebuilds: int = counter("Producers that replaced a failed one.")
    queued_records: int = gauge("Records in the outbox.")
    queued_bytes: int = gauge("Bytes of these.")


class _PartitionState:
    """What the publisher keeps for a partition besides its lane."""

    __slots__ = ("failures", "filled", "lane", "poisoned_by", "sent_at", "singly")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.filled = asyncio.Event()
        # Number of the last producer that this partition takes no further batch from.
        self.poisoned_by = 0
        # Batches in a row that failed.
        self.failures = 0
        # Records still to be sent one by one, after a batch of them was too large for the topic.
        self.singly = 0
        # Monotonic time at which the batch in flight was sent; None when there is none.
        self.sent_at: float | None = None


class DurablePublisher:
    """Publishes records with acks=all through idempotent producers that are replaced when they fail.

    Args:
        topics: the only topics that it takes records for; their number of partitions is read at the start.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        settings: DurableProducerSettings,
        topics: Iterable[str],
        client_id: str = "gamebus-durable",
        tracing: Tracing | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._settings = settings
        self._producers = ProducerSupervisor(
            tuple(topics),
            bootstrap_servers=bootstrap_servers,
            client_id=client_id,
            request_timeout_ms=settings.request_timeout_ms,
            batch_bytes=_BATCH_BYTES,
        )
        self._tracing = tracing
        self._delivery_timeout_s = settings.delivery_timeout_ms / 1000
        self._outbox = Outbox(limit_bytes=settings.outbox_bytes, limit_records=settings.outbox_records)
        self._partitions: dict[str, list[_PartitionState]] = {}
        # Topics that take nothing more; what they took is sent.
        self._closed: dict[str, list[_PartitionState]] = {}
        self._partitioner = Partitioner({})
        self._accepting = False
        self._running: asyncio.Task[None] | None = None
        self._pumps: asyncio.TaskGroup | None = None
        self._loop = asyncio.get_running_loop()
        self._accepted = self._acked_count = self._failed = self._unknown = self._overloaded = self._batches = 0

    async def start(self, *, deadline_s: float = 30.0) -> None:
        """Connect and read the partitions of the topics; brokers that are down are waited for until the deadline.

        Raises:
            TopicError: a topic does not exist.
            ConfigurationError: no broker answered in time.
        """
        try:
            async with asyncio.timeout(deadline_s):
                counts = await self._producers.start()
        except TimeoutError:
            raise ConfigurationError(
                f"no Kafka broker at {self._bootstrap_servers} answered within {deadline_s:g} s: start it, or set "
                "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"
            ) from None
        self._partitioner = Partitioner(counts)
        self._partitions = {topic: self._open(topic, count) for topic, count in counts.items()}
        self._accepting = True
        self._running = asyncio.create_task(self._run(), name="durable-publisher")

    async def watch(self) -> None:
        """Return when stopped; await it beside everything else, so that a publisher that cannot go on is not kept.

        Raises:
            Exception: what nothing here expects; what was accepted has no outcome.
        """
        if self._running is not None:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()

    async def prepare(self, topics: Mapping[str, int]) -> None:
        """Take records for these topics as well from now on.

        Args:
            topics: number of partitions by topic, as the brokers have them.
        """
        new = {topic: count for topic, count in topics.items() if topic not in self._producers.topics}
        if not new or self._running is None:
            return
        self._producers.topics = (*self._producers.topics, *new)
        self._partitioner.follow({**self._counts(), **new})
        for topic, count in new.items():
            self._partitions[topic] = self._open(topic, count)
            if self._pumps is not None:
                for partition in self._partitions[topic]:
                    self._pumps.create_task(self._pump(partition))
        # So that the first record need not wait for it.
        with suppress(KafkaError):
            await self._producers.refresh_metadata()

    async def follow(self, topics: Collection[str], *, known: Collection[str]) -> None:
        """Take records for these topics only, from the call on; what others took is sent.

        Args:
            known: topics that exist; the brokers are not asked any more for one that does not when this returns.
        """
        for topic in [topic for topic in self._partitions if topic not in topics]:
            self._closed[topic] = self._partitions.pop(topic)
        for topic in [topic for topic in self._closed if topic in topics]:
            self._partitions[topic] = self._closed.pop(topic)
        forgotten = {topic for topic in self._closed if topic not in known}.intersection(self._producers.topics)
        if not forgotten or self._running is None:
            return
        self._producers.topics = tuple(topic for topic in self._producers.topics if topic not in forgotten)
        with suppress(KafkaError):
            await self._producers.refresh_metadata()

    def decided(self, topic: str) -> bool:
        """Whether every record that was accepted for a topic has its outcome."""
        states = self._partitions.get(topic) or self._closed.get(topic) or ()
        return not any(state.lane.queue or state.lane.in_flight for state in states)

    def publish(self, topic: str, key: bytes, value: bytes, headers: Headers = ()) -> asyncio.Future[Written]:
        """Accept a record; never blocks.

        Args:
            key: UTF-8 text; chooses the partition by Kafka's murmur2.
        Returns:
            A future of :class:`Written`. Cancelling it does not unsend the record.
        Raises:
            PublishFailed: `overloaded`, `too_large`, or `unavailable` when the publisher is not running or the topic was closed.
            TopicError: this publisher was not made for the topic.
        """
        if not self._accepting:
            raise PublishFailed("unavailable", "the publisher is stopping", retry_ms=_UNAVAILABLE_RETRY_MS)
        size_bytes = len(key) + len(value) + RECORD_OVERHEAD_BYTES
        for name, content in headers:
            size_bytes += len(name) * 4 + len(content) + 8
        if size_bytes > MAX_RECORD_BYTES:
            message = f"the record has {size_bytes} bytes, allowed are {MAX_RECORD_BYTES}"
            raise PublishFailed("too_large", message, retry_ms=None)
        if topic not in self._partitions:
            if topic in self._closed:
                raise PublishFailed(
                    "unavailable", f"topic {topic} takes no more events", retry_ms=_UNAVAILABLE_RETRY_MS
                )
            raise TopicError(f"topic {topic} is not one of this publisher: {', '.join(self._producers.topics)}")
        if not self._outbox.fits(size_bytes):
            self._overloaded += 1
            message = f"{self._outbox.records} records ({self._outbox.bytes} bytes) wait for Kafka already"
            raise PublishFailed("overloaded", message, retry_ms=_OVERLOADED_RETRY_MS)
        partition = self._partitions[topic][self._partitioner.partition(topic, key.decode())]
        outcome: asyncio.Future[Written] = self._loop.create_future()
        entry = Entry(
            key=key,
            value=value,
            headers=headers,
            timestamp_ms=int(time.time() * 1000),
            size_bytes=size_bytes,
            deadline=self._loop.time() + self._delivery_timeout_s,
            outcome=outcome,
        )
        self._outbox.add(partition.lane, entry)
        self._accepted += 1
        partition.filled.set()
        return outcome

    async def stop(self, *, deadline_s: float = 10.0) -> None:
        """Take nothing more, send what was accepted until the deadline, and end. Every future has an outcome afterwards."""
        self._accepting = False
        if self._running is None or self._running.done():
            return
        outcomes = [entry.outcome for entry in self._outbox.entries()]
        if outcomes:
            await asyncio.wait(outcomes, timeout=deadline_s)
        left = self._outbox.records
        self._running.cancel()
        # What ended it by itself is told by `watch`.
        await asyncio.wait([self._running])
        _log.info("publisher.stopped", acked=self._acked_count, unsent=left)

    def statistics(self) -> DurablePublisherStatistics:
        """Counters of this publisher."""
        return DurablePublisherStatistics(
            accepted=self._accepted,
            acked=self._acked_count,
            failed=self._failed,
            unknown=self._unknown,
            overloaded=self._overloaded,
            batches=self._batches,
            rebuilds=self._producers.rebuilds,
            queued_records=self._outbox.records,
            queued_bytes=self._outbox.bytes,
        )

    def _open(self, topic: str, count: int) -> list[_PartitionState]:
        return [_PartitionState(self._outbox.open_lane(topic, index)) for index in range(count)]

    def _counts(self) -> dict[str, int]:
        return {topic: len(states) for topic, states in (*self._partitions.items(), *self._closed.items())}

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._pumps = tasks
                for partitions in self._partitions.values():
                    for partition in partitions:
                        tasks.create_task(self._pump(partition))
                tasks.create_task(self._sweep())
                tasks.create_task(self._producers.run())
        finally:
            self._accepting = False
            self._pumps = None
            await self._producers.abort()
            self._expire(float("inf"))

    async def _pump(self, partition: _PartitionState) -> None:
        """Send the records of one partition, a batch at a time."""
        lane, linger_s = partition.lane, self._settings.linger_ms / 1000
        while True:
            while not lane.queue:
                partition.filled.clear()
                await partition.filled.wait()
            if linger_s:
                accepted_at = lane.queue[0].deadline - self._delivery_timeout_s
                await asyncio.sleep(accepted_at + linger_s - self._loop.time())
            producer = await self._producer_for(partition)
            entries = self._outbox.take(
                lane,
                limit_bytes=_BATCH_BYTES - _BATCH_FRAMING_BYTES,
                limit_records=1 if partition.singly else self._settings.outbox_records,
            )
            if not entries:
                continue
            partition.sent_at = self._loop.time()
            try:
                sent = producer.send(lane.topic, lane.partition, entries)
                if self._tracing is not None:
                    headers = [entry.headers for entry in entries]
                    sent = self._tracing.sending(lane.topic, lane.partition, headers, sent)
                written = await sent
            except KafkaError as error:
                await self._failed_batch(partition, producer, error)
            else:
                self._acked(partition, written)
            finally:
                partition.sent_at = None

    async def _producer_for(self, partition: _PartitionState) -> IdempotentProducer:
        lane = partition.lane
        while True:
            producer = self._producers.current
            if producer.number <= partition.poisoned_by:
                await self._producers.replaced()
            elif producer.has_leader(lane.topic, lane.partition):
                return producer
            else:
                await self._producers.refresh_metadata()
                await asyncio.sleep(RETRY_S[0])

    def _acked(self, partition: _PartitionState, written: RecordMetadata) -> None:
        lane = partition.lane
        self._batches += 1
        partition.failures = 0
        partition.singly = max(0, partition.singly - 1)
        for index, entry in enumerate(lane.in_flight):
            if not self._outbox.settle(entry):
                continue
            if written.offset < 0:
                # DUPLICATE_SEQUENCE_NUMBER: written, but the broker no longer knows where, and readers need to.
                self._end(entry, OutcomeUnknown("the record was written before; its offset is not known any more"))
                continue
            self._acked_count += 1
            if not entry.outcome.done():
                # -1: the topic keeps the time that the producer stated.
                timestamp_ms = written.timestamp if written.timestamp and written.timestamp > 0 else entry.timestamp_ms
                entry.outcome.set_result(Written(lane.topic, lane.partition, written.offset + index, timestamp_ms))
        self._outbox.landed(lane)

    async def _failed_batch(self, partition: _PartitionState, producer: IdempotentProducer, error: KafkaError) -> None:
        lane = partition.lane
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            # The one refusal that depends on the bytes alone, so an earlier attempt cannot have been written either.
            if len(lane.in_flight) == 1:
                entry = lane.in_flight[0]
                if self._outbox.settle(entry):
                    self._end(entry, PublishFailed("too_large", f"topic {lane.topic}: {error}", retry_ms=None))
            else:
                partition.singly = len(lane.in_flight)
        self._outbox.give_back(lane)
        partition.failures += 1
        partition.poisoned_by = producer.number
        if producer is self._producers.current:
            self._producers.replace()
            _log.warning("batch.failed", topic=lane.topic, partition=lane.partition, error=str(error))
        if partition.failures > 1:
            await asyncio.sleep(RETRY_S[min(partition.failures, len(RETRY_S)) - 1])

    async def _sweep(self) -> None:
        """End what nobody waits for any more, and notice batches that retries do not mend."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            self._expire(now)
            for partitions in (*self._partitions.values(), *self._closed.values()):
                for partition in partitions:
                    if partition.sent_at is not None and now - partition.sent_at > _STUCK_S:
                        partition.sent_at = now
                        self._producers.replace()

    def _expire(self, now: float) -> None:
        for entry in self._outbox.expire(now):
            if entry.offered:
                self._end(entry, OutcomeUnknown("Kafka did not acknowledge the record in time"))
            else:
                message = "no broker took the record in time"
                self._end(entry, PublishFailed("unavailable", message, retry_ms=_UNAVAILABLE_RETRY_MS))

    def _end(self, entry: Entry, error: DeliveryError) -> None:
        if isinstance(error, OutcomeUnknown):
            self._unknown += 1
        else:
            self._failed += 1
        if not entry.outcome.done():
            entry.outcome.set_exception(error)
