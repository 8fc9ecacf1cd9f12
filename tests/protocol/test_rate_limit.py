"""Token bucket."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gamebus.protocol.rate_limit import TokenBucket

RATES = st.floats(0.1, 100_000)
SMALL_RATES = st.floats(0.5, 50)
GAPS = st.lists(st.floats(0, 2), max_size=60)


class TestTokenBucket:
    @given(rate=st.integers(1, 1000), start=st.floats(0, 1e8))
    @example(rate=798, start=8_388_608.0)
    def test_grants_exactly_its_burst_at_once(self, rate: int, start: float) -> None:
        """Bursts of twice the rate, also where the clock has run for months (Hypothesis)."""
        bucket = TokenBucket(rate, 2 * rate)

        granted = [bucket.take(start) for _ in range(2 * rate + 5)]

        assert granted == [True] * (2 * rate) + [False] * 5

    @given(rate=SMALL_RATES, gaps=GAPS)
    def test_never_grants_more_than_burst_and_rate(self, rate: float, gaps: list[float]) -> None:
        """In any span the grants are at most the burst and what the rate adds (Hypothesis)."""
        bucket, now, grants = TokenBucket(rate, 2 * rate), 0.0, list[float]()
        for gap in gaps:
            now += gap
            if bucket.take(now):
                grants.append(now)

        for first, begin in enumerate(grants):
            for last in range(first, len(grants)):
                assert last - first + 1 <= 2 * rate + rate * (grants[last] - begin) + 1.001

    @given(rate=RATES)
    def test_one_who_keeps_to_the_rate_is_never_refused(self, rate: float) -> None:
        """A steady sender at the rate is never refused, however the intervals round (Hypothesis)."""
        bucket = TokenBucket(rate, max(1.0, 2 * rate))

        assert all(bucket.take(1e8 + count / rate) for count in range(300))

    @given(rate=RATES, gaps=GAPS)
    def test_after_the_advised_wait_the_next_take_succeeds(self, rate: float, gaps: list[float]) -> None:
        """A client that waits `retry_ms` as told is not refused again (Hypothesis)."""
        bucket, now = TokenBucket(rate, max(1.0, 2 * rate)), 1e5
        for gap in gaps:
            now += gap / rate
            if not bucket.take(now):
                retry_ms = bucket.retry_after_ms(now)
                assert retry_ms > 0
                now += retry_ms / 1000
                assert bucket.take(now)

    @pytest.mark.parametrize("rate", [0.1, 3, 1000])
    def test_no_wait_is_advised_while_there_are_tokens(self, rate: float) -> None:
        """A full bucket advises no wait."""
        assert TokenBucket(rate, max(1.0, 2 * rate)).retry_after_ms(12.5) == 0
