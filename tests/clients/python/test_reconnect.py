"""Close codes and back-off."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_client.reconnect import BASE_S, CAP_S, STABLE_S, Backoff, is_terminal


class TestCloseCodes:
    @pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013, 3000, *range(4000, 4500, 7), 4499])
    def test_worth_another_connection(self, code: int) -> None:
        """4000-4499 and transport losses."""
        assert not is_terminal(code)

    @pytest.mark.parametrize("code", [4500, 4501, 4502, 4503, 4504, 4999, 1007, 1009])
    def test_terminal(self, code: int) -> None:
        """4500-4999, and messages that cannot pass."""
        assert is_terminal(code)


class TestBackoff:
    @given(seed=st.integers(), attempts=st.integers(1, 40))
    def test_full_jitter_between_zero_and_a_doubling_ceiling(self, seed: int, attempts: int) -> None:
        """250 ms doubles to 15 s, and each delay is anywhere below its ceiling."""
        backoff = Backoff(Random(seed))
        for attempt in range(attempts):
            assert 0 <= backoff.next_delay(0.0) <= min(CAP_S, BASE_S * 2**attempt)

    def test_resets_only_after_a_connection_that_lasted(self) -> None:
        """A gateway that accepts and drops at once is not hammered."""
        backoff = Backoff(Random(1))
        for _ in range(3):
            backoff.next_delay(0.0)
        backoff.opened(100.0)
        backoff.next_delay(100.0 + STABLE_S - 0.1)
        assert backoff.attempt == 4
        backoff.opened(200.0)
        backoff.next_delay(200.0 + STABLE_S)
        assert backoff.attempt == 1

    def test_never_before_the_gateway_asked(self) -> None:
        """`reconnect_ms` and `Retry-After` are the least, and the jitter comes on top."""
        delays = [Backoff(Random(seed)).next_delay(0.0, at_least_s=2.0) for seed in range(50)]
        assert all(2.0 <= delay <= 2.0 + BASE_S for delay in delays)
        assert len(set(delays)) > 40
