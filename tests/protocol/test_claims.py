"""What a token allows."""

from __future__ import annotations

import pytest

from gamebus.catalog import Role
from gamebus.protocol.claims import Claims


class TestAllows:
    @pytest.mark.parametrize(
        ("rooms", "room", "allowed"),
        [
            (None, "arena:1", True),
            ((), "arena:1", False),
            (("arena:1",), "arena:1", True),
            (("arena:1",), "arena:10", False),
            (("arena:*",), "arena:10", True),
            (("arena:*",), "arena:", True),
            (("arena:*",), "lobby", False),
            (("lobby", "arena:*"), "lobby", True),
            (("*",), "anything", True),
            (("a*c",), "abc", False),
        ],
    )
    def test_rooms_of_a_token(self, rooms: tuple[str, ...] | None, room: str, *, allowed: bool) -> None:
        """`rooms` optional list of allowed rooms (exact or with a trailing `*`; absent: all; empty: none)."""
        assert Claims("alice", Role.PLAYER, 0, rooms).allows(room) is allowed
