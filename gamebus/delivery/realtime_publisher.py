"""Publisher of at-most-once events (acks=0): a record is written to a socket once, or dropped and counted.

Guarantees:

* :meth:`RealtimePublisher.publish` is a plain function. It never waits, and no broker can make it raise.
* Every record is written at most once; there is no retry, so no fault can double it.
* Every attempt has a sequence number in its stream, drops included, and every drop has a reason.
* All buffers together stay within `buffer_bytes`; past it new records are dropped (`backpressure`).
* A record older than `max_age_ms` is dropped before it is written. After an outage readers see fresh records, not a replay.
* A broker that hangs costs the records of its own partitions only.

Not guaranteed: that an accepted record arrives. A connection that breaks takes with it what it had been given; readers see
the gap in the sequence (:mod:`gamebus.delivery.accounting`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gamebus.catalog import Catalog, DeliveryClass, Profile, Topic
from gamebus.delivery.linger import Linger
from gamebus.delivery.partitioner import MAX_CACHED_KEYS, Partitioner
from gamebus.delivery.realtime_buffer import (
    MAX_RECORD_BYTES,
    NO_HEADERS,
    Budget,
    DropReason,
    Headers,
    PartitionBuffer,
    require_compiled_records,
)
from gamebus.delivery.realtime_connection import ProducedBatch, RealtimeConnection
from gamebus.delivery.realtime_lines import RealtimeLines
from gamebus.delivery.reports import StreamReport
from gamebus.record import encode_realtime
from gamebus.settings import RealtimeProducerSettings
from gamebus.telemetry.metrics import counter, gauge

__all__ = ["DropReason", "RealtimePublisher", "RealtimeStatistics"]

_TELEMETRY_LINGER_S: Final = 0.1
_TELEMETRY_BATCH_BYTES: Final = 1_048_576
_SLICES: Final = 10  # a waiting partition holds at most so many batches, each of a tenth of max_age_ms
_BLOCKED_RETRY_S: Final = 0.005
# From so many records a second on realtime records linger as long as they may; a request for each of fewer is cheap enough.
_BUSY_PER_S: Final = 8_000
_REFUSAL_LOG_INTERVAL_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RealtimeStatistics:
    """Counters since the start of the publisher, and the state of its buffers."""

    attempted: int = counter("Calls of publish.")
    written: int = counter("Records handed to a socket.")
    dropped: Mapping[DropReason, int] = counter(
        "Records dropped. What is neither written nor dropped is waiting.", label="reason"
    )
    batches: int = counter("Record batches written; by the rate of records written their mean size.")
    requests: int = counter("Produce requests written.")
    written_bytes: int = counter("Bytes of produce requests.")
    buffered_bytes: int = gauge("Bytes in all buffers.")
    buffer_available_bytes: int = gauge("Bytes that the buffers still take.")
    brokers: int = gauge("Brokers that lead a partition.")
    connected: int = gauge("Brokers among them with a connection.")
    connects: int = counter("Connections made; the first of each broker is not a reconnect.")


@dataclass(slots=True, eq=False)
class _Lane:
    """Partitions that are flushed together: those of one profile."""

    linger: Linger
    batch_bytes: int
    waiting: dict[PartitionBuffer, None] = field(default_factory=dict)
    """Partitions with undecided records, in order of arrival."""

    taken: int = 0
    """Records of this flush so far."""

    timer: asyncio.Handle | None = None

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(slots=True)
class _Route:
    """Where the records of an event type go."""

    lane: _Lane
    topic: str
    keyed_by_player: bool
    targets: dict[str, tuple[PartitionBuffer, bytes]] = field(default_factory=dict)
    """By key. Bounded like the partitioner's cache."""


