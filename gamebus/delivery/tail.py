"""Tail of topics: every record of the given partitions, in the order of each partition, without a consumer group.

Guarantees: once its positions are fixed (`caught_up` of a tail that starts at the end), every record that the brokers keep is
handed over at least until `stop`, in offset order per partition, never twice. Lost connections, moved leaders and dead brokers
only delay it. What retention or a truncated log took away before it was read is counted in `statistics().skipped`.

A tail that starts at the end may follow some of its partitions only, and others from one moment to the next (:meth:`Tail.follow`).
One that starts in the past may be given other topics (:meth:`Tail.cover`).

Not guaranteed: that every process sees a record at the same time, or anything about records written before the start, or
before their partition was followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError

from gamebus.delivery.foreign_cancellation import foreign_cancellation
from gamebus.telemetry.metrics import counter, gauge

_log = structlog.get_logger(__name__)

OnRecords = Callable[[str, int, Sequence[ConsumerRecord[bytes, bytes]]], None]
"""Takes topic, partition and the next records of it. A plain function: while it runs nothing else does, so it is quick."""

# Also the longest that a partition waits to be followed while nothing is read.
_POLL_MS: Final = 50
_REQUEST_TIMEOUT_MS: Final = 5_000
_CLOSE_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
# aiokafka does not ask for new metadata after some errors of a moved leader (fetcher.py, "Unexpected error").
_METADATA_MAX_AGE_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class TailStatistics:
    """Counters since the start."""

    records: int = counter("Records handed over.")
    skipped: int = counter(
        "Offsets that were never read: the log no longer had them, or a tail of fresh data jumped to its end."
    )
    resets: int = counter("Positions that were outside the log.")
    restarts: int = counter("Times the consumer was rebuilt.")
    lag: int = gauge("Records that brokers are known to have and that were not read yet.")
    followed: int = gauge("Partitions that are read.")


class Tail:
    """Reads partitions from the end, or from `start_back_ms` before now.

    Args:
        partitions: number of partitions of each topic (:func:`gamebus.delivery.topics.partition_counts`).
        on_records: called with the next records of one partition; what it raises ends :meth:`run`.
        start_back_ms: how far back to begin, by record time; None begins at the end.
        follow_back_ms: how far back a partition begins that is followed anew.
        fetch_min_bytes: what a broker waits for before it answers, at most `fetch_max_wait_ms`. With 1 a record is answered
            at once; more trades latency for fewer requests.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        partitions: Mapping[str, int],
        on_records: OnRecords,
        start_back_ms: int | None = None,
        follow_back_ms: int = 0,
        fetch_min_bytes: int = 1,
        fetch_max_wait_ms: int = 500,
        client_id: str = "gamebus-tail",
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._partitions = self._covered = _partitions(partitions)
        self._on_records = on_records
        self._start_back_ms = start_back_ms
        self._follow_back_ms = follow_back_ms
        self._fetch_min_bytes = fetch_min_bytes
        self._fetch_max_wait_ms = fetch_max_wait_ms
        self._client_id = client_id
        self.caught_up = asyncio.Event()
        """Set when everything that the partitions held at the start was handed over."""
        self._followed = frozenset(self._partitions)
        # Offset of the next record of each partition that is read. Survives the consumer.
        self._positions: dict[TopicPartition, int] = {}
        # Whether these were found: from then on nothing is passed over.
        self._started = False
        # Where partitions ended at the start, as far as they were not reached yet.
        self._goals: dict[TopicPartition, int] = {}
        self._stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._records = self._skipped = self._resets = self._restarts = 0

    async def run(self) -> None:
        """Read until :meth:`stop`, or until cancelled."""
        failures = 0
        while not self._stopping.is_set():
            consumer = self._new_consumer()
            records_before = self._records
            try:
                with foreign_cancellation():
                    await consumer.start()
                    await self._assign(consumer)
                    await self._read(consumer)
            except (KafkaError, TimeoutError) as error:
                failures = 0 if self._records > records_before else failures + 1
                self._restarts += 1
                _log.warning("tail.interrupted", error=str(error), restarts=self._restarts)
                await self._pause(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            finally:
                self._consumer = None
                await close_consumer(consumer)

    def stop(self) -> None:
        """Ask :meth:`run` to return; it does within a poll."""
        self._stopping.set()

    def follow(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Read these partitions only; one that was not followed so far begins `follow_back_ms` before now.

        Only for a tail that starts at the end. What was read of other partitions and not handed over yet is not handed over.
        """
        assert self._start_back_ms is None, "a tail that begins in the past follows all of its partitions"
        self._followed = frozenset(TopicPartition(*partition) for partition in partitions)

    def cover(self, partitions: Mapping[str, int]) -> None:
        """Read these topics instead; one that is new begins at its beginning, so nothing of it is missed.

        Only for a tail that starts in the past.
        """
        assert self._start_back_ms is not None, "a tail that starts at the end cannot tell what a new topic held"
        self._covered = _partitions(partitions)

    def position(self, topic: str, partition: int) -> int | None:
        """Offset of the next record that will be handed over; None before the start is fixed."""
        return self._positions.get(TopicPartition(topic, partition))

    def statistics(self) -> TailStatistics:
        """Counters of this tail."""
        return TailStatistics(
            records=self._records,
            skipped=self._skipped,
            resets=self._resets,
            restarts=self._restarts,
            lag=0 if self._consumer is None else self._lag(self._consumer),
            followed=len(self._positions),
        )

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            enable_auto_commit=False,
            # A jump must be seen and counted; aiokafka's own reset only logs it.
            auto_offset_reset="none",
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            request_timeout_ms=_REQUEST_TIMEOUT_MS + self._fetch_max_wait_ms,
            metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        )

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign(self._partitions)
        if not self._started:
            ends = await consumer.end_offsets(self._followed) if self._followed else {}
            self._positions = await _offsets_back(consumer, ends, self._start_back_ms or 0)
            self._goals = {tp: end for tp, end in ends.items() if self._positions[tp] < end}
            self._started = True
            self._check_caught_up()
        for tp in self._partitions:
            # aiokafka looks for a position even of a partition that is paused.
            consumer.seek(tp, self._positions.get(tp, 0))
        consumer.pause(*(tp for tp in self._partitions if tp not in self._positions))
        self._consumer = consumer

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            if self._covered is not self._partitions:
                await self._cover(consumer)
            if self._positions.keys() != self._followed:
                await self._select(consumer)
            try:
                # Everything that has arrived: aiokafka asks a broker for more only when nothing of it is left unread.
                fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            except OffsetOutOfRangeError as error:
                await self._reset(consumer, error.args[0])
                continue
            for tp, records in fetched.items():
                self._hand_over(tp, records)
            raise_if_fetcher_died(consumer)

    async def _select(self, consumer: AIOKafkaConsumer) -> None:
        """Bring what is read in line with what is followed. Pausing leaves the other partitions alone; assigning would not."""
        followed = self._followed
        for tp in self._positions.keys() - followed:
            del self._positions[tp]
            consumer.pause(tp)
        joined = followed - self._positions.keys()
        if joined:
            ends = await consumer.end_offsets(joined)
            for tp, offset in (await _offsets_back(consumer, ends, self._follow_back_ms)).items():
                consumer.seek(tp, offset)
                self._positions[tp] = offset
            consumer.resume(*joined)

    async def _cover(self, consumer: AIOKafkaConsumer) -> None:
        covered = self._covered
        joined = [tp for tp in covered if tp not in self._positions]
        beginnings = await consumer.beginning_offsets(joined) if joined else {}
        self._positions = {tp: self._positions.get(tp, beginnings.get(tp, 0)) for tp in covered}
        self._partitions, self._followed = covered, frozenset(covered)
        self._goals = {tp: goal for tp, goal in self._goals.items() if tp in self._followed}
        await self._assign(consumer)
        self._check_caught_up()

    def _hand_over(self, tp: TopicPartition, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        if tp not in self._followed:
            return
        self._skipped += records[0].offset - self._positions[tp]
        self._positions[tp] = records[-1].offset + 1
        self._records += len(records)
        self._on_records(tp.topic, tp.partition, records)
        if self._goals:
            self._check_caught_up()

    def _check_caught_up(self) -> None:
        self._goals = {tp: end for tp, end in self._goals.items() if self._positions[tp] < end}
        if not self._goals:
            self.caught_up.set()

    async def _reset(self, consumer: AIOKafkaConsumer, out_of_range: Mapping[TopicPartition, int]) -> None:
        """Go on where the log begins, or at its end when this tail is about fresh data."""
        partitions = list(out_of_range)
        if self._start_back_ms is None:
            offsets = await consumer.end_offsets(partitions)
        else:
            offsets = await consumer.beginning_offsets(partitions)
        for tp, offset in offsets.items():
            _log.warning("tail.reset", topic=tp.topic, partition=tp.partition, position=self._positions[tp], to=offset)
            self._resets += 1
            # Behind the position when the log was truncated: nothing was skipped then.
            self._skipped += max(0, offset - self._positions[tp])
            self._positions[tp] = offset
            self._goals.pop(tp, None)
            consumer.seek(tp, offset)
        self._check_caught_up()

    def _lag(self, consumer: AIOKafkaConsumer) -> int:
        lag = 0
        for tp, position in self._positions.items():
            highwater = consumer.highwater(tp)
            if highwater is not None:
                lag += max(0, highwater - position)
        return lag

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _partitions(topics: Mapping[str, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, index) for topic, count in topics.items() for index in range(count)]


async def _offsets_back(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], back_ms: int
) -> dict[TopicPartition, int]:
    """Where the records of the last `back_ms` begin."""
    if not back_ms or not ends:
        return dict(ends)
    since_ms = int(time.time() * 1000) - back_ms
    found = await consumer.offsets_for_times(dict.fromkeys(ends, max(since_ms, 0)))
    return {tp: end if found[tp] is None else found[tp].offset for tp, end in ends.items()}


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop an aiokafka consumer, started or not, within a deadline (its `stop` waits for brokers without one)."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            try:
                with foreign_cancellation():
                    await consumer.stop()
            except KafkaConnectionError:
                # What `stop` ends with, and did not come to.
                await consumer._client.close()  # noqa: SLF001
    except (KafkaError, TimeoutError) as error:
        _log.warning("consumer.close_failed", error=str(error))


def raise_if_fetcher_died(consumer: AIOKafkaConsumer) -> None:
    """Surface the death of aiokafka's fetch task; `getmany` would go on returning nothing (0.14, consumer/fetcher.py)."""
    fetcher = consumer._fetcher  # noqa: SLF001 - no public way to ask; guarded by the contract test
    assert fetcher is not None, "the consumer was started"
    if fetcher.error_future.done() and not fetcher.error_future.cancelled():
        fetcher.error_future.result()
        raise KafkaError("the fetch task ended")
