"""Requirements of loss accounting: the identity, and the right term for every kind of loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamebus.delivery.accounting import GRACE_S, MAX_METADATA_BYTES, MEMORY_MS, SILENT_S, PartitionLedger
from gamebus.delivery.reports import Report, StreamReport
from gamebus.delivery.stream_ledger import StreamLedger
from gamebus.record import RealtimeRecord

TOPIC = "gamebus.position"
BEGAN_MS = 1_000_000
STARTED_MS = BEGAN_MS + 10_000
NOW_MS = BEGAN_MS + 60_000
FRESH_MS = NOW_MS
STALE_MS = NOW_MS - 5_000
STALE_BEFORE_MS = NOW_MS - 1_000


def _record(boot: str, seq: int, server_ms: int = FRESH_MS) -> RealtimeRecord:
    return RealtimeRecord("position", "arena", "alice", server_ms, boot, seq, [seq, 0, 0, 0])


def _ledger(*, since_ms: int = BEGAN_MS, lost: bool = False) -> PartitionLedger:
    return PartitionLedger(TOPIC, 0, since_ms=since_ms, lost=lost)


def _receive(ledger: PartitionLedger, *seqs: int, boot: str = "a") -> list[int]:
    fresh = ledger.receive([_record(boot, seq) for seq in seqs], stale_before_ms=STALE_BEFORE_MS)
    return [record.seq for record in fresh]


def _report(
    ledger: PartitionLedger,
    seq: int,
    *,
    boot: str = "a",
    final: bool = False,
    started_ms: int = STARTED_MS,
    sent_ms: int = NOW_MS,
    now: float = 0.0,
    dropped: Mapping[str, int] = MappingProxyType({}),
) -> None:
    stream = StreamReport(boot, TOPIC, 0, seq, dict(dropped))
    ledger.report(Report(boot, started_ms, sent_ms, final, (stream,)), stream, now=now, now_ms=NOW_MS)


def _settle(ledger: PartitionLedger, *, now: float = 0.0) -> list[StreamLedger]:
    """Everything that was in the partition a grace after the reports has been read."""
    later = now + GRACE_S
    ledger.settle(now=later, now_ms=NOW_MS, position=10, end_offset=10, end_known_at=later)
    return ledger.rows()


def _only(rows: list[StreamLedger]) -> StreamLedger:
    (row,) = rows
    assert row.balanced, row
    return row


class TestTerms:
    def test_processed(self) -> None:
        """A record whose commit succeeded and that was handed over is processed."""
        ledger = _ledger()
        assert _receive(ledger, 1, 2, 3) == [1, 2, 3]
        ledger.processed()
        _report(ledger, 3)

        row = _only(_settle(ledger))
        assert (row.attempted, row.processed, row.ended) == (3, 3, False)

    def test_dropped_and_lost_on_the_wire(self) -> None:
        """What is missing and was not dropped by the publisher was lost on the wire."""
        ledger = _ledger()
        _receive(ledger, 1, 2, 6)
        ledger.processed()
        _report(ledger, 8, dropped={"backpressure": 2, "expired": 1})

        row = _only(_settle(ledger))
        assert (row.processed, dict(row.dropped), row.lost_on_wire) == (3, {"backpressure": 2, "expired": 1}, 2)

    def test_a_stream_of_which_nothing_arrives_is_lost(self) -> None:
        """No record is needed to know that a stream exists: its reports say so."""
        ledger = _ledger()
        _report(ledger, 5, dropped={"no_leader": 1})

        row = _only(_settle(ledger))
        assert (row.attempted, row.lost_on_wire, row.processed) == (5, 4, 0)

    def test_a_failed_commit(self) -> None:
        """A batch whose commit failed is dropped and counted, and later batches are not touched by it."""
        ledger = _ledger()
        _receive(ledger, 1, 3)
        ledger.dropped_on_failed_commit()
        _receive(ledger, 4)
        ledger.processed()
        _report(ledger, 4)

        row = _only(_settle(ledger))
        assert (row.dropped_on_failed_commit, row.lost_on_wire, row.processed) == (2, 1, 1)

    def test_a_crash_after_the_commit(self) -> None:
        """The batch that the last commit carried in doubt is lost in the crash; the batches before it are not."""
        ledger = _ledger()
        _receive(ledger, 1, 2)
        ledger.processed()
        _receive(ledger, 3, 4, 5)

        successor = PartitionLedger.load(TOPIC, 0, ledger.encode(now_ms=NOW_MS), now_ms=NOW_MS)
        _report(successor, 5)
        row = _only(_settle(successor))
        assert (row.processed, row.lost_in_crash) == (2, 3)

    def test_a_hand_over_in_order(self) -> None:
        """A commit after the batch was processed leaves nothing in doubt."""
        ledger = _ledger()
        _receive(ledger, 1, 2)
        ledger.processed()

        successor = PartitionLedger.load(TOPIC, 0, ledger.encode(now_ms=NOW_MS), now_ms=NOW_MS)
        _receive(successor, 3)
        successor.processed()
        _report(successor, 3)
        row = _only(_settle(successor))
        assert (row.processed, row.lost_in_crash) == (3, 0)

    def test_stale_records_are_skipped(self) -> None:
        """A record that is too old is not handed over, and a crash does not claim it."""
        ledger = _ledger()
        fresh = ledger.receive([_record("a", 1, STALE_MS), _record("a", 2)], stale_before_ms=STALE_BEFORE_MS)
        assert [record.seq for record in fresh] == [2]
        ledger.dropped_on_failed_commit()
        _report(ledger, 2)

        row = _only(_settle(ledger))
        assert (row.skipped, row.dropped_on_failed_commit, row.processed) == (1, 1, 0)

    def test_a_duplicate_is_not_handed_over(self) -> None:
        """A number that was read before is counted as a duplicate, whatever became of the first."""
        ledger = _ledger()
        _receive(ledger, 1, 2)
        ledger.processed()
        assert _receive(ledger, 2, 3, 3) == [3]
        ledger.processed()
        _report(ledger, 3)

        row = _only(_settle(ledger))
        assert (row.processed, row.duplicates, row.reordered) == (3, 2, 0)

    def test_an_overtaken_record_is_skipped(self) -> None:
        """An older position never replaces a newer one; that it came late is not a duplicate, and no longer a loss."""
        ledger = _ledger()
        _receive(ledger, 1, 3)
        ledger.processed()
        _report(ledger, 3)
        assert _only(_settle(ledger)).lost_on_wire == 1

        assert _receive(ledger, 2, 2) == []
        ledger.dropped_on_failed_commit()
        _report(ledger, 3)
        row = _only(_settle(ledger))
        assert (row.processed, row.lost_on_wire, row.skipped) == (2, 0, 1)
        assert (row.reordered, row.duplicates, row.dropped_on_failed_commit) == (1, 1, 0)

    def test_records_reordered_around_the_beginning_are_no_alarm(self) -> None:
        """A record older than the first one that the group saw is late, not doubled."""
        ledger = _ledger()
        assert _receive(ledger, 12, 11) == [12]
        ledger.processed()
        _report(ledger, 12, started_ms=BEGAN_MS - 1)
        row = _only(_settle(ledger))
        assert (row.skipped, row.reordered, row.duplicates) == (11, 1, 0)

    def test_a_jump_is_skipped_and_not_lost(self) -> None:
        """What a reset of the position passed over was not lost on the wire."""
        ledger = _ledger()
        _receive(ledger, 1, 2)
        ledger.processed()
        ledger.jumped()
        _receive(ledger, 6)
        ledger.processed()
        _receive(ledger, 8)
        ledger.processed()
        _report(ledger, 8)

        row = _only(_settle(ledger))
        assert (row.skipped, row.lost_on_wire, row.processed) == (3, 1, 4)


class TestBeginning:
    def test_what_was_published_before_the_group_is_skipped(self) -> None:
        """A group that begins at the end of a partition skips what came before, drops of that time included."""
        ledger = _ledger()
        _report(ledger, 90, started_ms=BEGAN_MS - 5_000, sent_ms=BEGAN_MS - 500, dropped={"backpressure": 10})
        _receive(ledger, 101, 103)
        ledger.processed()
        _report(ledger, 104, started_ms=BEGAN_MS - 5_000, dropped={"backpressure": 11})

        row = _only(_settle(ledger))
        assert (row.attempted, row.skipped, dict(row.dropped)) == (104, 90, {"backpressure": 11})
        assert (row.processed, row.lost_on_wire) == (2, 1)

    def test_a_stream_that_begins_later_is_seen_from_its_first_record(self) -> None:
        """Records missing at the beginning of a stream that began under the reader's eyes were lost."""
        ledger = _ledger()
        _receive(ledger, 3)
        ledger.processed()
        _report(ledger, 3)
        assert _only(_settle(ledger)).lost_on_wire == 2

    def test_an_older_stream_of_which_nothing_came_yet(self) -> None:
        """Without a single record nobody can say what came before; from the first report on it is known."""
        ledger = _ledger()
        _report(ledger, 7, started_ms=BEGAN_MS - 1)
        assert _only(_settle(ledger)).skipped == 7
        _report(ledger, 9, started_ms=BEGAN_MS - 1)
        row = _only(_settle(ledger))
        assert (row.skipped, row.lost_on_wire) == (7, 2)

    def test_a_lost_ledger_makes_the_past_unknown(self) -> None:
        """Where an offset was committed without a ledger, what came before is unknown, not skipped."""
        ledger = PartitionLedger.load(TOPIC, 0, "", now_ms=BEGAN_MS)
        _receive(ledger, 11)
        ledger.processed()
        _report(ledger, 11, started_ms=BEGAN_MS - 1)
        row = _only(_settle(ledger))
        assert (row.unknown, row.skipped, row.processed) == (10, 0, 1)

    @pytest.mark.parametrize("metadata", ["", "metadata of someone else", "wA==", "k5OTkw=="])
    def test_any_metadata_is_survived(self, metadata: str) -> None:
        """Offsets may have been committed by any tool."""
        assert PartitionLedger.load(TOPIC, 0, metadata, now_ms=BEGAN_MS).rows() == []


