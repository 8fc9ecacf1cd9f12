"""Estimates of the gateway's clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_client.clock import ClockOffset


class TestClockOffset:
    def test_nothing_is_known_before_the_first_round_trip(self) -> None:
        """None, rather than the local clock."""
        assert ClockOffset().server_ms(1.0) is None

    @given(
        ahead_ms=st.integers(-(10**6), 10**6),
        trips=st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=8),
    )
    def test_the_estimate_is_off_by_half_the_best_round_trip_at_most(
        self, ahead_ms: int, trips: list[tuple[float, float]]
    ) -> None:
        """Whatever part of a round trip each way took."""
        clock = ClockOffset()
        now = 10.0
        for there, back in trips:
            clock.add(now, now + there + back, round((now + there) * 1000) + ahead_ms)
            now += there + back
        estimate = clock.server_ms(now)
        assert estimate is not None
        best_ms = min(there + back for there, back in trips) * 1000
        # Half a millisecond for the gateway's whole milliseconds.
        assert abs(estimate - now * 1000 - ahead_ms) <= best_ms / 2 + 0.51

    def test_a_new_connection_begins_anew(self) -> None:
        """Another gateway may have another clock."""
        clock = ClockOffset()
        clock.add(0.0, 0.0, 5_000)
        clock.reset()
        clock.add(1.0, 1.2, 90_000)
        assert clock.server_ms(1.1) == pytest.approx(90_000)
