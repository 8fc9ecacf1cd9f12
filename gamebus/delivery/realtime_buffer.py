"""What waits to be written to Kafka: batches of at-most-once records, one line of them per partition.

Every record is decided once: it is *written* (its batch was taken out to be handed to a socket) or *dropped* for a counted
reason. Both happen in the order of the sequence numbers, so "decided up to" is one number, and the drops reported with it
are exactly those at or below it (see :mod:`gamebus.delivery.reports`).

Pure: no I/O, no clock. Not safe for several threads.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from gamebus.errors import ConfigurationError

MAX_RECORD_BYTES: Final = 1_000_000
"""Largest record value. Kafka's default max.message.bytes is 1,048,588, and at acks=0 a broker answers a larger batch by
closing the connection, which loses what else is in it."""

Headers = list[tuple[str, bytes | None]]
NO_HEADERS: Final[Headers] = []
_CODECS: Final = {"none": 0x00, "snappy": 0x02}


class DropReason(StrEnum):
    """Why a record was dropped before it was written."""

    NOT_CONNECTED = "not_connected"
    """It grew stale while its partition's leader could not be reached."""

    NO_LEADER = "no_leader"
    """It grew stale while no broker was known to lead its partition."""

    BACKPRESSURE = "backpressure"
    """The buffers were full."""

    EXPIRED = "expired"
    """It grew stale behind a connection that took no more bytes, or an event loop that stood still."""

    TOO_LARGE = "too_large"
    """No batch that the topic accepts can hold it."""

    INVALID = "invalid"
    """It could not be encoded."""

    CLOSING = "closing"
    """The publisher was stopping."""


@dataclass(slots=True)
class Budget:
    """Bound that all buffers of a publisher share (the seed's buffer.memory)."""

    limit_bytes: int
    used_bytes: int = 0


class Batch:
    """Records of one partition that will be written together (Kafka's RecordBatch, magic 2)."""

    __slots__ = ("_builder", "_empty_bytes", "append", "dropped_after", "first_seq", "opened_at", "records")

    def __init__(self, *, first_seq: int, opened_at: float, batch_bytes: int, codec: int) -> None:
        # base_sequence -1 is Kafka's NO_SEQUENCE: this producer is not idempotent, it never sends twice.
        self._builder = DefaultRecordBatchBuilder(
            2,
            codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=batch_bytes,
        )
        self._empty_bytes = self._builder.size()
        self.append = self._builder.append
        """`append(records, timestamp_ms, key, value, headers)` gives what was added, or None when the batch is full (the
        first record always fits). The builder's own method: a publish has no time for one call more. The caller counts
        :attr:`records` up and adds the size to the budget."""

        self.first_seq = first_seq
        self.opened_at = opened_at
        """Monotonic seconds: the age of its oldest record."""

        self.records = 0
        self.dropped_after: Counter[DropReason] | None = None
        """Drops numbered after the first record of this batch, decided together with it."""

    @property
    def bytes(self) -> int:
        """Size of its records, before compression."""
        return self._builder.size() - self._empty_bytes

    def build(self) -> bytearray:
        """Bytes for a produce request. Call it once."""
        return self._builder.build()


class PartitionBuffer:
    """The records of one partition that are not decided yet, oldest first.

    A batch that waits is closed after `slice_s`, and it grows stale as a whole, by its oldest record: so a record may be
    given up at most `slice_s` before its time, and never written after it.

    Args:
        batch_bytes: size at which a batch is full.
        slice_s: longest span of publish times that one batch holds.
    """

    __slots__ = (
        "_batch_bytes",
        "_budget",
        "_closed",
        "_codec",
        "_dropped",
        "_slice_s",
        "batch",
        "partition",
        "seq",
        "topic",
        "waits_for",
        "written",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        batch_bytes: int,
        slice_s: float,
        compression: Literal["none", "snappy"],
        budget: Budget,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._batch_bytes = batch_bytes
        self._slice_s = slice_s
        self._codec = _CODECS[compression]
        self._budget = budget
        self._closed: deque[Batch] = deque()
        self._dropped: Counter[DropReason] = Counter()
        self.batch: Batch | None = None
        """The batch that takes records, or None."""

        self.seq = 0
        """Sequence of the newest attempt in this stream; the publisher counts it up, drops included."""

        self.written = 0
        self.waits_for = DropReason.EXPIRED
        """Why its records are late, should they grow stale: what they waited for, not what is so when they are given up."""

    @property
    def empty(self) -> bool:
        """Whether every attempt is decided."""
        return self.batch is None and not self._closed

    @property
    def decided_seq(self) -> int:
        """Every record up to this one was written or dropped."""
        oldest = self._oldest()
        return self.seq if oldest is None else oldest.first_seq - 1

    @property
    def dropped(self) -> Mapping[DropReason, int]:
        """Drops at or below :attr:`decided_seq`, by reason."""
        return self._dropped

    def open(self, now: float) -> Batch:
        """Close the batch that takes records and open another, whose first record is the newest attempt."""
        if self.empty:
            self.waits_for = DropReason.EXPIRED
        self._close()
        self.batch = Batch(
            first_seq=self.seq,
            opened_at=now,
            batch_bytes=self._batch_bytes,
            codec=self._codec,
        )
        return self.batch

    def drop(self, reason: DropReason) -> None:
        """Decide that the newest attempt is dropped."""
        newest = self.batch or (self._closed[-1] if self._closed else None)
        if newest is None:
            self._dropped[reason] += 1
        elif newest.dropped_after is None:
            newest.dropped_after = Counter((reason,))
        else:
            newest.dropped_after[reason] += 1

    def take(self) -> Batch:
        """Decide that the oldest batch is written, and return it."""
        if not self._closed:
            self._close()
        batch = self._closed.popleft()
        self._decide(batch)
        self.written += batch.records
        return batch

    def wait(self, now: float, reason: DropReason) -> None:
        """The partition cannot be written now: note why, and close the batch that takes records when its span is over."""
        self.waits_for = reason
        if self.batch is not None and now - self.batch.opened_at >= self._slice_s:
            self._close()

    def expire(self, before: float) -> int:
        """Drop the batches that were opened before a moment, for :attr:`waits_for`; returns their records."""
        reason = self.waits_for
        expired = 0
        while (oldest := self._oldest()) is not None and oldest.opened_at < before:
            if not self._closed:
                self._close()
            self._closed.popleft()
            self._dropped[reason] += oldest.records
            self._decide(oldest)
            expired += oldest.records
        return expired

    def _oldest(self) -> Batch | None:
        return self._closed[0] if self._closed else self.batch

    def _close(self) -> None:
        if self.batch is not None:
            self._closed.append(self.batch)
            self.batch = None

    def _decide(self, batch: Batch) -> None:
        self._budget.used_bytes -= batch.bytes
        if batch.dropped_after is not None:
            self._dropped.update(batch.dropped_after)


def require_compiled_records() -> None:
    """Refuse aiokafka's pure Python record builder, to which it falls back in silence and which costs ten times as much.

    Raises:
        ConfigurationError: the compiled extension of aiokafka is missing.
    """
    if DefaultRecordBatchBuilder is default_records._DefaultRecordBatchBuilderPy:  # noqa: SLF001 - no public way to ask
        raise ConfigurationError(
            "aiokafka runs without its compiled extension: install its binary wheel (pip install --only-binary=aiokafka "
            "aiokafka), or a C compiler and Cython, and unset AIOKAFKA_NO_EXTENSIONS"
        )