class TestReports:
    def test_a_report_waits_for_what_is_on_its_way(self) -> None:
        """A report settles when the partition was read to where it ended a grace after the report arrived."""
        ledger = _ledger()
        _report(ledger, 2, now=5.0)

        ledger.settle(now=5.5, now_ms=NOW_MS, position=0, end_offset=0, end_known_at=5.5)
        assert ledger.rows() == []
        ledger.settle(now=6.5, now_ms=NOW_MS, position=0, end_offset=2, end_known_at=6.5)
        assert ledger.rows() == []
        _receive(ledger, 1, 2)
        ledger.processed()
        ledger.settle(now=6.6, now_ms=NOW_MS, position=2, end_offset=50, end_known_at=6.6)
        assert _only(ledger.rows()).processed == 2

    def test_the_final_report_ends_a_stream(self) -> None:
        """After the final report the row says so, and an old report does not revive the stream."""
        ledger = _ledger()
        _receive(ledger, 1)
        ledger.processed()
        _report(ledger, 1, final=True)
        assert _only(_settle(ledger)).ended

        _report(ledger, 1, sent_ms=NOW_MS - 1_000)
        assert _only(_settle(ledger)).processed == 1

        successor = PartitionLedger.load(TOPIC, 0, ledger.encode(now_ms=NOW_MS), now_ms=NOW_MS)
        _report(successor, 1, final=True)
        assert _settle(successor) == []

    def test_streams_that_ended_before_the_group_are_no_business_of_it(self) -> None:
        """Reports of the past do not make rows."""
        ledger = _ledger()
        _report(ledger, 4, started_ms=BEGAN_MS - 9, sent_ms=BEGAN_MS - 2, final=True)
        assert _settle(ledger) == []

    def test_a_killed_publisher_leaves_an_unknown_tail(self) -> None:
        """What followed the last report of a process that was killed is known only as far as it was received."""
        ledger = _ledger()
        _receive(ledger, 1, 2, 3, 6)
        ledger.processed()
        _report(ledger, 2)
        assert _only(_settle(ledger)).attempted == 2

        ledger.settle(now=SILENT_S + 1, now_ms=NOW_MS, position=10, end_offset=10, end_known_at=SILENT_S + 1)
        row = _only(ledger.rows())
        assert (row.attempted, row.processed, row.unknown, row.ended) == (6, 4, 2, True)

    def test_silence_is_not_death(self) -> None:
        """A publisher that reports again after a long silence goes on."""
        ledger = _ledger()
        _receive(ledger, 1, 3)
        ledger.processed()
        _report(ledger, 1)
        _settle(ledger)
        ledger.settle(now=SILENT_S + 1, now_ms=NOW_MS, position=10, end_offset=10, end_known_at=SILENT_S + 1)

        _report(ledger, 3, now=SILENT_S + 2)
        row = _only(_settle(ledger, now=SILENT_S + 2))
        assert (row.unknown, row.lost_on_wire, row.ended) == (0, 1, False)

    def test_silent_streams_leave_the_table_in_the_end(self) -> None:
        """The table does not grow with every process that was ever killed."""
        ledger = _ledger()
        _receive(ledger, 1)
        ledger.processed()
        _report(ledger, 1)
        _settle(ledger)
        empty = _ledger().encode(now_ms=NOW_MS)
        after = MEMORY_MS / 1000 + 1
        ledger.settle(now=after, now_ms=NOW_MS, position=10, end_offset=10, end_known_at=after)
        assert len(ledger.encode(now_ms=NOW_MS)) < len(empty) + 40


