"""The search for the largest number of players."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.limit import LimitSearch, Step


def search(most: int, kept: int, *, start: int = 50, bad: Step = Step.CROSSED) -> LimitSearch:
    """Against servers that carry so many."""
    found = LimitSearch(start, most)
    while (players := found.next()) is not None:
        found.tell(players, Step.KEPT if players <= kept else bad)
    return found


class TestLimitSearch:
    @given(kept=st.integers(0, 5000), start=st.integers(1, 500), most=st.integers(500, 5000))
    def test_comes_near_the_limit_in_few_steps(self, kept: int, start: int, most: int) -> None:
        """Within a twentieth, never above it, each count tried once."""
        found = search(most, kept, start=start)
        limit = min(kept, most)
        assert found.limit <= limit
        assert limit - found.limit <= max(1, found.limit * 0.05 + 1)
        assert len(found.tried) == len(set(found.tried)) <= 30
        assert max(found.tried) <= most

    def test_a_saturated_generator_is_no_result(self) -> None:
        """It bounds the search and is told as such."""
        found = search(10_000, 300, bad=Step.SATURATED)
        assert found.over_because is Step.SATURATED
        assert 285 <= found.limit <= 300

    def test_nobody_at_all(self) -> None:
        """Not one player keeps them."""
        found = search(100, 0)
        assert (found.limit, found.over) == (0, 1)
