"""Consumer of at-least-once events: process, then commit.

Guarantees:

* every record of the topics is handled at least once, or stands in the dead-letter topic, before its offset is committed;
* records of one room and topic are handled in order, one call after the other; rooms of a partition side by side;
* only the contiguous watermark is committed, by one committer, never backwards;
* on a rebalance the intake stops, what was read is finished within a deadline, and the watermark is committed once.

Not guaranteed: that a record is handled once. Handlers apply an effect once per event id.

Back-pressure: a partition with more than two polls of unfinished records is paused; polling goes on, so membership is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from gamebus.delivery.assignment import Assignment, Counters
from gamebus.delivery.committer import COMMIT_TIMEOUT_S, CommitCounters, Committer, WatermarkStore
from gamebus.delivery.durable_handling import DeadLetterSink, DurableHandler, Handling
from gamebus.delivery.foreign_cancellation import foreign_cancellation
from gamebus.delivery.partition_work import SourcedRecord, Unit
from gamebus.delivery.tail import close_consumer, raise_if_fetcher_died
from gamebus.delivery.topics import require_readable
from gamebus.settings import ConsumerSettings
from gamebus.telemetry.metrics import counter, gauge
from gamebus.telemetry.tracing import Tracing

__all__ = ["DurableConsumer", "DurableConsumerStatistics", "DurableHandler", "SourcedRecord", "WatermarkStore"]

_log = structlog.get_logger(__name__)

_WORKERS: Final = 16
"""Rooms that are handled at the same time."""

_POLL_MS: Final = 200
_PATIENCE_S: Final = 0.5
"""How long the intake waits for a full partition before it pauses it: a pause throws away what was fetched ahead."""

_RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class DurableConsumerStatistics:
    """Counters since the start, and what is unfinished."""

    records: int = counter("Records read from Kafka.")
    handled: int = counter("Records whose effects are durable.")
    dead_letters: int = counter("Records that went to the dead-letter topic.")
    skipped: int = counter("Offsets that the log no longer had when they were to be read.")
    retries: int = counter("Calls of the handler that were repeated.")
    commits: int = counter("Commits tried.")
    commit_failures: int = counter("Commits that failed.")
    commit_seconds: float = counter("Time that all commits took; by the rate of commits their mean latency.")
    rebalances: int = counter("Rebalances of the group.")
    rewinds: int = counter("Partitions that were read again because Redis may have lost effects.")
    restarts: int = counter("Times the consumer was rebuilt.")
    partitions: int = gauge("Partitions assigned.")
    in_flight: int = gauge("Records read and not done.")
    blocked: int = gauge("Units of work that wait for the end of an outage.")
    lag: int = gauge("Records that brokers are known to have and that are not done.")
    oldest_s: float = gauge("Age of the oldest unfinished record since it was read, seconds.")


class DurableConsumer:
    """A member of a consumer group that processes durable events.

    Args:
        handler: brings about the effects.
        dead_letters: where records go that cannot be processed.
        marks: progress stored beside the effects (Redis).
        tracing: None when it is off.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        group_id: str,
        topics: Iterable[str],
        handler: DurableHandler,
        dead_letters: DeadLetterSink,
        marks: WatermarkStore,
        settings: ConsumerSettings,
        client_id: str = "gamebus-durable",
        tracing: Tracing | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._topics = tuple(topics)
        self._client_id = client_id
        self._marks = marks
        self._settings = settings
        self._handling = Handling(
            handler,
            dead_letters,
            max_attempts=settings.max_attempts,
            retry_backoff_ms=settings.retry_backoff_ms,
            group_id=group_id,
            tracing=tracing,
        )
        self._partition_limit = 2 * settings.max_poll_records
        # Finishing what was read, and committing it, must fit into a rebalance.
        self._drain_timeout_s = max(0.1, min(10.0, settings.rebalance_timeout_ms / 2000 - COMMIT_TIMEOUT_S))
        self.ready = asyncio.Event()
        """Set when the first assignment has its positions, so records are read from now on."""
        self._stopping = asyncio.Event()
        # Set: this life of the consumer ends in order.
        self._leaving = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._assignment: Assignment | None = None
        self._counters = Counters()
        self._commits = CommitCounters()
        self._restarts = 0

    async def run(self) -> None:
        """Consume until :meth:`stop`; then finish and commit what was read, and leave the group.

        Raises:
            TopicError: a topic does not exist. Brokers that do not answer are waited for.
        """
        failures = 0
        while not self._stopping.is_set():
            records_before = self._counters.records
            self._leaving.clear()
            try:
                await require_readable(self._bootstrap_servers, self._topics)
                await self._consume()
            except* (KafkaError, TimeoutError) as group:
                failures = 0 if self._counters.records > records_before else failures + 1
                self._restarts += 1
                _log.warning("consumer.interrupted", error=str(group.exceptions[0]), restarts=self._restarts)
            else:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S[min(failures, len(_RETRY_S) - 1)]):
                    await self._leaving.wait()

    def stop(self) -> None:
        """Ask :meth:`run` to finish what was read, commit it and return."""
        self._stopping.set()
        self._leaving.set()

    def follow(self, topics: Iterable[str]) -> None:
        """Consume these topics from now on: finish and commit what was read, and join the group again with them.

        A topic that is new begins at its beginning. The handler must know its types before this is called.
        """
        if set(topics) != set(self._topics):
            self._topics = tuple(topics)
            self._leaving.set()

    def statistics(self) -> DurableConsumerStatistics:
        """Counters of this consumer."""
        works = list(self._assignment.works.values()) if self._assignment is not None else []
        oldest = [taken_at for work in works if (taken_at := work.oldest_taken_at()) is not None]
        return DurableConsumerStatistics(
            records=self._counters.records,
            handled=self._handling.handled,
            dead_letters=self._handling.dead,
            skipped=self._counters.skipped,
            retries=self._handling.retries,
            commits=self._commits.tried,
            commit_failures=self._commits.failed,
            commit_seconds=self._commits.seconds,
            rebalances=self._counters.rebalances,
            rewinds=self._counters.rewinds,
            restarts=self._restarts,
            partitions=len(works),
            in_flight=sum(work.in_flight for work in works),
            blocked=self._handling.waiting,
            lag=self._lag(),
            oldest_s=asyncio.get_running_loop().time() - min(oldest) if oldest else 0.0,
        )

    async def _consume(self) -> None:
        """One life of an aiokafka consumer."""
        consumer = self._consumer = self._new_consumer()
        committer = Committer(consumer, self._marks, self._commits)
        assignment = self._assignment = Assignment(
            consumer, committer, self._counters, drain_timeout_s=self._drain_timeout_s, ready=self.ready
        )
        consumer.subscribe(self._topics, listener=assignment)
        runnable: asyncio.Queue[Unit] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._work(runnable, assignment)) for _ in range(_WORKERS)]
                background.append(tasks.create_task(_asking_kafka(assignment.position())))
                background.append(tasks.create_task(_asking_kafka(assignment.commit_progress())))
                reading = tasks.create_task(_asking_kafka(self._read(consumer, assignment, runnable)))
                await self._leaving.wait()
                reading.cancel()
                await assignment.finish_and_commit()
                for task in background:
                    task.cancel()
        finally:
            assignment.drop()
            self._consumer = self._assignment = None
            await close_consumer(consumer)

    def _new_consumer(self) -> AIOKafkaConsumer:
        settings = self._settings
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            group_id=self._group_id,
            enable_auto_commit=False,
            # Positions come from marks and commits; a jump must be seen and counted.
            auto_offset_reset="none",
            max_poll_records=settings.max_poll_records,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            # The broker answers a JoinGroup only when the rebalance is over.
            request_timeout_ms=settings.rebalance_timeout_ms + 10_000,
            metadata_max_age_ms=30_000,
        )

    async def _read(self, consumer: AIOKafkaConsumer, assignment: Assignment, runnable: asyncio.Queue[Unit]) -> None:
        """Take records in, as far as there is room for them."""
        await consumer.start()
        now = asyncio.get_running_loop().time
        while True:
            await self._make_room(consumer, assignment)
            try:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            except OffsetOutOfRangeError as error:
                await assignment.restart_at_beginning(error.args[0])
                continue
            except NoOffsetForPartitionError:
                # aiokafka looks for a commit before the assignment has its positions.
                await asyncio.sleep(0.01)
                continue
            for tp, records in fetched.items():
                for unit in assignment.take(tp, records, now()):
                    runnable.put_nowait(unit)
            raise_if_fetcher_died(consumer)

    async def _make_room(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
        """Hold the intake back while a partition is full; pause it when that lasts, so that polling goes on."""
        if assignment.full(self._partition_limit):
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    while assignment.full(self._partition_limit):
                        await assignment.work_finished()
            consumer.pause(*assignment.full(self._partition_limit))
        paused = consumer.paused()
        if paused:
            consumer.resume(*paused.difference(assignment.full(self._partition_limit // 2)))

    async def _work(self, runnable: asyncio.Queue[Unit], assignment: Assignment) -> None:
        """Run units, one at a time; as many of these tasks exist as rooms may be handled side by side."""
        while True:
            unit: Unit | None = await runnable.get()
            while unit is not None:
                await self._handling.run(unit)
                unit = assignment.finish(unit)

    def _lag(self) -> int:
        lag = 0
        if self._consumer is not None and self._assignment is not None:
            for tp, work in self._assignment.works.items():
                highwater = self._consumer.highwater(tp)
                if highwater is not None:
                    lag += max(0, highwater - work.committable)
        return lag


async def _asking_kafka(work: Awaitable[None]) -> None:
    """Do work that calls aiokafka as a task of a group, which would not notice a task that is cancelled from within."""
    with foreign_cancellation():
        await work
