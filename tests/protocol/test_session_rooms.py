"""Session: entering and leaving rooms."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.protocol.effects import Join, Leave
from gamebus.protocol.frames import Encoding
from tests.protocol.talk import Talk, answer, code_of

ENCODINGS = pytest.mark.parametrize("encoding", Encoding)
ROLES = pytest.mark.parametrize("role", Role)


class TestJoin:
    @ENCODINGS
    @ROLES
    def test_enters_a_room(self, encoding: Encoding, role: Role) -> None:
        """`["join", room]`: enter a room; every role may."""
        talk = Talk(role, encoding=encoding)

        assert talk.say("join", "match/7:zone-1") == [Join("match/7:zone-1", None)]
        assert talk.session.rooms == {"match/7:zone-1"}

    def test_is_answered_each_time(self) -> None:
        """Both may be repeated, and are answered each time."""
        talk = Talk(joined=("a",))

        assert talk.say("join", "a") == [Join("a", None)]
        assert talk.say("join", "a") == [Join("a", None)]

    @pytest.mark.parametrize("operation", ["join", "leave"])
    @pytest.mark.parametrize(
        "fields",
        [[], ["a", "b"], [None], [5], [""], ["no room"], ["é"], ["r" * 129], [["a"]], [{"a": 1}], ["a\n"], ["\ud800"]],
    )
    def test_with_wrong_fields(self, operation: str, fields: list[Any]) -> None:
        """A known operation with missing, extra or wrong fields: `bad_request`, the connection stays."""
        message = answer(Talk().say(operation, *fields))

        assert message[:2] == ["error", "bad_request"]
        assert message[3] == ({"op": operation, "room": "a"} if fields == ["a", "b"] else {"op": operation})

    def test_outside_the_token_is_forbidden(self) -> None:
        """A room outside the token's `rooms` is `error forbidden`."""
        talk = Talk(rooms=("arena:*",))

        message = answer(talk.say("join", "lobby"))

        assert message[:2] == ["error", "forbidden"]
        assert message[3] == {"op": "join", "room": "lobby"}
        assert talk.session.rooms == set()

    def test_at_most_64_rooms(self) -> None:
        """At most `limits.rooms` (64) rooms a connection: `too_large`."""
        talk = Talk(joined=[f"r{number}" for number in range(64)])

        message = answer(talk.say("join", "r64"))

        assert message[:2] == ["error", "too_large"]
        assert message[3] == {"op": "join", "room": "r64"}
        assert talk.say("join", "r0") == [Join("r0", None)]
        talk.say("leave", "r0")
        assert talk.say("join", "r64") == [Join("r64", None)]


class TestLeave:
    def test_leaves_a_room(self) -> None:
        """`["leave", room]`: leave a room."""
        talk = Talk(joined=("a", "b"))

        assert talk.say("leave", "a") == [Leave("a")]
        assert talk.session.rooms == {"b"}
        assert code_of(talk.say("pub", "position", "a", [1, 2, 3, 4])) == "not_joined"

    def test_of_a_room_that_is_not_joined_is_answered(self) -> None:
        """Both may be repeated, and are answered each time."""
        talk = Talk(joined=("a",))
        talk.say("leave", "a")

        assert talk.say("leave", "a") == [Leave("a")]
        assert talk.say("leave", "never") == [Leave("never")]