class TestMetadata:
    def test_fits_into_a_commit_whatever_happened(self) -> None:
        """Many streams with many losses still fit; what had to be given up is unknown, and the identity holds."""
        ledger = _ledger()
        boots = [f"gateway-{number:03}-0123456789abcdef" for number in range(150)]
        for boot in boots:
            _receive(ledger, *range(2, 200, 2), boot=boot)
            ledger.processed()

        text = ledger.encode(now_ms=NOW_MS)
        assert len(text.encode()) <= MAX_METADATA_BYTES
        assert ledger.evicted > 0

        for boot in boots:
            _receive(ledger, 300, boot=boot)
            ledger.processed()
            _report(ledger, 300, boot=boot, dropped={"backpressure": 3})
        rows = _settle(ledger)
        assert len(rows) == len(boots)
        assert all(row.balanced for row in rows)
        assert sum(row.unknown > 0 for row in rows) == ledger.evicted

    def test_details_go_before_streams(self) -> None:
        """A stream with many gaps forgets which, not how many."""
        ledger = _ledger()
        boots = [f"gateway-{number:03}" for number in range(20)]
        for boot in boots:
            _receive(ledger, *range(2, 200, 2), boot=boot)
            ledger.processed()
        assert len(ledger.encode(now_ms=NOW_MS)) <= MAX_METADATA_BYTES
        assert ledger.evicted == 0

        for boot in boots:
            _report(ledger, 198, boot=boot)
        assert {row.lost_on_wire for row in _settle(ledger)} == {99}


