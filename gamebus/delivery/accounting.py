"""Loss accounting of one partition: which records of which streams were read, and what became of them.

The table travels in the metadata of the offset commit, so it agrees with the committed offset to the record: read up to that offset, processed up to the batch before it. A new owner that loads a table
with a batch in doubt counts that batch as lost in a crash; an owner that leaves in order commits once more without doubt.

Offsets cannot say this: a record lost before the append has none, and a gap of offsets is not a loss.

Pure: no I/O, no clock. Not safe for several threads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

import msgpack

from gamebus.delivery.range_set import RangeSet
from gamebus.delivery.reports import Report, StreamReport
from gamebus.delivery.stream_ledger import Account, Stream, StreamLedger
from gamebus.record import RealtimeRecord

__all__ = ["GRACE_S", "MAX_METADATA_BYTES", "MEMORY_MS", "SILENT_S", "PartitionLedger", "StreamLedger"]

MAX_METADATA_BYTES: Final = 4_000
"""Kafka's offset.metadata.max.bytes is 4,096 by default."""

GRACE_S: Final = 1.0
"""How long after a report its last records may still be on their way: what a connection has not delivered in that time it
hardly will (the publisher aborts one that stalls for a second)."""

SILENT_S: Final = 30.0
"""A publisher that has not reported for so long is taken to be dead, until it reports again."""

MEMORY_MS: Final = 15 * 60_000
"""How long an ended stream is remembered, so that an old report does not revive it. Readers of reports go back less far."""

_VERSION: Final = 1
_MAX_ENDED: Final = 64
_SHRINK_STEPS: Final = (16, 4, 1, 0)


