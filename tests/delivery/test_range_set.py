"""Requirements of the bounded set of integers that loss accounting stands on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery.range_set import RangeSet

_VALUES = st.integers(1, 60)
_CHANGES = st.lists(st.tuples(st.sampled_from(["add", "discard"]), _VALUES, st.integers(0, 6)), max_size=40)


def _apply(made: RangeSet, model: set[int], change: tuple[str, int, int]) -> None:
    kind, value, length = change
    if kind == "add":
        made.add(value, value + length)
        model.update(range(value, value + length + 1))
    else:
        assert made.discard(value) == (value in model)
        model.discard(value)


class TestRangeSet:
    @given(changes=_CHANGES, to=_VALUES)
    def test_is_a_set(self, changes: list[tuple[str, int, int]], to: int) -> None:
        """Below its bound it holds exactly what was added and not removed."""
        made, model = RangeSet(max_ranges=100), set[int]()
        for change in changes:
            _apply(made, model, change)

        assert [value for low, high in made.ranges() for value in range(low, high + 1)] == sorted(model)
        assert len(made) == len(model)
        assert bool(made) == bool(model)
        assert made.count(to) == sum(value <= to for value in model)
        assert (to in made) == (to in model)

    @given(changes=_CHANGES)
    def test_neighbours_become_one_range(self, changes: list[tuple[str, int, int]]) -> None:
        """Memory is one range per run of integers."""
        made, model = RangeSet(max_ranges=100), set[int]()
        for change in changes:
            _apply(made, model, change)

        runs = sum(value - 1 not in model for value in model)
        assert len(list(made.ranges())) == runs

    @given(values=st.sets(_VALUES, min_size=1), bound=st.integers(0, 5))
    def test_forgets_the_lowest_and_still_counts_them(self, values: set[int], bound: int) -> None:
        """Past the bound the count stays exact from the floor on."""
        made = RangeSet(bound)
        for value in sorted(values):
            made.add(value)

        assert len(list(made.ranges())) <= bound
        assert len(made) == len(values)
        for to in range(made.floor, 70):
            assert made.count(to) == sum(value <= to for value in values)

    def test_refuses_to_count_what_it_forgot(self) -> None:
        """A count below the floor would be a guess."""
        made = RangeSet(1)
        made.add(1)
        made.add(5)
        with pytest.raises(ValueError, match="from 1 on"):
            made.count(0)

    def test_a_forgotten_member_can_be_discarded_once(self) -> None:
        """A late arrival below the floor is taken for one of those that were forgotten, as often as there are any."""
        made = RangeSet(1)
        made.add(1)
        made.add(5)

        assert made.discard(1)
        assert not made.discard(1)

    @given(changes=_CHANGES, bound=st.integers(1, 8))
    def test_travels_as_a_list(self, changes: list[tuple[str, int, int]], bound: int) -> None:
        """What is encoded is what is decoded, forgotten parts included."""
        made = RangeSet(bound)
        for kind, value, length in changes:
            if kind == "add":
                made.add(value, value + length)
            else:
                made.discard(value)

        again = RangeSet.from_list(made.to_list(), bound)
        assert again.to_list() == made.to_list()
        assert list(again.ranges()) == list(made.ranges())

    @pytest.mark.parametrize("packed", [[1], [0, 0, 1], [0, 0, "1", 2]])
    def test_refuses_other_lists(self, packed: list[int]) -> None:
        """Metadata of a commit may have been written by anybody."""
        with pytest.raises(ValueError, match="range set"):
            RangeSet.from_list(packed)

    @given(values=st.sets(_VALUES), low=_VALUES, length=st.integers(0, 20))
    def test_gaps_are_what_is_not_in_it(self, values: set[int], low: int, length: int) -> None:
        """`gaps` lists the complement within bounds."""
        made = RangeSet(100)
        for value in values:
            made.add(value)

        gaps = [value for part in made.gaps(low, low + length) for value in range(part[0], part[1] + 1)]
        assert gaps == [value for value in range(low, low + length + 1) if value not in values]

    @given(values=st.sets(_VALUES), to=_VALUES)
    def test_take_to_moves_the_lower_part_out(self, values: set[int], to: int) -> None:
        """`take_to` removes and returns what lies at or below its argument."""
        made = RangeSet(100)
        for value in values:
            made.add(value)

        taken = [value for low, high in made.take_to(to) for value in range(low, high + 1)]
        assert taken == sorted(value for value in values if value <= to)
        assert len(made) == sum(value > to for value in values)
