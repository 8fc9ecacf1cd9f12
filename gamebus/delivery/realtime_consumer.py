"""Consumer of at-most-once events: commit, then process.

Guarantees: a record is handed to the handler at most once, across crashes, rebalances and hand-overs, and only after its offset
was committed for this member. A batch whose commit failed, or whose outcome is unknown, is dropped and counted. Records of a
stream come in the order of their publishing; one that was overtaken, or is too old, is skipped. What was lost, and where, is
known to the record (:meth:`RealtimeConsumer.ledgers`).

Not guaranteed: that a record is handled. A crash between commit and handler loses the batch, as does a handler that raises. A
group that is new begins at the end of every partition.

Source: the seed's "Commit-Before-Process Pattern".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidTopicError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.foreign_cancellation import foreign_cancellation
from gamebus.delivery.realtime_assignment import Batch, RealtimeAssignment, RealtimeCounters
from gamebus.delivery.realtime_committer import Offsets, RealtimeCommitter
from gamebus.delivery.realtime_connection import backoff_s
from gamebus.delivery.reports import LatestReports
from gamebus.delivery.stream_ledger import StreamLedger
from gamebus.delivery.tail import Tail, close_consumer, raise_if_fetcher_died
from gamebus.delivery.topics import require_readable
from gamebus.errors import ConfigurationError, TopicError
from gamebus.record import RealtimeRecord
from gamebus.settings import ConsumerSettings
from gamebus.telemetry.metrics import counter, gauge
from gamebus.telemetry.tracing import Tracing

_POLL_MS: Final = 200
_FETCH_MAX_WAIT_MS: Final = 100
_REQUEST_TIMEOUT_MS: Final = 5_000
_METADATA_MAX_AGE_MS: Final = 30_000
_SETTLE_INTERVAL_S: Final = 0.25
_IDLE_COMMIT_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 2.0
_ERROR_LOG_INTERVAL_S: Final = 1.0
REPORTS_BACK_MS: Final = 10 * 60_000
"""How far back reports are read at the start: publishers that ended while no consumer ran have said so within that time."""

_CONFIGURATION_FAULTS: Final = (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
)

log = structlog.get_logger(__name__)


class RealtimeHandler(Protocol):
    """What is done with the records."""

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        """Process the records of one poll, in order per partition. They never come again, also not when this raises."""


@dataclass(frozen=True, slots=True)
class RealtimeConsumerStatistics:
    """Counters since the start, and where the partitions stand."""

    records: int = counter("Records read from Kafka.")
    processed: int = counter("Records handed to the handler.")
    skipped: int = counter("Records not processed because they were too old, overtaken, or read before.")
    invalid: int = counter("Records that are none of gamebus; passed over.")
    dropped_on_failed_commit: int = counter(
        "Records not processed because their commit failed or its outcome is unknown."
    )
    failed_in_handler: int = counter("Records committed whose handler raised.")
    resets: int = counter("Jumps of a position.")
    commits: int = counter("Commits tried.")
    commit_failures: int = counter("Commits that failed, or whose outcome is unknown.")
    commit_seconds: float = counter("Time that all commits took; by the rate of commits their mean latency.")
    assigned: int = gauge("Partitions assigned.")
    lag: int = gauge("Records that brokers are known to have and that were not read yet.")
    rebalances: int = counter("Rebalances of the group.")
    restarts: int = counter("Times the consumer was rebuilt.")


class RealtimeConsumer(ConsumerRebalanceListener):
    """Member of the consumer group that processes at-most-once events.

    Args:
        handler: called with the records of a poll, one call at a time.
        max_age_ms: records that the gateway stamped longer ago are skipped (`skipped`).
        tracing: None when it is off.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        group_id: str,
        catalog: Catalog,
        settings: ConsumerSettings,
        handler: RealtimeHandler,
        max_age_ms: int,
        client_id: str = "gamebus-realtime-consumer",
        tracing: Tracing | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._topics = _topics(catalog)
        self._settings = settings
        self._handler = handler
        self._max_age_ms = max_age_ms
        self._client_id = client_id
        self._tracing = tracing
        self.ready = asyncio.Event()
        """Set after the first assignment: from then on new records are read."""

        reports = catalog.topics[catalog.reports_topic]
        self._reports_topic = reports.name
        self._tail = Tail(
            bootstrap_servers=bootstrap_servers,
            partitions={reports.name: reports.partitions},
            on_records=self._on_reports,
            start_back_ms=REPORTS_BACK_MS,
            client_id=f"{client_id}-reports",
        )
        self._reports = LatestReports()  # remembered for partitions that are assigned later
        self._consumer: AIOKafkaConsumer | None = None
        # None while partitions are revoked and not yet assigned again.
        self._assignment: RealtimeAssignment | None = None
        self._assigned = asyncio.Event()
        self._assignment_fault: Exception | None = None
        # Held from taking a batch in to its settlement; never across a poll (aiokafka waits in there for rebalances).
        self._batch_lock = asyncio.Lock()
        self._committer = RealtimeCommitter()
        self._stopping = asyncio.Event()
        # Set: this life of the consumer ends in order.
        self._leaving = asyncio.Event()
        self._counters = RealtimeCounters()
        self._rebalances = self._restarts = 0
        self._settled_at = self._error_logged_at = 0.0

    async def run(self) -> None:
        """Consume until :meth:`stop`, through every fault of a broker.

        Raises:
            ConfigurationError: the brokers refuse this consumer, or a topic does not exist.
        """
        tail = asyncio.create_task(self._tail.run(), name="realtime-reports")
        try:
            await self._keep_consuming()
        finally:
            tail.cancel()
            await asyncio.wait((tail,))

    def stop(self) -> None:
        """Ask :meth:`run` to return, after the batch at hand was processed and said to be."""
        self._stopping.set()
        self._leaving.set()

    def follow(self, catalog: Catalog) -> None:
        """Consume the topics of another generation of the catalog: settle what was read, and join the group again with them."""
        topics = _topics(catalog)
        if topics != self._topics:
            self._topics = topics
            self._leaving.set()

    async def _keep_consuming(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._leaving.clear()
            consumer = self._consumer = self._new_consumer()
            try:
                with foreign_cancellation():
                    await self._until_left(self._consume(consumer))
                    await self._hand_over(consumer)
            except UnknownTopicOrPartitionError as error:
                raise TopicError(
                    f"a topic of {', '.join(self._topics)} does not exist: run `gamebus topics create`"
                ) from error
            except _CONFIGURATION_FAULTS as error:
                raise ConfigurationError(f"Kafka refuses the consumer group {self._group_id!r}: {error}") from error
            except (KafkaError, TimeoutError) as error:
                self._restarts += 1
                log.warning("consumer.interrupted", group=self._group_id, error=str(error), restarts=self._restarts)
                failures = 0 if time.monotonic() - began > 10 else failures + 1
                await self._until_left(asyncio.sleep(backoff_s(failures)))
            finally:
                self._assignment = self._consumer = None
                self._assigned.clear()
                await close_consumer(consumer)

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group_id,
            client_id=self._client_id,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=_METADATA_MAX_AGE_MS,
            max_poll_interval_ms=self._settings.max_poll_interval_ms,
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=self._settings.session_timeout_ms // 3,
            rebalance_timeout_ms=self._settings.rebalance_timeout_ms,
        )

    async def _until_left(self, work: Awaitable[None]) -> None:
        """Await `work`; when this life ends give it a moment to end by itself, then cancel it (aiokafka may wait for ever)."""
        task = asyncio.ensure_future(work)
        left = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait((task,), timeout=_STOP_TIMEOUT_S)
        finally:
            left.cancel()
            if not task.done():
                task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled() or not self._leaving.is_set():
            task.result()

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        await require_readable(self._bootstrap_servers, [*self._topics, self._reports_topic])
        consumer.subscribe(self._topics, listener=self)
        await consumer.start()
        while not self._leaving.is_set():
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.max_poll_records)
            raise_if_fetcher_died(consumer)
            rebalances = self._rebalances
            # As in a poll: aiokafka does not join again for a member that has not polled for max_poll_interval, which this one does
            # again when it has joined. Guarded by the contract test.
            with consumer._subscription.fetch_context():  # noqa: SLF001
                await self._assigned.wait()
            if self._assignment_fault is not None:
                raise self._assignment_fault
            async with self._batch_lock:
                # Records of an assignment that ended while this waited belong to whoever owns the partition now.
                if self._rebalances == rebalances and self._assignment is not None:
                    work = self._work(consumer, self._assignment, fetched)
                    if self._tracing is not None:
                        records = chain.from_iterable(fetched.values())
                        work = self._tracing.processing(self._group_id, records, work)
                    await work

    async def _work(
        self,
        consumer: AIOKafkaConsumer,
        assignment: RealtimeAssignment,
        fetched: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]],
    ) -> Exception | None:
        """Returns why the records were not processed; what is skipped has no fault."""
        error: Exception | None = None
        now_ms = _now_ms()
        batch = assignment.take(fetched, stale_before_ms=now_ms - self._max_age_ms, now_ms=now_ms)
        if batch.offsets:
            if await self._commit(consumer, assignment, batch.offsets):
                error = await self._process(assignment, batch)
            else:
                assignment.dropped(batch)
                error = KafkaError(self._committer.failure)
        now = time.monotonic()
        if now - self._settled_at >= _SETTLE_INTERVAL_S:
            self._settled_at = now
            assignment.settle(_ends(consumer, assignment, now), now=now, now_ms=now_ms)
        if not batch.offsets and now - self._committer.committed_at >= _IDLE_COMMIT_S:
            await self._say(consumer, assignment)
        return error

    async def _process(self, assignment: RealtimeAssignment, batch: Batch) -> Exception | None:
        if batch.records:
            try:
                await self._handler.handle(batch.records)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises, the batch is lost and the next one is due
                assignment.failed(batch)
                self._log_error("batch.failed", records=len(batch.records), error=repr(error))
                return error
        assignment.processed(batch)
        return None

    async def _commit(self, consumer: AIOKafkaConsumer, assignment: RealtimeAssignment, offsets: Offsets) -> bool:
        if await self._committer.commit(consumer, offsets):
            assignment.committed(offsets)
            return True
        self._log_error("commit.failed", error=self._committer.failure)
        return False

    async def _say(self, consumer: AIOKafkaConsumer, assignment: RealtimeAssignment) -> None:
        """Commit once more what was committed in doubt, so that the next owner does not take it for lost."""
        offsets = assignment.unsaid(now_ms=_now_ms())
        if offsets:
            await self._commit(consumer, assignment, offsets)

    async def _hand_over(self, consumer: AIOKafkaConsumer) -> None:
        """Settle the batch at hand and say so in a last commit, within a deadline."""
        assignment = self._assignment
        if _is_evicted(consumer):
            # A commit that is tried again now would go out without a generation, and a group that is empty takes it.
            self._committer.cancel()
        try:
            # Shorter than the rebalance timeout, past which the group goes on without this member.
            async with asyncio.timeout(self._settings.rebalance_timeout_ms / 2000), self._batch_lock:
                if assignment is not None and not assignment.in_doubt:
                    await self._say(consumer, assignment)
        except TimeoutError:
            self._committer.cancel()
            self._log_error("handler.overran_rebalance", assigned=0 if assignment is None else len(assignment))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Before a rebalance: the partitions may go to another member."""
        self._rebalances += 1
        self._assigned.clear()
        log.info("partitions.revoked", group=self._group_id, partitions=len(list(revoked)))
        if self._consumer is not None:
            await self._hand_over(self._consumer)
        self._assignment = None

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """After a rebalance: load where the partitions stand before anything of them is processed."""
        consumer = self._consumer
        if consumer is None:
            return
        self._assignment_fault = None
        try:
            async with asyncio.timeout(self._settings.rebalance_timeout_ms / 2000):
                self._assignment = await self._load(consumer, list(assigned))
            self.ready.set()
        except (KafkaError, TimeoutError) as error:
            self._assignment_fault = error
        self._assigned.set()

    async def _load(self, consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> RealtimeAssignment:
        assignment = RealtimeAssignment(self._counters)
        coordinator = consumer._coordinator  # noqa: SLF001 - `committed` keeps the metadata to itself; guarded by the contract test
        assert coordinator is not None, "a consumer with a group has a coordinator"
        committed = await coordinator.fetch_committed_offsets(assigned)
        for tp in assigned:
            offset = committed.get(tp)
            if offset is not None and offset.offset >= 0:
                assignment.resume(tp, offset, now_ms=_now_ms())
            else:
                assignment.begin(tp, await consumer.position(tp), now_ms=_now_ms())
        # Where the group begins must be committed before anything is read: a crash would begin again further on otherwise.
        first = assignment.unsaid(now_ms=_now_ms())
        if first:
            await consumer.commit(first)
            assignment.committed(first)
        now = time.monotonic()
        for report in self._reports:
            assignment.report(report, now=now, now_ms=_now_ms())
        log.info("partitions.assigned", group=self._group_id, partitions=len(assignment))
        return assignment

    def _on_reports(self, _topic: str, _partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        for record in records:
            report = self._reports.take(record.value)
            if report is not None and self._assignment is not None:
                self._assignment.report(report, now=time.monotonic(), now_ms=_now_ms())

    def _log_error(self, event: str, **keys: object) -> None:
        now = time.monotonic()
        if now - self._error_logged_at >= _ERROR_LOG_INTERVAL_S:  # one a second: the counters say how many
            self._error_logged_at = now
            log.error(event, group=self._group_id, **keys)

    def ledgers(self) -> list[StreamLedger]:
        """The account of every stream in the partitions that are assigned now, as of the last report that is settled."""
        return [] if self._assignment is None else self._assignment.rows()

    def statistics(self) -> RealtimeConsumerStatistics:
        """Counters and gauges of this moment."""
        counters = self._counters
        assignment, consumer = self._assignment, self._consumer
        lag = 0
        if assignment is not None and consumer is not None:
            ends = _ends(consumer, assignment, time.monotonic())
            lag = sum(max(0, end - assignment.position(tp)) for tp, (end, _known_at) in ends.items())
        return RealtimeConsumerStatistics(
            records=counters.records,
            processed=counters.processed,
            skipped=counters.skipped,
            invalid=counters.invalid,
            dropped_on_failed_commit=counters.dropped_on_failed_commit,
            failed_in_handler=counters.failed_in_handler,
            resets=counters.resets,
            commits=self._committer.commits,
            commit_failures=self._committer.failures,
            commit_seconds=self._committer.seconds,
            assigned=0 if assignment is None else len(assignment),
            lag=lag,
            rebalances=self._rebalances,
            restarts=self._restarts,
        )


def _topics(catalog: Catalog) -> list[str]:
    return [topic.name for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)]


def _is_evicted(consumer: AIOKafkaConsumer) -> bool:
    """Whether the group goes on without this member: its partitions have another owner by now."""
    coordinator = consumer._coordinator  # noqa: SLF001 - see `_load`
    return coordinator is not None and coordinator.generation < 0


def _ends(
    consumer: AIOKafkaConsumer, assignment: RealtimeAssignment, now: float
) -> dict[TopicPartition, tuple[int, float]]:
    """End of every partition, and when the broker said so (monotonic seconds)."""
    ends = {}
    now_ms = _now_ms()
    still_assigned = consumer.assignment()
    for tp in assignment.partitions():
        if tp not in still_assigned:
            continue
        end, known_ms = consumer.highwater(tp), consumer.last_poll_timestamp(tp)
        if end is not None and known_ms is not None:
            ends[tp] = (end, now - (now_ms - known_ms) / 1000)
    return ends


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
