"""The grid: who stands in which cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.gateway.grid import Grid

coordinates = st.floats(allow_nan=False, allow_infinity=False)
cells = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


class TestGrid:
    def test_a_cell_holds_its_lower_bounds(self) -> None:
        """Also below zero: cells do not overlap and leave no gap."""
        grid = Grid(10.0, 1, (1, 3))

        assert grid.cell_at([1, 0.0, 99.0, 9.9]) == (0, 0)
        assert grid.cell_at([1, 10.0, 99.0, -0.1]) == (1, -1)

    @given(first=coordinates, second=coordinates)
    def test_every_finite_position_has_a_cell(self, first: float, second: float) -> None:
        """However far out, and however small the cells."""
        cell = Grid(0.001, 1, (1, 2)).cell_at([1, first, second, 0.0])
        assert all(abs(number) <= 1 << 30 for number in cell)

    @pytest.mark.parametrize("data", [None, [], [1], [1, "x", 0.0], [1, float("nan"), 0.0], {"x": 1}])
    def test_what_is_no_position_has_none(self, data: object) -> None:
        """Somebody else writes to the topic: an error that the room expects."""
        with pytest.raises((TypeError, LookupError, ValueError)):
            Grid(1.0, 1, (1, 2)).cell_at(data)

    @given(one=cells, other=cells, radius=st.integers(1, 4))
    def test_to_be_around_is_mutual(self, one: tuple[int, int], other: tuple[int, int], radius: int) -> None:
        """Who sees is seen."""
        grid = Grid(1.0, radius, (1, 2))
        assert (one in grid.around(other)) == (other in grid.around(one))
        assert len(set(grid.around(one))) == (2 * radius + 1) ** 2

    def test_nobody_stands_twice(self) -> None:
        """Who moves leaves its cell, and an empty cell is forgotten."""
        grid = Grid(1.0, 1, (1, 2))
        assert grid.put("ann", (0, 0)) is None
        assert grid.put("ann", (5, 5)) == (0, 0)
        assert grid.in_view((0, 0)) == set()
        assert grid.in_view((4, 4)) == {"ann"}
        assert grid.put("ann", None) == (5, 5)
        assert grid.names == set()
        assert not grid._members