@dataclass
class _Read:
    """What really became of the records that were read."""

    fates: Counter[str] = field(default_factory=Counter)
    seen: set[int] = field(default_factory=set)
    duplicates: int = 0
    overtaken: int = 0


@dataclass
class _Truth:
    """What really became of the records of one stream."""

    attempted: int = 0
    lost: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    read: _Read = field(default_factory=_Read)


class _World:
    """A partition, its publishers, and a chain of owners, with the truth about every record."""

    def __init__(self) -> None:
        self.log: list[RealtimeRecord] = []
        self.delayed: list[RealtimeRecord] = []
        self.truth = {"a": _Truth(), "b": _Truth()}
        self.ledger = _ledger()
        self.position = 0
        self._commit(self.ledger.encode(now_ms=NOW_MS))

    def attempt(self, boot: str, fate: str) -> None:
        truth = self.truth[boot]
        truth.attempted += 1
        record = _record(boot, truth.attempted, STALE_MS if fate == "stale" else FRESH_MS)
        if fate in ("expired", "backpressure"):
            truth.dropped[fate] += 1
        elif fate == "lost":
            truth.lost += 1
        elif fate == "delayed":
            self.delayed.append(record)
        else:
            self.log += [record] * (2 if fate == "doubled" else 1)

    def arrive(self) -> None:
        self.log += self.delayed
        self.delayed = []

    def read(self, count: int, outcome: str) -> None:
        batch = self.log[self.position : self.position + count]
        fresh = self.ledger.receive(batch, stale_before_ms=STALE_BEFORE_MS)
        metadata = self.ledger.encode(now_ms=NOW_MS)
        self.position += len(batch)
        if outcome == "crash before commit":
            self._take_over()
            return
        for record in batch:
            read = self.truth[record.boot].read
            if record.seq in read.seen:
                read.duplicates += 1
            elif record.seq < max(read.seen, default=0):
                read.overtaken += 1
            elif record.server_ms == STALE_MS:
                read.fates["skipped"] += 1
            read.seen.add(record.seq)
        if outcome == "failed":
            for record in fresh:
                self.truth[record.boot].read.fates["failed"] += 1
            self.ledger.dropped_on_failed_commit()
            return
        for record in fresh:
            self.truth[record.boot].read.fates["crashed"] += 1
        self._commit(metadata)
        if outcome == "crashed":
            self._take_over()
            return
        # What was processed and not said to be before the owner crashed counts as crashed, too.
        for record in fresh:
            self.truth[record.boot].read.fates.update(crashed=-1, processed=1)
        self.ledger.processed()

    def hand_over(self) -> None:
        self._commit(self.ledger.encode(now_ms=NOW_MS))
        self._take_over()

    def begin_again(self) -> None:
        """The ledger is lost and the group begins at the end."""
        self.ledger = PartitionLedger.load(TOPIC, 0, "", now_ms=STARTED_MS + 1)
        self.position = len(self.log)
        self._commit(self.ledger.encode(now_ms=NOW_MS))

    def _commit(self, metadata: str) -> None:
        self._committed = (self.position, metadata)
        self._read_then = {boot: deepcopy(truth.read) for boot, truth in self.truth.items()}

    def _take_over(self) -> None:
        """What was read since the last commit was not committed: the next owner reads it again, and knows nothing of it."""
        self.position, metadata = self._committed
        self.ledger = PartitionLedger.load(TOPIC, 0, metadata, now_ms=NOW_MS)
        for boot, truth in self.truth.items():
            truth.read = deepcopy(self._read_then[boot])

    def report(self) -> None:
        for boot, truth in self.truth.items():
            _report(self.ledger, truth.attempted, boot=boot, dropped=truth.dropped)

    def rows(self) -> dict[str, StreamLedger]:
        return {row.boot: row for row in _settle(self.ledger)}


