"""The arena's event types."""

from __future__ import annotations

from importlib.resources import files

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus_arena.config import EVENT_TYPES


class TestCatalog:
    def test_adds_durable_types_that_share_an_order(self) -> None:
        """Shots and what the game server decides are durable and travel in one topic; only the server may decide."""
        types = parse_catalog(files("gamebus_arena").joinpath("gamebus.toml").read_text(encoding="utf-8")).types

        assert all(types[name].durable for name in EVENT_TYPES)
        assert types["shot"].topic == types["arena"].topic
        assert types["arena"].roles == {Role.SERVER}
