"""The partitions that a realtime consumer owns at the moment: how far each was read, and the account of its streams.

One object per assignment; a rebalance makes a new one. No I/O: what is fetched comes in, what is to be committed goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from gamebus.delivery.accounting import PartitionLedger
from gamebus.delivery.realtime_committer import Offsets
from gamebus.delivery.reports import Report
from gamebus.delivery.stream_ledger import StreamLedger
from gamebus.errors import RecordError
from gamebus.record import RealtimeRecord, decode_realtime

Fetched = Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RealtimeCounters:
    """Counts over all assignments of a consumer."""

    records: int = 0
    processed: int = 0
    skipped: int = 0
    invalid: int = 0
    dropped_on_failed_commit: int = 0
    failed_in_handler: int = 0
    resets: int = 0


@dataclass(slots=True)
class _Partition:
    position: int
    """Offset of the next record."""

    ledger: PartitionLedger
    committed: str
    """Metadata of the last commit that succeeded."""


@dataclass(slots=True)
class Batch:
    """What one poll brought.

    Attributes:
        offsets: to commit before anything is processed.
        records: to process after that.
    """

    offsets: Offsets = field(default_factory=dict)
    records: list[RealtimeRecord] = field(default_factory=list)


class RealtimeAssignment:
    """Takes batches in and keeps their account. A batch is settled by `processed`, `failed` or `dropped` before the next."""

    def __init__(self, counters: RealtimeCounters) -> None:
        self._counters = counters
        self._partitions: dict[TopicPartition, _Partition] = {}

    def __len__(self) -> int:
        return len(self._partitions)

    def resume(self, tp: TopicPartition, committed: OffsetAndMetadata, *, now_ms: int) -> None:
        """Go on where the last owner of the partition left off."""
        ledger = PartitionLedger.load(tp.topic, tp.partition, committed.metadata, now_ms=now_ms)
        self._partitions[tp] = _Partition(committed.offset, ledger, committed.metadata)

    def begin(self, tp: TopicPartition, position: int, *, now_ms: int) -> None:
        """Begin at a position that no owner committed before."""
        self._partitions[tp] = _Partition(position, PartitionLedger(tp.topic, tp.partition, since_ms=now_ms), "")

    def take(self, fetched: Fetched, *, stale_before_ms: int, now_ms: int) -> Batch:
        """Take the records of a poll in."""
        batch = Batch()
        for tp, records in fetched.items():
            partition = self._partitions.get(tp)
            if partition is None or not records:
                continue
            if records[0].offset != partition.position:
                self._jump(tp, partition, records[0].offset)
            fresh = partition.ledger.receive(self._decode(tp, records), stale_before_ms=stale_before_ms)
            self._counters.skipped += len(records) - len(fresh)
            batch.records += fresh
            partition.position = records[-1].offset + 1
            batch.offsets[tp] = self._offset(partition, now_ms)
        return batch

    def _decode(self, tp: TopicPartition, records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[RealtimeRecord]:
        self._counters.records += len(records)
        decoded: list[RealtimeRecord] = []
        for record in records:
            try:
                decoded.append(decode_realtime(record.value))
            except RecordError as error:
                self._counters.invalid += 1
                self._counters.skipped -= 1
                log.warning(
                    "record.invalid", topic=tp.topic, partition=tp.partition, offset=record.offset, error=str(error)
                )
        return decoded

    def _jump(self, tp: TopicPartition, partition: _Partition, offset: int) -> None:
        # Forward: retention took what was not read in time. Back: the log was truncated or made anew; sequence numbers still
        # keep a record from being processed twice.
        log.warning("partition.jumped", topic=tp.topic, partition=tp.partition, position=partition.position, to=offset)
        self._counters.resets += 1
        partition.ledger.jumped()

    def processed(self, batch: Batch) -> None:
        """The batch was committed and processed."""
        self._counters.processed += len(batch.records)
        for tp in batch.offsets:
            self._partitions[tp].ledger.processed()

    def failed(self, batch: Batch) -> None:
        """The batch was committed, and its handler failed."""
        self._counters.failed_in_handler += len(batch.records)
        for tp in batch.offsets:
            self._partitions[tp].ledger.crashed()

    def dropped(self, batch: Batch) -> None:
        """The commit of the batch failed, or nobody knows whether it did: it is not processed."""
        self._counters.dropped_on_failed_commit += len(batch.records)
        for tp in batch.offsets:
            self._partitions[tp].ledger.dropped_on_failed_commit()

    def committed(self, offsets: Offsets) -> None:
        """Take note of a commit that succeeded."""
        for tp, offset in offsets.items():
            self._partitions[tp].committed = offset.metadata

    @property
    def in_doubt(self) -> bool:
        """Whether a batch is not settled."""
        return any(partition.ledger.in_doubt for partition in self._partitions.values())

    def unsaid(self, *, now_ms: int) -> Offsets:
        """Offsets whose account has changed since it was committed: what was in doubt then is not any more."""
        offsets = {tp: self._offset(partition, now_ms) for tp, partition in self._partitions.items()}
        return {tp: offset for tp, offset in offsets.items() if offset.metadata != self._partitions[tp].committed}

    def report(self, report: Report, *, now: float, now_ms: int) -> None:
        """Take in what a publisher says about its streams in these partitions."""
        for stream in report.streams:
            partition = self._partitions.get(TopicPartition(stream.topic, stream.partition))
            if partition is not None:
                partition.ledger.report(report, stream, now=now, now_ms=now_ms)

    def settle(self, ends: Mapping[TopicPartition, tuple[int, float]], *, now: float, now_ms: int) -> None:
        """Bring the ledgers up to date.

        Args:
            ends: end of each partition, and when it was known (monotonic seconds).
        """
        for tp, (end_offset, known_at) in ends.items():
            partition = self._partitions[tp]
            partition.ledger.settle(
                now=now, now_ms=now_ms, position=partition.position, end_offset=end_offset, end_known_at=known_at
            )

    def partitions(self) -> Sequence[TopicPartition]:
        """What is assigned."""
        return tuple(self._partitions)

    def position(self, tp: TopicPartition) -> int:
        """Offset of the next record of a partition."""
        return self._partitions[tp].position

    def rows(self) -> list[StreamLedger]:
        """The latest account of every stream."""
        return [row for partition in self._partitions.values() for row in partition.ledger.rows()]

    @staticmethod
    def _offset(partition: _Partition, now_ms: int) -> OffsetAndMetadata:
        return OffsetAndMetadata(partition.position, partition.ledger.encode(now_ms=now_ms))
