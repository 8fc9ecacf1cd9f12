"""docs/protocol.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.protocol import cursor, frames
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode, ErrorCode
from gamebus.protocol.effects import Close, Join, Leave, PublishDurable, PublishRealtime
from gamebus.protocol.session import State
from tests.protocol.talk import HOUR_MS, START_MS, Talk, answers

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
TOKEN = "eyJhbGciOiJIUzI1NiIs..."


def section(title: str) -> str:
    """The text below a heading of the second level."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The cells of the last table below a heading."""
    rows = re.findall(r"^\| (.*) \|$", section(title), re.MULTILINE)
    return [row.split(" | ") for row in rows[1:]]


def lines(mark: str) -> list[Any]:
    """All frames of the page that are sent (`>`) or received (`<`)."""
    return [json.loads(line) for line in re.findall(rf"^{mark} (\[.*)$", PAGE, re.MULTILINE)]


class TestTables:
    def test_error_codes(self) -> None:
        """The table of error codes equals the one in the code."""
        assert table("Refusals") == [[f"`{code}`", code.meaning] for code in ErrorCode]

    def test_close_codes(self) -> None:
        """The table of close codes equals the one in the code."""
        expected = [[f"{code:d}", code.meaning, "yes" if code.reconnect else "no"] for code in CloseCode]

        assert table("Close codes") == expected

    def test_event_types(self) -> None:
        """The table of event types equals the built-in catalog."""
        expected = [
            [f"`{kind.name}`", kind.delivery.value, f"{kind.per_second:g}/s", ", ".join(sorted(kind.roles))]
            for kind in parse_catalog().types.values()
        ]

        assert [row[:4] for row in table("Event types")] == expected

    def test_roles(self) -> None:
        """Every role has its row."""
        assert [row[0] for row in table("Roles")] == [f"`{role.value}`" for role in Role]

    def test_length_of_a_cursor(self) -> None:
        """The page names the bound of cursors that the code keeps."""
        assert f"up to {cursor.MAX_CHARACTERS}\ncharacters" in section("Delivery")


class TestExamples:
    def test_the_conversation_is_what_a_session_answers(self) -> None:
        """Every frame of the conversation can be pasted; what the session answers by itself is what the page shows."""
        talk = Talk(hello=False)
        talk.tokens[TOKEN] = Claims("alice", Role.PLAYER, START_MS + HOUR_MS)
        said = re.findall(r"^([<>]) (\[.*)$", section("A conversation"), re.MULTILINE)
        answered, shown = [], []
        for mark, text in said:
            if mark == ">":
                effects = talk.say(*json.loads(text))
                assert effects
                answered += [_without_session_and_time(message) for message in answers(effects)]
            elif json.loads(text)[0] in ("welcome", "error", "pong", "token"):
                shown.append(_without_session_and_time(json.loads(text)))

        assert shown == answered
        assert talk.session.state is State.OPEN

    @pytest.mark.parametrize("message", [message for message in lines(">") if message[0] != "hello"], ids=json.dumps)
    def test_what_is_sent_is_accepted(self, message: list[Any]) -> None:
        """Every frame that the page sends is one that a session takes."""
        talk = Talk(Role.SERVER, sub="alice", joined=("arena:1",))
        talk.tokens[TOKEN] = talk.tokens["good"]

        effects = talk.say(*message)

        assert effects
        assert not [reply for reply in answers(effects) if reply[0] in ("error", "nack")]

    def test_resume(self) -> None:
        """The `hello` with cursors joins."""
        message = next(message for message in lines(">") if "resume" in str(message))
        talk = Talk(hello=False)
        talk.tokens[TOKEN] = talk.tokens["good"]

        assert talk.say(*message)[2:] == [Join("arena:1", "AX8K")]

    @pytest.mark.parametrize("message", lines("<"), ids=lambda message: str(message[0]))
    def test_what_is_received_has_the_shape_that_the_gateway_writes(self, message: list[Any]) -> None:
        """Every frame that the page receives has the elements and keys of the gateway's own."""
        ours = {
            "welcome": frames.welcome("", "", server_ms=0, expires_ms=0, ping_interval_ms=0, limits={}, types={}),
            "joined": frames.joined("", cursor="", players=(), positions=(), tick_hz=20, recovered=None),
            "left": frames.left(""),
            "tick": frames.tick("", 0, ()),
            "event": frames.event("", "", "", 0, None, "", ""),
            "ack": frames.ack("", ""),
            "token": frames.token(0),
            "pong": frames.pong(0, 0),
            "error": frames.error("", "", {}),
            "bye": frames.bye(0, "", 0),
        }[message[0]]

        assert len(message) == len(ours)
        for shown, written in zip(message, ours, strict=True):
            if isinstance(written, dict) and written:
                assert list(shown) == list(written)

    def test_operations_are_all_listed(self) -> None:
        """The page lists every operation of a client, and no other; the session takes exactly these."""
        listed = {match[1] for match in re.finditer(r'^\| `\["(\w+)"', section("What a client sends"), re.MULTILINE)}

        assert listed == {"hello", "join", "leave", "pub", "batch", "ping", "token"}
        for operation in listed:
            assert not any(isinstance(effect, Close) for effect in Talk().say(operation))
        assert isinstance(Talk().say("publish")[0], Close)

    def test_effects_of_the_examples(self) -> None:
        """Between them the examples show every kind of publish, joining and leaving."""
        talk = Talk(Role.SERVER, sub="alice")
        effects = [effect for message in lines(">") if message[0] != "token" for effect in talk.say(*message)]

        assert {PublishRealtime, PublishDurable, Join, Leave} <= {type(effect) for effect in effects}


def _without_session_and_time(message: list[Any]) -> list[Any]:
    match message:
        case ["welcome", _, player, info]:
            return ["welcome", player, info | {"server_ms": START_MS}]
        case ["pong", t, _]:
            return ["pong", t]
    return message
