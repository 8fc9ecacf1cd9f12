"""When players come, and how time runs in bursts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.scenario import Burst, Scenario, Stage
from gamebus_bots.timeline import Pace, Timeline


class TestTimeline:
    def test_everyone_is_there_without_ramp(self) -> None:
        """From the beginning; the warm-up comes before the measured time."""
        timeline = Timeline(Scenario(players=4, rooms=1, duration_s=10, warm_up_s=3))
        assert [timeline.comes_at_s(rank) for rank in range(4)] == [0.0] * 4
        assert (timeline.measured_from_s, timeline.ends_s) == (3.0, 13.0)

    def test_a_ramp_is_even(self) -> None:
        """One after the other, all there at its end, before the warm-up."""
        timeline = Timeline(Scenario(players=4, rooms=1, duration_s=10, warm_up_s=3, ramp_s=2))
        assert [timeline.comes_at_s(rank) for rank in range(4)] == [0.5, 1.0, 1.5, 2.0]
        assert timeline.measured_from_s == 5.0
        assert [timeline.expected(at_s) for at_s in (0, 1, 2, 9)] == [0, 2, 4, 4]

    def test_stages_are_parts_of_the_duration(self) -> None:
        """A first level, a way up, a plateau."""
        stages = (Stage(part=1, players=0.5), Stage(part=2, players=1.0), Stage(part=1, players=1.0))
        timeline = Timeline(Scenario(players=4, rooms=1, duration_s=8, warm_up_s=0, stages=stages))
        assert [timeline.comes_at_s(rank) for rank in range(4)] == [0.0, 0.0, 4.0, 6.0]
        assert [timeline.expected(at_s) for at_s in (1, 4, 6, 8)] == [2, 3, 4, 4]

    @given(
        players=st.integers(1, 40),
        ramp_s=st.floats(0, 10),
        shares=st.lists(st.floats(0.1, 1), min_size=1, max_size=4),
    )
    def test_as_many_are_expected_as_have_come(self, players: int, ramp_s: float, shares: list[float]) -> None:
        """Both ways of asking agree, and nobody comes before another of a lower number."""
        stages = tuple(Stage(players=share) for share in sorted(shares))
        timeline = Timeline(Scenario(players=players, rooms=1, duration_s=10, ramp_s=ramp_s, stages=stages))
        comes = [timeline.comes_at_s(rank) for rank in range(players)]
        assert comes == sorted(comes)
        assert sum(at_s <= timeline.ends_s for at_s in comes) == pytest.approx(
            timeline.expected(timeline.ends_s), abs=1
        )


class TestPace:
    def test_without_bursts_it_is_the_time(self) -> None:
        """Unchanged."""
        assert Pace(None).time_s(7.25) == 7.25

    def test_a_burst_runs_faster(self) -> None:
        """Eight quiet seconds, then six seconds' load in two."""
        pace = Pace(Burst(every_s=10, for_s=2, factor=3))
        assert [pace.time_s(load) for load in (0, 8, 11, 14, 22)] == [0, 8, 9, 10, 18]

    @given(loads=st.lists(st.floats(0, 1000), max_size=20), factor=st.floats(0.1, 20))
    def test_never_runs_backwards(self, loads: list[float], factor: float) -> None:
        """Planned times keep the order of the load."""
        pace = Pace(Burst(every_s=5, for_s=1, factor=factor))
        times = [pace.time_s(load) for load in sorted(loads)]
        assert times == pytest.approx(sorted(times))
