"""When positions are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.schedule import Due, Schedule


class TestSchedule:
    @given(bots=st.integers(1, 30), rate_hz=st.floats(0.5, 60), polls=st.lists(st.floats(0, 0.5), max_size=30))
    def test_does_not_depend_on_when_it_is_asked(self, bots: int, rate_hz: float, polls: list[float]) -> None:
        """Send i of bot k is planned at (i + k / n) / rate, however late it is asked for: nothing is skipped or moved."""
        schedule = Schedule(bots, rate_hz=rate_hz, start_s=100.0)
        now_s = 100.0
        given_out: list[Due] = []
        for poll in polls:
            now_s += poll
            given_out += schedule.due(now_s)
        for number, due in enumerate(given_out):
            assert (due.cycle, due.bot) == divmod(number, bots)
            assert due.planned_s == pytest.approx(100.0 + (due.cycle + due.bot / bots) / rate_hz)
            assert due.planned_s <= now_s
        assert schedule.next_s > now_s or not polls

    def test_a_late_start_is_caught_up(self) -> None:
        """After a stall every missed send is due at its planned time: the stall is in the latency, not hidden."""
        schedule = Schedule(2, rate_hz=10, start_s=0.0)
        due = list(schedule.due(0.99))
        assert len(due) == 20
        assert [one.planned_s for one in due[:3]] == [0.0, 0.05, 0.1]

    def test_ends_before_its_end(self) -> None:
        """What is planned before the end is due however late it is asked for, and nothing else."""
        schedule = Schedule(2, rate_hz=10, start_s=0.0)
        assert len(list(schedule.due(99.0, until_s=1.0))) == 20
        assert schedule.next_s == 1.0
