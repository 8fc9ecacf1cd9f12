"""The linger of the realtime publisher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery.linger import Linger

LONGEST_S = 0.005
BUSY_PER_S = 5_000.0


def settled(per_s: float) -> float:
    """The wait after a flush on a lane that has had this rate for a while, flushed as the publisher does: when it is due."""
    linger, now, arrived = Linger(LONGEST_S, busy_per_s=BUSY_PER_S), 0.0, 0
    for _ in range(200):
        # The first record after the flush arms the timer.
        arrived += 1
        arrival = arrived / per_s
        flush = max(arrival, arrival + linger.due_in_s(arrival), now)
        records = max(1, int(flush * per_s) - arrived + 1)
        arrived += records - 1
        linger.flushed(records, flush)
        now = flush
    return linger.due_in_s(now)


def test_the_first_record_does_not_wait() -> None:
    """What comes to a line that has written nothing yet is written at once."""
    assert Linger(LONGEST_S, busy_per_s=BUSY_PER_S).due_in_s(100.0) <= 0


def test_a_record_after_a_pause_does_not_wait() -> None:
    """However busy the line was before."""
    linger = Linger(LONGEST_S, busy_per_s=BUSY_PER_S)
    linger.flushed(1, 100.0)
    linger.flushed(1_000, 100.005)
    assert linger.due_in_s(100.02) <= 0


@pytest.mark.parametrize(
    ("per_s", "longest_share"), [(100, 0.02), (1_000, 0.2), (2_500, 0.5), (5_000, 1.0), (50_000, 1.0)]
)
def test_the_wait_is_in_proportion_to_the_rate(per_s: float, longest_share: float) -> None:
    """A fifth of the linger at a fifth of the busy rate, and all of it from there on."""
    assert settled(per_s) == pytest.approx(LONGEST_S * longest_share, rel=0.5)


def test_two_records_in_quick_succession_are_no_busy_line() -> None:
    """What the second of them costs the third is a small part of the linger."""
    linger = Linger(LONGEST_S, busy_per_s=BUSY_PER_S)
    linger.flushed(1, 100.0)
    linger.flushed(1, 100.0001)
    assert linger.due_in_s(100.0001) <= LONGEST_S / 20


def test_a_burst_is_gathered() -> None:
    """Many records within a turn of the event loop make the next ones wait."""
    linger = Linger(LONGEST_S, busy_per_s=BUSY_PER_S)
    linger.flushed(1, 100.0)
    linger.flushed(200, 100.001)
    assert linger.due_in_s(100.001) == pytest.approx(LONGEST_S)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 10)), max_size=50))
def test_nobody_waits_longer_than_the_longest(flushes: list[tuple[int, float]]) -> None:
    """Whatever was written when, the wait after a flush is never negative nor longer than `longest_s`."""
    linger, now = Linger(LONGEST_S, busy_per_s=BUSY_PER_S), 0.0
    for records, after_s in flushes:
        now += after_s
        linger.flushed(records, now)
        assert -1e-9 <= linger.due_in_s(now) <= LONGEST_S + 1e-9


def test_telemetry_always_waits_the_longest() -> None:
    """Where no rate counts as busy, every flush is followed by the whole linger."""
    linger = Linger(0.1, busy_per_s=0)
    linger.flushed(1, 5.0)
    linger.flushed(1, 500.0)
    assert linger.due_in_s(500.0) == pytest.approx(0.1)
