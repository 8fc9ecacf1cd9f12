"""Exact account of one stream: what became of every record that a publisher attempted in one partition.

A stream is one boot of one publishing process in one partition; its records are numbered from 1, local drops included. At a
report of the publisher (everything up to sequence `H` decided, of which `D` dropped) every term is known:

    attempted = processed + dropped + lost on the wire + dropped on a failed commit + lost in a crash + skipped + unknown

Received numbers are not kept, only what is exceptional about them: numbers that are missing and the few that were received and
not processed, each kind as ranges. What is left up to `H` was processed.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gamebus.delivery.range_set import RangeSet


@dataclass(frozen=True, slots=True)
class StreamLedger:
    """The account of a stream up to one report of its publisher.

    Attributes:
        attempted: records that the publisher was asked to send.
        processed: handed to the handler, after their offsets were committed.
        dropped: never written, by the publisher's reason.
        lost_on_wire: written to a socket and never seen in the partition.
        dropped_on_failed_commit: read, and not processed because their commit failed or its outcome is unknown.
        lost_in_crash: lost after the commit: the process died before it said that they were processed, or its handler failed.
        skipped: passed over: too old, overtaken by a later record, before the group began, or in a part of the partition that was
            jumped over.
        unknown: nobody can say; only after a process was killed or a ledger was lost.
        duplicates: numbers read twice. Not part of the identity; not processed again. An alarm: this class never doubles.
        reordered: records that were overtaken by a later one, and skipped for that. Not part of the identity. They come from a
            connection that was given up: its broker may read what it held after it has read from the next one.
        ended: nothing will be added: the publisher said so, or it is gone.
    """

    boot: str
    topic: str
    partition: int
    attempted: int
    processed: int
    dropped: Mapping[str, int]
    lost_on_wire: int
    dropped_on_failed_commit: int
    lost_in_crash: int
    skipped: int
    unknown: int
    duplicates: int
    reordered: int
    ended: bool

    @property
    def balanced(self) -> bool:
        """Whether the identity holds and no term is negative."""
        terms = (
            self.processed,
            *self.dropped.values(),
            self.lost_on_wire,
            self.dropped_on_failed_commit,
            self.lost_in_crash,
            self.skipped,
            self.unknown,
        )
        return sum(terms) == self.attempted and min(terms) >= 0


@dataclass(slots=True)
class Account:
    """What a publisher said about a stream, waiting until the partition was read as far as it had been written then."""

    seq: int
    dropped: Mapping[str, int]
    final: bool
    arrived_at: float
    """Monotonic seconds."""

    target: int | None = None
    """Offset up to which the partition must be read, once it is known."""


_KINDS: Final = ("missing", "failed", "crashed", "skipped", "unknown")


@dataclass(slots=True, eq=False)
class Stream:
    """State of a stream on the side of the reader."""

    boot: str
    max_seq: int = 0
    missing: RangeSet = field(default_factory=RangeSet)
    failed: RangeSet = field(default_factory=RangeSet)
    crashed: RangeSet = field(default_factory=RangeSet)
    skipped: RangeSet = field(default_factory=RangeSet)
    unknown: RangeSet = field(default_factory=RangeSet)
    duplicates: int = 0
    reordered: int = 0
    first: int = 0
    """First number ever received, when it was not 1 and the reader may have begun in the middle of the stream."""

    judged: bool = False
    """Whether it is known if the reader could have seen the numbers below :attr:`first`."""

    prior_drops: int = 0
    """Drops among the numbers that the reader could not have seen."""

    jumped: bool = False
    """The next numbers that are missing lie in a part of the partition that was jumped over."""

    doubt_from: int | None = None
    """`max_seq` before the batch in doubt: received, and not yet known to be processed. None: no batch."""

    newest: Account | None = None
    waiting: Account | None = None
    settled: Account | None = None
    row: StreamLedger | None = None
    heard_at: float | None = None
    """When its publisher last reported, monotonic seconds."""

    def receive(self, seq: int) -> bool:
        """Take note of a record that is not the next one; false when it is not to be processed, a duplicate or overtaken."""
        if seq > self.max_seq:
            if self.max_seq == 0:
                self.first = seq
            (self.skipped if self.jumped else self.missing).add(self.max_seq + 1, seq - 1)
            self.jumped = False
            self.max_seq = seq
            return True
        late = self.missing.discard(seq) or self.unknown.discard(seq)
        if late or (self.judged and seq < self.first):
            # Fresh data only, in order: an older position must not replace a newer one.
            self.skipped.add(seq)
            self.reordered += 1
        else:
            self.duplicates += 1
        return False

    def processed(self) -> None:
        """The batch in doubt was processed."""
        self.doubt_from = None

    def not_processed(self, kind: RangeSet) -> None:
        """The batch in doubt was not processed; its records go to `kind`."""
        if self.doubt_from is None:
            return
        for low, high in self.missing.gaps(self.doubt_from + 1, self.max_seq):
            for part in self.skipped.gaps(low, high):
                kind.add(*part)
        self.doubt_from = None

    def unseen(self, to: int, kind: RangeSet) -> None:
        """The reader could not have seen the numbers up to `to`: what is missing of them goes to `kind`."""
        for part in self.missing.take_to(to):
            kind.add(*part)
        kind.add(self.max_seq + 1, to)
        self.max_seq = max(self.max_seq, to)
        self.judged = True

    def settle(self, account: Account, topic: str, partition: int, *, ended: bool) -> bool:
        """Make the row of an account; false when it lies too far back to be told exactly. No batch is in doubt."""
        to = account.seq
        if any(kind.floor > to for kind in self._kinds()):
            return False
        missing, failed, crashed, skipped, unknown = (kind.count(to) for kind in self._kinds())
        unread = max(0, to - self.max_seq)
        if self.jumped:
            skipped += unread
        else:
            missing += unread
        beyond = beyond_unknown = 0
        if ended and not account.final and self.max_seq > to:
            # The process was killed after its last report: what followed is known only as far as it was received.
            beyond = self.max_seq - to
            missing_beyond, failed_beyond, crashed_beyond, skipped_beyond, unknown_beyond = (
                kind.count(self.max_seq) - kind.count(to) for kind in self._kinds()
            )
            failed += failed_beyond
            crashed += crashed_beyond
            skipped += skipped_beyond
            beyond_unknown = missing_beyond + unknown_beyond
        dropped = sum(account.dropped.values())
        # Drops explain what is missing; those that cannot are among the numbers that nobody could have seen.
        unseen_drops = max(self.prior_drops, dropped - missing)
        lost = missing - (dropped - unseen_drops)
        skipped_drops = min(unseen_drops, skipped)
        skipped -= skipped_drops
        unknown += beyond_unknown - (unseen_drops - skipped_drops)
        attempted = to + beyond
        self.row = StreamLedger(
            boot=self.boot,
            topic=topic,
            partition=partition,
            attempted=attempted,
            processed=attempted - dropped - lost - failed - crashed - skipped - unknown,
            dropped=dict(account.dropped),
            lost_on_wire=lost,
            dropped_on_failed_commit=failed,
            lost_in_crash=crashed,
            skipped=skipped,
            unknown=unknown,
            duplicates=self.duplicates,
            reordered=self.reordered,
            ended=ended,
        )
        return True

    def _kinds(self) -> tuple[RangeSet, RangeSet, RangeSet, RangeSet, RangeSet]:
        return (self.missing, self.failed, self.crashed, self.skipped, self.unknown)

    def shrink(self, max_ranges: int) -> None:
        """Forget details of long ago."""
        for kind in self._kinds():
            kind.shrink(max_ranges)

    def to_list(self) -> list[Any]:
        """What the next owner of the partition needs to go on."""
        numbers = [self.max_seq, self.first, self.judged, self.prior_drops]
        numbers += [self.duplicates, self.reordered, self.jumped]
        return [self.boot, numbers, self.doubt_from, *(kind.to_list() if kind else [] for kind in self._kinds())]

    @classmethod
    def from_list(cls, packed: Sequence[Any]) -> Stream:
        """The stream that :meth:`to_list` described. Its batch in doubt was lost in the crash of its owner.

        Raises:
            ValueError, TypeError: not such a list.
        """
        boot, numbers, doubt, *kinds = packed
        max_seq, first, judged, prior_drops, duplicates, reordered, jumped = numbers
        stream = cls(
            boot=str(boot),
            max_seq=int(max_seq),
            duplicates=int(duplicates),
            reordered=int(reordered),
            first=int(first),
            judged=bool(judged),
            prior_drops=int(prior_drops),
            jumped=bool(jumped),
        )
        for name, kind in zip(_KINDS, kinds, strict=True):
            setattr(stream, name, RangeSet.from_list(kind))
        if doubt is not None:
            stream.doubt_from = int(doubt)
            stream.not_processed(stream.crashed)
        return stream
