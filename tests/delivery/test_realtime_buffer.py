"""Requirements of the buffers of at-most-once records: every attempt is decided once, in order, for a counted reason."""

from __future__ import annotations

from collections import Counter

import pytest
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery import realtime_buffer
from gamebus.delivery.realtime_buffer import (
    NO_HEADERS,
    Batch,
    Budget,
    DropReason,
    PartitionBuffer,
    require_compiled_records,
)
from gamebus.errors import ConfigurationError

MAX_AGE_S = 1.0
SLICE_S = 0.1


def _buffer(*, batch_bytes: int = 400, budget: Budget | None = None, compression: str = "none") -> PartitionBuffer:
    assert compression in ("none", "snappy")
    return PartitionBuffer(
        "t",
        0,
        batch_bytes=batch_bytes,
        slice_s=SLICE_S,
        compression="snappy" if compression == "snappy" else "none",
        budget=budget or Budget(1_000_000),
    )


def _add(buffer: PartitionBuffer, budget: Budget, *, now: float = 0.0, value: bytes = b"v" * 50) -> None:
    """One attempt, as the publisher makes it."""
    buffer.seq += 1
    batch = buffer.batch
    added = None if batch is None else batch.append(batch.records, 0, b"k", value, NO_HEADERS)
    if batch is None or added is None:
        batch = buffer.open(now)
        added = batch.append(0, 0, b"k", value, NO_HEADERS)
    assert added is not None
    batch.records += 1
    budget.used_bytes += added.size


def _values(batch: Batch) -> list[bytes | None]:
    return [record.value for record in DefaultRecordBatch(batch.build())]


class TestPartitionBuffer:
    def test_records_leave_in_the_order_of_their_attempts(self) -> None:
        """Also when they fill several batches."""
        budget = Budget(10_000)
        buffer = _buffer(budget=budget)
        values = [b"%d" % number * 20 for number in range(30)]
        for value in values:
            _add(buffer, budget, value=value)

        batches = []
        while not buffer.empty:
            batches.append(_values(buffer.take()))
        assert len(batches) > 1
        assert [value for batch in batches for value in batch] == values
        assert buffer.written == 30
        assert budget.used_bytes == 0

    def test_a_batch_keeps_to_its_size(self) -> None:
        """`batch_bytes` bounds what Kafka is given in one piece."""
        budget = Budget(10_000)
        buffer = _buffer(batch_bytes=500, budget=budget)
        for _ in range(50):
            _add(buffer, budget)

        while not buffer.empty:
            assert len(buffer.take().build()) <= 500

    def test_a_stale_batch_is_dropped_and_a_fresh_one_is_kept(self) -> None:
        """Age is taken from the oldest record of a batch."""
        budget = Budget(10_000)
        buffer = _buffer(budget=budget)
        _add(buffer, budget, now=10.0, value=b"old")
        buffer.wait(10.0 + 2 * SLICE_S, DropReason.NOT_CONNECTED)
        _add(buffer, budget, now=10.5, value=b"fresh")

        assert buffer.expire(11.2 - MAX_AGE_S) == 1
        assert buffer.dropped == {DropReason.NOT_CONNECTED: 1}
        assert _values(buffer.take()) == [b"fresh"]

    def test_what_was_waited_for_is_forgotten_with_the_last_record(self) -> None:
        """A record that comes after an outage, and grows stale for another reason, is not counted with those of the outage."""
        budget = Budget(10_000)
        buffer = _buffer(budget=budget)
        _add(buffer, budget, now=10.0)
        buffer.wait(10.0, DropReason.NO_LEADER)
        buffer.expire(10.1)
        _add(buffer, budget, now=20.0)
        buffer.expire(20.1)

        assert buffer.dropped == {DropReason.NO_LEADER: 1, DropReason.EXPIRED: 1}

    def test_a_waiting_batch_does_not_span_more_than_a_slice(self) -> None:
        """A record that came long after the first of its batch is not given up with it."""
        budget = Budget(10_000)
        buffer = _buffer(batch_bytes=100_000, budget=budget)
        for moment in range(100):
            now = moment * 0.01
            buffer.wait(now, DropReason.NOT_CONNECTED)
            _add(buffer, budget, now=now)

        assert 9 <= sum(1 for _ in iter(lambda: None if buffer.empty else buffer.take(), None)) <= 11

    def test_drops_are_reported_when_everything_before_them_is_decided(self) -> None:
        """`dropped` counts what lies at or below `decided_seq`, so that a reader can tell drops from loss at that number."""
        budget = Budget(10_000)
        buffer = _buffer(budget=budget)
        _add(buffer, budget)
        buffer.seq += 1
        buffer.drop(DropReason.BACKPRESSURE)
        assert (buffer.decided_seq, dict(buffer.dropped)) == (0, {})

        buffer.take()
        assert (buffer.decided_seq, dict(buffer.dropped)) == (2, {DropReason.BACKPRESSURE: 1})

        buffer.seq += 1
        buffer.drop(DropReason.INVALID)
        assert (buffer.decided_seq, buffer.dropped[DropReason.INVALID]) == (3, 1)

    def test_snappy_shrinks_what_is_written(self) -> None:
        """The budget counts what is held, the batch what is sent."""
        budget = Budget(100_000)
        buffer = _buffer(batch_bytes=32_768, budget=budget, compression="snappy")
        for _ in range(200):
            _add(buffer, budget)
        held = budget.used_bytes

        batch = buffer.take()
        assert budget.used_bytes == 0
        assert len(batch.build()) < held / 2

    @given(
        steps=st.lists(
            st.one_of(
                st.just("add"),
                st.sampled_from([DropReason.BACKPRESSURE, DropReason.INVALID]),
                st.sampled_from(["take", "expire", "wait"]),
            ),
            min_size=10,
            max_size=80,
        )
    )
    def test_every_attempt_is_decided_once(self, steps: list[str]) -> None:
        """At every moment: attempts up to `decided_seq` = written + dropped, and the budget is what is held."""
        budget = Budget(1_000_000)
        buffer = _buffer(budget=budget)
        fates: list[str] = []  # of each attempt, as far as they are known
        waiting: list[int] = []
        for moment, step in enumerate(steps):
            if step == "add":
                _add(buffer, budget, now=float(moment))
                fates.append("")
                waiting.append(len(fates) - 1)
            elif step == "take":
                if not buffer.empty:
                    for _ in range(buffer.take().records):
                        fates[waiting.pop(0)] = "written"
            elif step == "wait":
                buffer.wait(float(moment), DropReason.EXPIRED)
            elif step == "expire":
                for _ in range(buffer.expire(moment - 20.0)):
                    fates[waiting.pop(0)] = DropReason.EXPIRED
            else:
                buffer.seq += 1
                buffer.drop(DropReason(step))
                fates.append(step)

            decided = fates[: buffer.decided_seq]
            assert "" not in decided
            assert buffer.decided_seq == (waiting[0] if waiting else len(fates))
            assert Counter(fate for fate in decided if fate != "written") == dict(buffer.dropped)
            assert buffer.empty == (not waiting)
            assert (budget.used_bytes == 0) == (not waiting)


class TestRequireCompiledRecords:
    def test_accepts_the_compiled_builder(self) -> None:
        """The locked wheel carries it."""
        require_compiled_records()

    def test_refuses_the_pure_python_builder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """aiokafka falls back to it in silence; gamebus says what to do."""
        monkeypatch.setattr(realtime_buffer, "DefaultRecordBatchBuilder", default_records._DefaultRecordBatchBuilderPy)
        with pytest.raises(ConfigurationError, match="binary wheel"):
            require_compiled_records()