class RealtimePublisher:
    """Writes at-most-once events to Kafka.

    Lingering adapts (:mod:`gamebus.delivery.linger`): a record is written at the end of the current turn of the event loop when
    nothing was written for a while, and at the latest a linger after the previous flush otherwise, or when a batch is full. The
    linger grows with the rate, to `linger_ms` at 8,000 records a second. So a quiet line adds no latency, one of 1,000 a second
    less than a millisecond, and a busy one makes at most one request for each broker and `linger_ms`.

    Args:
        bootstrap_servers: brokers to begin with, `host:port`, comma separated.
        boot: names this boot of this process; two publishers never share one.
    """

    def __init__(
        self, *, bootstrap_servers: str, catalog: Catalog, settings: RealtimeProducerSettings, boot: str
    ) -> None:
        require_compiled_records()
        self._settings = settings
        self._boot = boot
        self._max_age_s = settings.max_age_ms / 1000
        self._budget = Budget(0)  # nothing is accepted before the start
        topics = catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
        self._lines = RealtimeLines(
            bootstrap_servers=bootstrap_servers,
            partitions={topic.name: topic.partitions for topic in topics},
            client_id=f"gamebus-realtime-{boot}",
            max_in_flight=settings.max_in_flight,
            stall_timeout_s=settings.stall_timeout_ms / 1000,
            on_ready=self._flush_all,
        )
        linger_s = settings.linger_ms / 1000
        self._lanes = {
            Profile.REALTIME: _Lane(Linger(linger_s, busy_per_s=_BUSY_PER_S), settings.batch_bytes),
            Profile.TELEMETRY: _Lane(
                Linger(max(_TELEMETRY_LINGER_S, linger_s), busy_per_s=0),
                max(_TELEMETRY_BATCH_BYTES, settings.batch_bytes),
            ),
        }
        self._buffers = {topic.name: self._make_buffers(topic) for topic in topics}
        self._partitioner = Partitioner({topic.name: topic.partitions for topic in topics})
        self._routes = self._make_routes(catalog)
        self._dropped: Counter[DropReason] = Counter()
        self._batches = 0
        self._refusal_logged_at = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = True

    def _make_routes(self, catalog: Catalog) -> dict[str, _Route]:
        return {
            event_type.name: _Route(
                self._lanes[catalog.topics[event_type.topic].profile], event_type.topic, event_type.key == "player"
            )
            for event_type in catalog.types.values()
            if not event_type.durable
        }

    def _make_buffers(self, topic: Topic) -> list[PartitionBuffer]:
        return [
            PartitionBuffer(
                topic.name,
                partition,
                batch_bytes=self._lanes[topic.profile].batch_bytes,
                slice_s=self._max_age_s / _SLICES,
                compression=self._settings.compression,
                budget=self._budget,
            )
            for partition in range(topic.partitions)
        ]

    async def start(self) -> None:
        """Find the leaders and connect to them. Once: a publisher that was stopped is not started again.

        Raises:
            TopicError: a topic is missing or has another partition count than the catalog says.
            ConfigurationError: no broker answered in time, or none speaks a version that gamebus writes.
        """
        await self._lines.start()
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._share_budget()

    async def prepare(self, catalog: Catalog) -> None:
        """Be ready to publish by another generation of the catalog: know its topics, connect to their leaders."""
        topics = catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
        partitions = {topic.name: topic.partitions for topic in topics}
        if partitions.keys() == self._buffers.keys():
            return
        for topic in topics:
            if topic.name not in self._buffers:
                self._buffers[topic.name] = self._make_buffers(topic)
        self._partitioner.follow({name: len(buffers) for name, buffers in self._buffers.items()})
        await self._lines.follow(partitions)

    def follow(self, catalog: Catalog) -> None:
        """Publish by another generation of the catalog, for which :meth:`prepare` was called, from now on."""
        self._routes = self._make_routes(catalog)
        kept = {topic.name for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)}
        self._buffers = {name: buffers for name, buffers in self._buffers.items() if name in kept}

    def decided(self, topic: str) -> bool:
        """Whether every record for a topic was written or dropped."""
        return all(buffer.empty for buffer in self._buffers.get(topic, ()))

    async def stop(self, *, deadline_s: float = 2.0) -> None:
        """Drop new events (`closing`), write what waits, wait until the brokers have taken it in, disconnect.

        What cannot be written by the deadline is dropped (`closing`). Afterwards every attempt is decided, so the reports
        are final.
        """
        if self._loop is None:
            return
        self._closing = True
        self._share_budget()
        self._flush_all()
        try:
            async with asyncio.timeout(deadline_s):
                while any(lane.waiting for lane in self._lanes.values()):
                    await asyncio.sleep(_BLOCKED_RETRY_S)
                    self._flush_all()
                await self._lines.drain()
        except TimeoutError:
            log.warning("publisher.drain_timed_out", buffered_bytes=self._budget.used_bytes)
        await self._lines.stop()
        for lane in self._lanes.values():
            for buffer in lane.waiting:
                buffer.waits_for = DropReason.CLOSING
                self._dropped[DropReason.CLOSING] += buffer.expire(math.inf)
            lane.waiting.clear()
            lane.disarm()
        self._loop = None

    async def watch(self) -> None:
        """Return when stopped; await it beside everything else, so that a publisher that cannot go on is not kept.

        Raises:
            Exception: what nothing here expects; every event is dropped from then on.
        """
        await self._lines.watch()

    def topic(self, event_type: str) -> str:
        """Where the events of a type go now.

        Raises:
            ValueError: as :meth:`publish`.
        """
        try:
            return self._routes[event_type].topic
        except KeyError:
            raise _no_such_type(event_type) from None

    def publish(
        self, event_type: str, room: str, player: str, server_ms: int, data: Any, headers: Headers = NO_HEADERS
    ) -> DropReason | None:
        """Accept or drop an event; None means accepted. Before `start` and after `stop` all are dropped (`closing`).

        Args:
            event_type: an at-most-once type of the catalog.
            server_ms: when the gateway took the event, Unix milliseconds.
            data: has passed its type's validator.
            headers: of the Kafka record.
        Raises:
            ValueError: the type is not an at-most-once type of the catalog, or not any more (:meth:`follow`).
        """
        try:
            route = self._routes[event_type]
        except KeyError:
            raise _no_such_type(event_type) from None
        name = player if route.keyed_by_player else room
        target = route.targets.get(name) or self._target(route, name)
        buffer, key = target
        buffer.seq = seq = buffer.seq + 1
        budget = self._budget
        if budget.used_bytes >= budget.limit_bytes:
            return self._drop(buffer, DropReason.CLOSING if self._closing else DropReason.BACKPRESSURE)
        try:
            value = encode_realtime(event_type, room, player, server_ms, self._boot, seq, data)
        except (TypeError, ValueError, OverflowError) as error:
            return self._refuse(buffer, event_type, error)
        batch = buffer.batch
        if batch is not None:
            added = batch.append(batch.records, server_ms, key, value, headers)
            if added is not None:
                batch.records += 1
                budget.used_bytes += added.size
                return None
        return self._append_to_new_batch(route.lane, buffer, server_ms, key, value, headers)

    def _append_to_new_batch(
        self, lane: _Lane, buffer: PartitionBuffer, server_ms: int, key: bytes, value: bytes, headers: Headers
    ) -> DropReason | None:
        """Begin a batch with the newest attempt, and see to it that it is flushed in time."""
        if len(value) > MAX_RECORD_BYTES:  # only here: no batch that holds records already takes one so large
            return self._drop(buffer, DropReason.TOO_LARGE)
        now = time.monotonic()
        if buffer.batch is not None:  # it is full: the linger is over
            self._flush(lane, now)
        batch = buffer.open(now)
        added = batch.append(0, server_ms, key, value, headers)
        assert added is not None, "the first record always fits"
        batch.records = 1
        self._budget.used_bytes += added.size
        lane.waiting[buffer] = None
        if lane.timer is None:
            self._arm(lane, lane.linger.due_in_s(now))
        return None

    def _target(self, route: _Route, name: str) -> tuple[PartitionBuffer, bytes]:
        if len(route.targets) >= MAX_CACHED_KEYS:
            route.targets.clear()
        partition = self._partitioner.partition(route.topic, name)
        target = route.targets[name] = (self._buffers[route.topic][partition], name.encode())
        return target

    def _drop(self, buffer: PartitionBuffer, reason: DropReason) -> DropReason:
        buffer.drop(reason)
        self._dropped[reason] += 1
        return reason

    def _refuse(self, buffer: PartitionBuffer, event_type: str, error: Exception) -> DropReason:
        now = time.monotonic()
        if now - self._refusal_logged_at >= _REFUSAL_LOG_INTERVAL_S:  # whoever sends such data sends more of it
            self._refusal_logged_at = now
            log.error("record.not_encoded", type=event_type, error=str(error))
        return self._drop(buffer, DropReason.INVALID)

    def _arm(self, lane: _Lane, delay_s: float) -> None:
        assert self._loop is not None
        if delay_s <= 0:
            lane.timer = self._loop.call_soon(self._flush_now, lane)
        else:
            lane.timer = self._loop.call_later(delay_s, self._flush_now, lane)

    def _flush_now(self, lane: _Lane) -> None:
        self._flush(lane, time.monotonic())

    def _flush_all(self) -> None:
        for lane in self._lanes.values():
            if lane.waiting:
                self._flush_now(lane)

    def _flush(self, lane: _Lane, now: float) -> None:
        """Write what waits: one request for each broker, more only where partitions hold several batches."""
        lane.disarm()
        lane.taken = 0
        while requests := self._collect(lane, now):
            for line, batches in requests.items():
                line.write(batches)
                self._batches += len(batches)
        lane.linger.flushed(lane.taken, now)
        self._share_budget()
        if lane.waiting:
            self._arm(lane, max(lane.linger.longest_s, _BLOCKED_RETRY_S))

    def _share_budget(self) -> None:
        """Leave to the batches what the transports do not hold; nothing when closing."""
        self._budget.limit_bytes = 0 if self._closing else self._settings.buffer_bytes - self._lines.buffered_bytes

    def _collect(self, lane: _Lane, now: float) -> dict[RealtimeConnection, list[ProducedBatch]]:
        requests: dict[RealtimeConnection, list[ProducedBatch]] = {}
        writable: dict[RealtimeConnection | None, bool] = {None: False}  # asked once for all partitions of a broker
        for buffer in list(lane.waiting):
            line = self._lines.line(buffer.topic, buffer.partition)
            # It waits for what it waited for at the last flush, whatever came since.
            if expired := buffer.expire(now - self._max_age_s):
                self._dropped[buffer.waits_for] += expired
            if line not in writable:
                writable[line] = line is not None and line.writable
            if writable[line] and not buffer.empty:
                assert line is not None
                batch = buffer.take()
                lane.taken += batch.records
                requests.setdefault(line, []).append(ProducedBatch(buffer.topic, buffer.partition, batch.build()))
            if buffer.empty:
                del lane.waiting[buffer]
            else:
                buffer.wait(now, _obstacle(line))
        return requests

    def stream_reports(self) -> list[StreamReport]:
        """What every stream has attempted and dropped, up to the last record that is decided."""
        return [
            StreamReport(
                self._boot,
                buffer.topic,
                buffer.partition,
                buffer.decided_seq,
                {str(reason): count for reason, count in buffer.dropped.items()},
            )
            for buffers in self._buffers.values()
            for buffer in buffers
            if buffer.seq
        ]

    def statistics(self) -> RealtimeStatistics:
        """Counters and gauges of this moment."""
        buffers = [buffer for of_topic in self._buffers.values() for buffer in of_topic]
        lines = self._lines.statistics()
        buffered_bytes = self._budget.used_bytes + lines.buffered_bytes
        return RealtimeStatistics(
            attempted=sum(buffer.seq for buffer in buffers),
            written=sum(buffer.written for buffer in buffers),
            dropped=dict(self._dropped),
            batches=self._batches,
            requests=lines.requests,
            written_bytes=lines.written_bytes,
            buffered_bytes=buffered_bytes,
            buffer_available_bytes=max(0, self._settings.buffer_bytes - buffered_bytes),
            brokers=lines.brokers,
            connected=lines.connected,
            connects=lines.connects,
        )


def _obstacle(line: RealtimeConnection | None) -> DropReason:
    """Why what grows stale now is late."""
    if line is None:
        return DropReason.NO_LEADER
    return DropReason.EXPIRED if line.connected and line.confirmed else DropReason.NOT_CONNECTED


def _no_such_type(event_type: str) -> ValueError:
    return ValueError(f"{event_type!r} is not an at-most-once type of the catalog")
