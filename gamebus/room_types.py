"""Room types: how often the rooms of a name tick, and what of them each player is sent.

Part of the catalog file::

    [rooms."battle-*"]
    tick_hz = 30
    interest = "grid"
    cell_size = 50.0
    radius = 1
    plane = "xz"

A room has the type of the table that is named as it is, else of the longest `prefix*` that it begins with, else the default: the
gateway's tick rate, everybody sees everybody. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gamebus import events
from gamebus.errors import CatalogError

_KEYS: Final = ("tick_hz", "interest", "cell_size", "radius", "plane")
_GRID_KEYS: Final = ("cell_size", "radius", "plane")
# Where the two coordinates stand in the data of a position: [seq, x, y, z, ...].
_PLANES: Final = {"xy": (1, 2), "xz": (1, 3)}
_CELL_SIZES: Final = (0.001, 1e9)


class Interest(StrEnum):
    """Whose positions a player is sent."""

    ALL = "all"
    """Those of everybody in the room."""

    GRID = "grid"
    """Those of the players in its own cell and the cells around it."""


@dataclass(frozen=True, slots=True)
class RoomType:
    """How rooms of a name are served."""

    pattern: str
    """The name of a room, or `prefix*`."""

    tick_hz: int | None = None
    """Ticks a second while something moves; None: the gateway's setting."""

    interest: Interest = Interest.ALL
    cell_size: float = 0.0
    """Side of a square cell, in the unit of the game's coordinates. With `grid` only."""

    radius: int = 1
    """How many cells in each direction around its own a player sees."""

    axes: tuple[int, int] = _PLANES["xy"]
    """Which elements of a position are the coordinates of the plane that is cut into cells."""


DEFAULT: Final = RoomType("*")


def parse_room_types(tables: Mapping[str, Any], *, file: str) -> tuple[RoomType, ...]:
    """Room types of the `rooms` tables of a catalog file.

    Raises:
        CatalogError: a rule is broken; the message names file, room type and rule.
    """
    return tuple(_room_type(pattern, table, file=file) for pattern, table in tables.items())


def room_type_of(room: str, types: tuple[RoomType, ...]) -> RoomType:
    """The type of a room."""
    fitting = [
        kind
        for kind in types
        if kind.pattern == room or (kind.pattern.endswith("*") and room.startswith(kind.pattern[:-1]))
    ]
    # A room may not be named with `*`, so the same length means the exact name against a prefix that leaves out its last letter.
    return max(fitting, key=lambda kind: (len(kind.pattern), not kind.pattern.endswith("*")), default=DEFAULT)


def _room_type(pattern: str, table: Any, *, file: str) -> RoomType:
    def refuse(rule: str) -> CatalogError:
        return CatalogError(f"rooms {pattern!r}: {rule}", file=file)

    name = pattern.removesuffix("*")
    if name and not events.is_room(name):
        raise refuse("the name of a room, or the beginning of names with a * behind it")
    if not isinstance(table, dict):
        raise refuse("is a table")
    for key in table:
        if key not in _KEYS:
            raise refuse(f"unknown key {key!r}; known are {', '.join(_KEYS)}")
    tick_hz = table.get("tick_hz")
    if tick_hz is not None and (type(tick_hz) is not int or not 1 <= tick_hz <= 60):
        raise refuse(f"tick_hz is an integer of 1..60, not {tick_hz!r}")
    interest = table.get("interest", "all")
    if interest not in list(Interest):
        raise refuse(f"interest is 'all' or 'grid', not {interest!r}")
    if interest == Interest.GRID:
        return _grid(pattern, tick_hz, table, refuse)
    for key in _GRID_KEYS:
        if key in table:
            raise refuse(f"{key} is of interest = 'grid'")
    return RoomType(pattern, tick_hz)


def _grid(
    pattern: str, tick_hz: int | None, table: Mapping[str, Any], refuse: Callable[[str], CatalogError]
) -> RoomType:
    cell_size, radius, plane = table.get("cell_size"), table.get("radius", 1), table.get("plane", "xy")
    lowest, highest = _CELL_SIZES
    if isinstance(cell_size, bool) or not isinstance(cell_size, int | float) or not lowest <= cell_size <= highest:
        raise refuse(f"interest = 'grid' needs a cell_size, a number of {lowest:g}..{highest:g}, not {cell_size!r}")
    if type(radius) is not int or not 1 <= radius <= 8:
        raise refuse(f"radius is an integer of 1..8, not {radius!r}")
    if plane not in _PLANES:
        raise refuse(f"plane is 'xy' or 'xz', not {plane!r}")
    return RoomType(pattern, tick_hz, Interest.GRID, float(cell_size), radius, _PLANES[plane])
