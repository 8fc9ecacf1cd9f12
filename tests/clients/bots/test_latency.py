"""Latency histograms and sampling."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.latency import Latency, Sampler


class TestLatency:
    def test_percentiles_within_one_percent(self) -> None:
        """p50 and p99 of known samples, in milliseconds."""
        latency = Latency()
        for microseconds in range(1, 10_001):
            latency.record(microseconds / 1e6)
        p50, p99 = latency.percentiles_ms()
        assert p50 == pytest.approx(5.0, rel=0.01)
        assert p99 == pytest.approx(9.9, rel=0.01)
        assert len(latency) == 10_000

    def test_without_samples_there_is_no_figure(self) -> None:
        """None, not a flattering 0."""
        assert Latency().percentiles_ms() == (None, None)

    def test_what_is_out_of_range_is_clipped_and_counted(self) -> None:
        """hdrhistogram would drop it silently, and a run with stalls would look fast."""
        latency = Latency()
        latency.record(-0.001)
        latency.record(1000.0)
        assert latency.clipped == 2
        assert len(latency) == 2
        assert latency.percentiles_ms()[1] == pytest.approx(60_000, rel=0.01)


class TestSampler:
    @given(counts=st.lists(st.integers(0, 60), max_size=50))
    def test_a_stride_of_one_picks_everything(self, counts: list[int]) -> None:
        """Small runs are measured completely."""
        sampler = Sampler(1, Random(1))
        assert [sampler.pick(count) for count in counts] == [list(range(count)) for count in counts]

    @given(seed=st.integers(0, 100), stride=st.integers(2, 50))
    def test_a_larger_one_picks_its_share_everywhere(self, seed: int, stride: int) -> None:
        """One of `stride` on average, and no index of a tick is left out."""
        sampler = Sampler(stride, Random(seed))
        picked = [index for _ in range(4000) for index in sampler.pick(10)]
        assert len(picked) == pytest.approx(40_000 / stride, rel=0.2)
        assert set(picked) == set(range(10))
