"""Latency histograms and sampling."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamebus_bots.latency import STATISTICS, Latency, Sampler


class TestLatency:
    def test_percentiles_within_a_thousandth(self) -> None:
        """p50 and p99 of known samples, in milliseconds."""
        latency = Latency()
        for microseconds in range(1, 10_001):
            latency.record(microseconds / 1e6)
        assert latency.statistic_ms("p50") == pytest.approx(5.0, rel=0.001)
        assert latency.statistic_ms("p99") == pytest.approx(9.9, rel=0.001)
        assert latency.statistic_ms("max") == pytest.approx(10.0, rel=0.001)
        assert len(latency) == 10_000

    def test_without_samples_there_is_no_figure(self) -> None:
        """None, not a flattering 0."""
        assert {Latency().statistic_ms(name) for name in STATISTICS} == {None}
        assert Latency().spectrum() == []

    def test_what_is_out_of_range_is_clipped_and_counted(self) -> None:
        """hdrhistogram would drop it silently, and a run with stalls would look fast."""
        latency = Latency()
        latency.record(-0.001)
        latency.record(1000.0)
        assert latency.clipped == 2
        assert len(latency) == 2
        assert latency.statistic_ms("p99") == pytest.approx(60_000, rel=0.001)

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.lists(st.floats(-1, 100), max_size=30), min_size=1, max_size=4))
    def test_parts_add_up_exactly(self, parts: list[list[float]]) -> None:
        """Merged histograms, sent as JSON in between, are the one of all samples: counts, clipped ones and every figure."""
        whole = Latency()
        encoded = []
        for part in parts:
            latency = Latency()
            for sample in part:
                latency.record(sample)
                whole.record(sample)
            encoded.append(json.loads(json.dumps(latency.encoded())))
        merged = Latency.sum(map(Latency.decoded, encoded))
        assert (len(merged), merged.clipped) == (len(whole), whole.clipped)
        assert merged.spectrum() == whole.spectrum()
        for name in STATISTICS:
            assert merged.statistic_ms(name) == whole.statistic_ms(name)

    def test_hgrm_is_in_milliseconds(self) -> None:
        """As HdrHistogram's plotter reads it."""
        latency = Latency()
        latency.record(0.0125)
        lines = latency.hgrm().decode().splitlines()
        assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        assert lines[2].split()[0].startswith("12.5")


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