class PartitionLedger:
    """Account of all streams of one partition, for one consumer group.

    Args:
        since_ms: from when on the group has read the partition without a break, Unix milliseconds. A stream that began
            earlier cannot be told from its first record.
        lost: whether an earlier ledger was lost, so that what came before is `unknown`; otherwise it was `skipped`, because
            the group began here.
    """

    def __init__(self, topic: str, partition: int, *, since_ms: int, lost: bool = False) -> None:
        self.topic = topic
        self.partition = partition
        self._since_ms = since_ms
        self._lost = lost
        self._streams: dict[str, Stream] = {}
        # Boots that ended, and when they said so.
        self._ended: dict[str, int] = {}
        self._ended_rows: dict[str, StreamLedger] = {}
        self._doubted: list[Stream] = []
        self.evicted = 0
        """Streams given up because the table did not fit into a commit."""

    @classmethod
    def load(cls, topic: str, partition: int, metadata: str, *, now_ms: int) -> PartitionLedger:
        """The ledger that the last commit of the partition carried; a new one when it carried none that can be read."""
        try:
            version, since_ms, lost, ended, streams = msgpack.unpackb(
                base64.b64decode(metadata, validate=True), strict_map_key=False
            )
            if version != _VERSION:
                raise ValueError(f"version {version}")
            ledger = cls(topic, partition, since_ms=int(since_ms), lost=bool(lost))
            ledger._ended = {str(boot): int(at_ms) for boot, at_ms in ended.items()}
            ledger._streams = {packed[0]: Stream.from_list(packed) for packed in streams}
        except (ValueError, TypeError, IndexError, AttributeError, binascii.Error, msgpack.UnpackException):
            return cls(topic, partition, since_ms=now_ms, lost=True)
        return ledger

    @property
    def in_doubt(self) -> bool:
        """Whether records were received that are not known to be processed."""
        return bool(self._doubted)

    def receive(self, records: Iterable[RealtimeRecord], *, stale_before_ms: int) -> list[RealtimeRecord]:
        """Take note of the next records of the partition; returns those to process. They are in doubt from now on.

        Left out are duplicates, records that were overtaken by a later one of their stream, and records that were stamped before
        `stale_before_ms`.
        """
        fresh: list[RealtimeRecord] = []
        boot = None
        for record in records:
            if record.boot != boot:
                boot = record.boot
                stream = self._stream(boot)
            seq = record.seq
            if seq == stream.max_seq + 1:
                stream.max_seq = seq
            elif not stream.receive(seq):
                continue
            if record.server_ms < stale_before_ms:
                stream.skipped.add(seq)
                continue
            fresh.append(record)
        for stream in self._doubted:
            stream.jumped = False
        return fresh

    def _stream(self, boot: str) -> Stream:
        stream = self._streams.get(boot)
        if stream is None:
            stream = self._streams[boot] = Stream(boot)
        if stream.doubt_from is None:
            stream.doubt_from = stream.max_seq
            self._doubted.append(stream)
        return stream

    def processed(self) -> None:
        """What is in doubt was processed."""
        for stream in self._doubted:
            stream.processed()
        self._doubted.clear()

    def dropped_on_failed_commit(self) -> None:
        """What is in doubt was dropped, because its commit failed or nobody knows whether it did."""
        for stream in self._doubted:
            stream.not_processed(stream.failed)
        self._doubted.clear()

    def crashed(self) -> None:
        """What is in doubt was committed, and its handler failed."""
        for stream in self._doubted:
            stream.not_processed(stream.crashed)
        self._doubted.clear()

    def jumped(self) -> None:
        """A part of the partition was jumped over (a reset): what is missing there was not lost on the wire."""
        for stream in self._streams.values():
            stream.jumped = True

    def report(self, report: Report, of_stream: StreamReport, *, now: float, now_ms: int) -> None:
        """Take in what a publisher reports about its stream in this partition. Reports of a boot come in order."""
        if report.boot in self._ended or report.sent_ms < now_ms - MEMORY_MS:
            return
        if report.final and report.sent_ms <= self._since_ms:
            self._end(report.boot, now_ms)  # before our time
            return
        stream = self._streams.get(report.boot)
        if stream is None:
            stream = self._streams[report.boot] = Stream(report.boot)
        stream.heard_at = now
        if not stream.judged:
            self._judge(stream, report, of_stream)
        if stream.judged or report.sent_ms > self._since_ms:
            stream.newest = Account(of_stream.seq, dict(of_stream.dropped), report.final, now)

    def _judge(self, stream: Stream, report: Report, of_stream: StreamReport) -> None:
        """Find out whether the numbers before the first record received could have been seen."""
        if report.started_ms > self._since_ms or (stream.max_seq and not stream.first):
            stream.judged, stream.first = True, 0
        elif stream.max_seq and of_stream.seq >= stream.first:
            stream.unseen(stream.first - 1, self._unseen_kind(stream))
        else:
            stream.prior_drops = sum(of_stream.dropped.values())

    def _unseen_kind(self, stream: Stream) -> RangeSet:
        return stream.unknown if self._lost else stream.skipped

    def settle(self, *, now: float, now_ms: int, position: int, end_offset: int, end_known_at: float) -> None:
        """Bring the rows up to date. Call it now and then, between batches.

        Args:
            position: offset of the next record that will be received.
            end_offset: end of the partition when it was last known, at `end_known_at` (monotonic seconds).
        """
        assert not self._doubted, "a batch is in doubt"
        for stream in list(self._streams.values()):
            if stream.waiting is None:
                stream.waiting, stream.newest = stream.newest, None
            account = stream.waiting
            if account is not None:
                if account.target is None and end_known_at >= account.arrived_at + GRACE_S:
                    account.target = end_offset
                if account.target is not None and position >= account.target:
                    stream.waiting = None
                    self._settle(stream, account, now_ms)
            self._watch_silence(stream, now=now, now_ms=now_ms)

    def _settle(self, stream: Stream, account: Account, now_ms: int) -> None:
        if not stream.judged:  # it began before us, and nothing of it came
            stream.unseen(account.seq, self._unseen_kind(stream))
        if stream.settle(account, self.topic, self.partition, ended=account.final):
            stream.settled = account
        if account.final:
            self._end(stream.boot, now_ms)

    def _watch_silence(self, stream: Stream, *, now: float, now_ms: int) -> None:
        if stream.heard_at is None:
            stream.heard_at = now
        silent_s = now - stream.heard_at
        if silent_s < SILENT_S or stream.waiting is not None or stream.newest is not None:
            return
        if stream.settled is not None and not (stream.row is not None and stream.row.ended):
            stream.settle(stream.settled, self.topic, self.partition, ended=True)
        if silent_s * 1000 >= MEMORY_MS:
            self._end(stream.boot, now_ms)

    def _end(self, boot: str, now_ms: int) -> None:
        stream = self._streams.pop(boot, None)
        if stream is not None and stream.row is not None:
            self._ended_rows[boot] = stream.row
        self._ended[boot] = now_ms
        for old in [old for old, at_ms in self._ended.items() if at_ms < now_ms - MEMORY_MS]:
            del self._ended[old]
        while len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        for old in self._ended_rows.keys() - self._ended.keys():
            del self._ended_rows[old]

    def rows(self) -> list[StreamLedger]:
        """The latest account of every stream that has one."""
        rows = [stream.row for stream in self._streams.values() if stream.row is not None]
        return [*self._ended_rows.values(), *rows]

    def encode(self, *, now_ms: int) -> str:
        """The table for the metadata of a commit, at most :data:`MAX_METADATA_BYTES` long.

        When it does not fit, details of long ago are forgotten first; then the oldest streams are given up, and what cannot
        be told of them any more is `unknown`.
        """
        for max_ranges in _SHRINK_STEPS:
            text = self._encode()
            if len(text) <= MAX_METADATA_BYTES:
                return text
            for stream in self._streams.values():
                stream.shrink(max_ranges)
        while len(text := self._encode()) > MAX_METADATA_BYTES:
            if self._ended:
                del self._ended[next(iter(self._ended))]
                continue
            boot = next(iter(self._streams))
            self._doubted = [stream for stream in self._doubted if stream.boot != boot]
            del self._streams[boot]
            self.evicted += 1
            self._since_ms, self._lost = now_ms, True
        return text

    def _encode(self) -> str:
        streams: list[list[Any]] = [stream.to_list() for stream in self._streams.values()]
        packed = msgpack.packb([_VERSION, self._since_ms, self._lost, self._ended, streams])
        return base64.b64encode(packed).decode("ascii")
