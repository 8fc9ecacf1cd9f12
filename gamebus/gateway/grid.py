"""A plane that is cut into square cells: who stands in which, and who is around.

Pure, and without an opinion on what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, KeysView
from typing import Any, Final

Cell = tuple[int, int]

# Further out all is one cell: no game is that large, and the numbers stay small.
_LIMIT: Final = 1 << 30


class Grid:
    """Who stands in which cell.

    Args:
        cell_size: side of a cell.
        radius: how many cells in each direction belong to the surroundings of one.
        axes: which two elements of a position are its coordinates.
    """

    def __init__(self, cell_size: float, radius: int, axes: tuple[int, int]) -> None:
        self._cell_size = cell_size
        self._first, self._second = axes
        self._steps = [(x, y) for x in range(-radius, radius + 1) for y in range(-radius, radius + 1)]
        self._cells: dict[str, Cell] = {}
        self._members: dict[Cell, dict[str, None]] = {}

    @property
    def names(self) -> KeysView[str]:
        """Everybody who stands somewhere."""
        return self._cells.keys()

    def cell_at(self, position: Any) -> Cell:
        """The cell of a position `[seq, x, y, z, ...]`.

        Raises:
            TypeError, LookupError, ValueError: it is none.
        """
        size = self._cell_size
        first, second = position[self._first] / size, position[self._second] / size
        if math.isnan(first) or math.isnan(second):
            raise ValueError("not a number")
        return math.floor(max(-_LIMIT, min(first, _LIMIT))), math.floor(max(-_LIMIT, min(second, _LIMIT)))

    def around(self, cell: Cell) -> list[Cell]:
        """A cell and its surroundings. Symmetric: a cell is around all that are around it."""
        first, second = cell
        return [(first + x, second + y) for x, y in self._steps]

    def cell_of(self, name: str) -> Cell | None:
        """Where somebody stands; None when nowhere."""
        return self._cells.get(name)

    def in_cell(self, cell: Cell) -> Collection[str]:
        """Who stands in a cell."""
        return self._members.get(cell, {}).keys()

    def in_view(self, cell: Cell) -> set[str]:
        """Who stands in a cell or around it."""
        return {name for near in self.around(cell) for name in self._members.get(near, ())}

    def put(self, name: str, cell: Cell | None) -> Cell | None:
        """Let somebody stand in a cell, or nowhere; returns where it stood before."""
        before = self._cells.get(name)
        if before == cell:
            return before
        if before is not None:
            members = self._members[before]
            del members[name]
            if not members:
                del self._members[before]
        if cell is None:
            self._cells.pop(name, None)
        else:
            self._cells[name] = cell
            self._members.setdefault(cell, {})[name] = None
        return before
