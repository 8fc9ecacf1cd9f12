"""Room types of the catalog file."""

from __future__ import annotations

import re

import pytest

from gamebus.catalog_file import parse_catalog
from gamebus.errors import CatalogError
from gamebus.room_types import DEFAULT, Interest, RoomType, room_type_of

FILE = """
[rooms."battle-*"]
tick_hz = 30
interest = "grid"
cell_size = 50
radius = 2
plane = "xz"

[rooms."battle-royale-*"]
tick_hz = 10

[rooms.lobby]
tick_hz = 5
"""


class TestParse:
    def test_a_table_says_what_its_rooms_are(self) -> None:
        """Tick rate and grid, with the axes of the plane that the game lies in."""
        first = parse_catalog(FILE).rooms[0]

        assert first == RoomType("battle-*", 30, Interest.GRID, 50.0, 2, (1, 3))

    @pytest.mark.parametrize(
        ("table", "rule"),
        [
            ("tick_hz = 61", "tick_hz is an integer of 1..60, not 61"),
            ("tick_hz = true", "tick_hz is an integer of 1..60, not True"),
            ('interest = "some"', "interest is 'all' or 'grid', not 'some'"),
            ('interest = "grid"', "interest = 'grid' needs a cell_size"),
            ('interest = "grid"\ncell_size = 0', "needs a cell_size"),
            ('interest = "grid"\ncell_size = 5\nradius = 0', "radius is an integer of 1..8, not 0"),
            ('interest = "grid"\ncell_size = 5\nplane = "yz"', "plane is 'xy' or 'xz', not 'yz'"),
            ("cell_size = 5", "cell_size is of interest = 'grid'"),
            ("colour = 1", "unknown key 'colour'; known are tick_hz"),
        ],
    )
    def test_a_broken_rule_is_named(self, table: str, rule: str) -> None:
        """File, room type and rule, so that the reader knows what to change."""
        with pytest.raises(CatalogError, match=re.escape(rule)) as refused:
            parse_catalog(f'[rooms."arena-*"]\n{table}\n', file="my.toml")
        assert "catalog my.toml: rooms 'arena-*'" in str(refused.value)

    def test_a_pattern_is_the_beginning_of_a_name(self) -> None:
        """A `*` anywhere else would promise what is not done."""
        with pytest.raises(CatalogError, match="the name of a room"):
            parse_catalog('[rooms."*-arena"]\ntick_hz = 5\n')


class TestRoomTypeOf:
    @pytest.mark.parametrize(
        ("room", "pattern"), [("battle-1", "battle-*"), ("battle-royale-1", "battle-royale-*"), ("lobby", "lobby")]
    )
    def test_the_longest_pattern_counts(self, room: str, pattern: str) -> None:
        """A table for some rooms of a kind goes before that of the kind."""
        assert room_type_of(room, parse_catalog(FILE).rooms).pattern == pattern

    def test_other_rooms_are_as_ever(self) -> None:
        """`all` is the default, and `lobby` is not the beginning of other names."""
        assert room_type_of("lobby-2", parse_catalog(FILE).rooms) is DEFAULT
        assert DEFAULT.interest is Interest.ALL