_FATES = ["written", "written", "written", "expired", "backpressure", "lost", "delayed", "stale", "doubled"]
_STEPS = st.one_of(
    st.tuples(st.just("attempt"), st.sampled_from("ab"), st.sampled_from(_FATES)),
    st.tuples(st.just("arrive")),
    st.tuples(
        st.just("read"), st.integers(1, 6), st.sampled_from(["processed", "failed", "crashed", "crash before commit"])
    ),
    st.tuples(st.just("hand_over")),
    st.tuples(st.just("report")),
)


class TestIdentity:
    @settings(max_examples=200)
    @given(steps=st.lists(_STEPS, min_size=15, max_size=80))
    def test_every_term_is_exact_for_every_history(self, steps: list[tuple[str, ...]]) -> None:
        """Loss, doubling, reordering, failed commits, crashes and hand-overs: each term says what really happened."""
        world = _World()
        for name, *arguments in steps:
            getattr(world, name)(*arguments)
            if name == "report":
                assert all(row.balanced for row in world.rows().values())
        world.arrive()
        world.read(len(world.log), "processed")
        world.report()

        rows = world.rows()
        for boot, truth in world.truth.items():
            row = rows[boot]
            assert row.balanced
            assert row.attempted == truth.attempted
            assert row.dropped == dict(truth.dropped)
            assert row.lost_on_wire == truth.lost
            assert row.skipped == truth.read.fates["skipped"] + truth.read.overtaken
            assert row.reordered == truth.read.overtaken
            assert row.dropped_on_failed_commit == truth.read.fates["failed"]
            assert row.lost_in_crash == truth.read.fates["crashed"]
            assert row.processed == truth.read.fates["processed"]
            assert row.unknown == 0
            assert row.duplicates == truth.read.duplicates

    @settings(max_examples=100)
    @given(steps=st.lists(_STEPS, min_size=15, max_size=60), since=st.integers(0, 30))
    def test_the_identity_holds_wherever_the_group_begins(self, steps: list[tuple[str, ...]], since: int) -> None:
        """A group that loses its ledger and begins again in the middle of a stream still balances every report."""
        world = _World()
        for index, (name, *arguments) in enumerate(steps):
            if index == since:
                world.begin_again()
            getattr(world, name)(*arguments)
            if name == "report":
                assert all(row.balanced for row in world.rows().values()), world.rows()
