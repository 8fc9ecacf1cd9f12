"""Durations in buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamebus.telemetry.histogram import BOUNDS_S, Distribution, Histogram, quantile


class TestHistogram:
    def test_a_duration_on_a_bound_belongs_below_it(self) -> None:
        """Prometheus' `le` means less or equal."""
        histogram = Histogram()
        histogram.observe(BOUNDS_S[3])
        histogram.observe(BOUNDS_S[3] * 1.01)
        histogram.observe(99.0)

        taken = histogram.snapshot()

        assert (taken.counts[3], taken.counts[4], taken.counts[-1], taken.count) == (1, 1, 1, 3)
        assert taken.sum_s == BOUNDS_S[3] * 2.01 + 99.0


class TestQuantile:
    def test_nothing_has_no_percentile(self) -> None:
        """An idle second is no second of zero latency."""
        assert Distribution().quantile(0.5) is None

    def test_what_is_longer_than_all_bounds_is_the_last_bound(self) -> None:
        """The last bucket has no upper end to interpolate to."""
        histogram = Histogram()
        histogram.observe(60.0)

        assert histogram.snapshot().quantile(0.99) == BOUNDS_S[-1]

    @given(st.lists(st.floats(0.0001, 9.9), min_size=50, max_size=300), st.sampled_from([50, 90, 99]))
    def test_it_lies_in_the_bucket_of_the_true_one(self, durations: list[float], percent: int) -> None:
        """The error of a percentile is at most the width of its bucket."""
        histogram = Histogram()
        for duration in durations:
            histogram.observe(duration)

        found = histogram.snapshot().quantile(percent / 100)

        ranked = sorted(durations)
        true = ranked[min(len(ranked) - 1, max(0, -(-len(ranked) * percent // 100) - 1))]
        upper = next(bound for bound in BOUNDS_S if true <= bound)
        lower = max((bound for bound in BOUNDS_S if bound < true), default=0.0)
        assert found is not None
        assert lower <= found <= upper

    def test_processes_add_up(self) -> None:
        """The percentile of a fleet is that of all durations together, not the mean of percentiles."""
        fast, slow = Histogram(), Histogram()
        for _ in range(99):
            fast.observe(0.001)
        slow.observe(2.0)

        together = [a + b for a, b in zip(fast.snapshot().counts, slow.snapshot().counts, strict=True)]

        assert (quantile(together, 0.5) or 0) <= 0.001
        assert (quantile(together, 0.995) or 0) > 1.0
