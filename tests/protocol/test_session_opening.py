"""Session: hello, the deadline for it, and what ends a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.events import MAX_INTEGER
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode
from gamebus.protocol.effects import Close, Join, Open, Send
from gamebus.protocol.frames import Encoding
from gamebus.protocol.limits import Limits
from gamebus.protocol.session import State
from tests.protocol.talk import HOUR_MS, START_MS, Talk, answer, answers, closed, code_of

ENCODINGS = pytest.mark.parametrize("encoding", Encoding)


class TestHello:
    @ENCODINGS
    def test_opens_the_connection(self, encoding: Encoding) -> None:
        """`["welcome", session, player, info]`: the connection is open."""
        effects = Talk(encoding=encoding, hello=False).say("hello", "good")

        info = {
            "server_ms": START_MS,
            "expires_ms": START_MS + HOUR_MS,
            "ping_interval_ms": 10_000,
            "limits": {
                "frame_bytes": 65_536,
                "batch": 256,
                "rooms": 64,
                "per_second": {"position": 60, "heartbeat": 5, "kill": 1000, "death": 1000, "chat": 10},
            },
            "types": {
                "position": "at-most-once",
                "heartbeat": "at-most-once",
                "kill": "at-least-once",
                "death": "at-least-once",
                "chat": "at-least-once",
            },
        }
        assert effects == [
            Open(Claims("alice", Role.PLAYER, START_MS + HOUR_MS, None), ""),
            Send(["welcome", "s-1", "alice", info]),
        ]

    def test_options_name_the_client(self) -> None:
        """`options` may be left out: map with `client` (name/version, string)."""
        effects = Talk(hello=False).say("hello", "good", {"client": "arena/1.2"})

        assert isinstance(effects[0], Open)
        assert effects[0].client_name == "arena/1.2"

    def test_a_long_client_name_is_no_reason_to_refuse(self) -> None:
        """The name is for logs, so it is shortened."""
        effects = Talk(hello=False).say("hello", "good", {"client": "x" * 5_000})

        assert isinstance(effects[0], Open)
        assert effects[0].client_name == "x" * 64

    @pytest.mark.parametrize(
        "message",
        [
            pytest.param(["hello"], id="no token"),
            pytest.param(["hello", None], id="null token"),
            pytest.param(["hello", 5], id="token no string"),
            pytest.param(["hello", "\ud800"], id="token with a lone surrogate"),
            pytest.param(["hello", "good", None], id="null options"),
            pytest.param(["hello", "good", []], id="options no map"),
            pytest.param(["hello", "good", {}, 1], id="extra element"),
            pytest.param(["hello", "good", {"client": 5}], id="client no string"),
            pytest.param(["hello", "good", {"client": "\udfff"}], id="client with a lone surrogate"),
            pytest.param(["hello", "good", {"resume": ["arena:1"]}], id="resume no map"),
            pytest.param(["hello", "good", {"resume": None}], id="null resume"),
            pytest.param(["hello", "good", {"resume": {"no room": "c"}}], id="bad room name in resume"),
            pytest.param(["hello", "good", {"resume": {"arena:1": "c", "": "c"}}], id="empty room name in resume"),
            pytest.param(["hello", "good", {"resumes": {}}], id="unknown option"),
        ],
    )
    def test_malformed(self, message: list[Any]) -> None:
        """Malformed `hello`: 4500. In `resume`, a bad room name is a malformed `hello`."""
        talk = Talk(hello=False)

        effects = talk.say(*message)

        assert [closed(effects), len(effects)] == [CloseCode.PROTOCOL_VIOLATION, 1]

    @pytest.mark.parametrize("key", [b"\x01", b"\xc0", b"\x90", b"\x80", b"\xc4\x01a"])
    @pytest.mark.parametrize("head", [b"\x93\xa5hello\xa4good\x81", b"\x93\xa5hello\xa4good\x81\xa6resume\x81"])
    def test_malformed_by_keys_that_are_no_strings(self, head: bytes, key: bytes) -> None:
        """A value outside the allowed set is `bad_request` elsewhere: in `hello`, malformed."""
        assert closed(Talk(encoding=Encoding.MSGPACK, hello=False).frame(head + key + b"\x01")) == 4500

    @pytest.mark.parametrize(("token", "code"), [("old", 4010), ("forged", 4502), ("", 4502)])
    def test_refused_token(self, token: str, code: int) -> None:
        """4010: token expired (also in `hello`): reconnect with a fresh one. 4502: bad token."""
        effects = Talk(hello=False).say("hello", token)

        assert [closed(effects), len(effects)] == [code, 1]

    def test_form_comes_before_the_token(self) -> None:
        """Checks come in this order: form first."""
        assert closed(Talk(hello=False).say("hello", "forged", 1)) == CloseCode.PROTOCOL_VIOLATION

    def test_second_is_refused(self) -> None:
        """A second `hello`: `bad_request`, the connection stays."""
        talk = Talk()

        assert answer(talk.say("hello", "good"))[1] == "bad_request"
        assert answer(talk.say("hello", "good"))[3] == {"op": "hello"}
        assert talk.session.state is State.OPEN

    @pytest.mark.parametrize("expires_ms", [MAX_INTEGER + 1, 10**30])
    @ENCODINGS
    def test_a_token_that_never_ends(self, encoding: Encoding, expires_ms: int) -> None:
        """`expires_ms` is an integer that both encodings carry, and no timer is set for more than an hour."""
        talk = Talk(encoding=encoding, hello=False)
        talk.tokens["good"] = Claims("alice", Role.PLAYER, expires_ms)

        welcome = answers(talk.say("hello", "good"))[0]

        assert welcome[3]["expires_ms"] == MAX_INTEGER
        assert talk.session.deadline == talk.now + 3600
        assert talk.wait(3600) == []
        assert talk.session.deadline == talk.now + 3600


class TestAdmission:
    def test_who_is_not_admitted_learns_when_to_come_back(self) -> None:
        """4003 with a wait of its own, before any room is joined."""
        talk = Talk(hello=False, wait_ms=1234)
        (close,) = talk.say("hello", "good", {"resume": {"arena": "cursor"}})
        assert isinstance(close, Close)
        assert (close.code, close.reconnect_ms) == (CloseCode.TOO_MANY_CONNECTIONS, 1234)
        assert talk.session.state is State.CLOSED

    def test_who_has_no_token_takes_nobodys_place(self) -> None:
        """Strangers are refused before they are admitted."""
        (close,) = Talk(hello=False, wait_ms=1).say("hello", "bad")
        assert isinstance(close, Close)
        assert close.code == CloseCode.BAD_TOKEN


class TestResume:
    def test_joins_those_rooms(self) -> None:
        """`hello` with `resume` joins those rooms: `welcome`, then for each room `joined`, the missed events in order, ..."""
        talk = Talk(hello=False)

        effects = talk.say("hello", "good", {"resume": {"b": "cursor-b", "a": "cursor-a"}})

        assert [type(effect) for effect in effects] == [Open, Send, Join, Join]
        assert effects[2:] == [Join("b", "cursor-b"), Join("a", "cursor-a")]
        assert talk.session.rooms == {"a", "b"}

    @pytest.mark.parametrize("cursor", [None, 5, "", "c" * 201, "é", "\ud800", [], {"a": 1}, True])
    def test_a_bad_cursor_is_not_recovered(self, cursor: Any) -> None:
        """A bad cursor is `recovered` false, so it reaches the hub as one that nobody can have written."""
        effects = Talk(hello=False).say("hello", "good", {"resume": {"a": cursor}})

        assert effects[2:] == [Join("a", "")]

    @pytest.mark.parametrize("cursor", [b"\xc4\x01a", b"\xd4\x05\x00", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"])
    def test_a_cursor_of_msgpack_only_is_not_recovered(self, cursor: bytes) -> None:
        """A bad cursor is `recovered` false, whatever it is."""
        talk = Talk(encoding=Encoding.MSGPACK, hello=False)

        effects = talk.frame(b"\x93\xa5hello\xa4good\x81\xa6resume\x81\xa1a" + cursor)

        assert effects[2:] == [Join("a", "")]

    def test_a_forbidden_room_is_an_error(self) -> None:
        """In `resume`, a forbidden room is `error forbidden`."""
        talk = Talk(rooms=("a", "c"), hello=False)

        effects = talk.say("hello", "good", {"resume": {"a": "x", "b": "x", "c": "x"}})

        assert [type(effect) for effect in effects] == [Open, Send, Join, Send, Join]
        assert answers(effects)[1][:2] == ["error", "forbidden"]
        assert answers(effects)[1][3] == {"op": "hello", "room": "b"}
        assert talk.session.rooms == {"a", "c"}

    def test_more_rooms_than_the_limit_are_errors(self) -> None:
        """At most `limits.rooms` (64) rooms a connection: `too_large`."""
        talk = Talk(hello=False)

        effects = talk.say("hello", "good", {"resume": {f"r{number}": "x" for number in range(66)}})

        assert sum(isinstance(effect, Join) for effect in effects) == 64
        assert [message[1] for message in answers(effects)[1:]] == ["too_large", "too_large"]

    def test_refusals_of_a_resume_can_flood(self) -> None:
        """More than 1,000 refused messages within 5 s close with 4004, wherever they come from."""
        talk = Talk(rooms=(), hello=False)

        effects = talk.say("hello", "good", {"resume": {f"r{number}": "x" for number in range(2_000)}})

        assert closed(effects) == CloseCode.FLOODING
        assert talk.session.statistics().refused == {"forbidden": 1_001}


class TestFirstMessage:
    @ENCODINGS
    @pytest.mark.parametrize(
        "message",
        [
            ["ping", 1],
            ["join", "a"],
            ["token", "good"],
            ["pub", "position", "a", [1, 2, 3, 4]],
            ["batch", []],
            ["x"],
            [1],
        ],
    )
    def test_is_hello(self, encoding: Encoding, message: list[Any]) -> None:
        """Anything but `hello` first: 4500."""
        assert closed(Talk(encoding=encoding, hello=False).say(*message)) == CloseCode.PROTOCOL_VIOLATION

    def test_is_due_within_5_s(self) -> None:
        """First message, due within 5 s. 4504: no `hello` in time."""
        talk = Talk(hello=False)
        assert talk.session.deadline == talk.now + 5

        assert talk.wait(4.9) == []
        assert talk.wait(0.1) == [Close(CloseCode.NO_HELLO, "no hello within 5 s", None)]
        assert talk.session.deadline is None

    def test_in_time_stops_that_clock(self) -> None:
        """After `hello` only the token's expiry counts."""
        talk = Talk(hello=False)
        talk.wait(4.9)
        talk.say("hello", "good")

        assert talk.wait(60) == []


class TestViolation:
    @pytest.mark.parametrize(
        "text",
        ["{}", "[]", "5", "nonsense", "[NaN]", "[5]", "[null]", '[["pub"]]', '["PUB"]', '["pub "]', '["welcome"]'],
    )
    def test_of_json(self, text: str) -> None:
        """Undecodable frame, not an array, empty, operation unknown or not a string: 4500."""
        assert closed(Talk().frame(text)) == CloseCode.PROTOCOL_VIOLATION

    @pytest.mark.parametrize(
        "payload", [b"\x80", b"\x90", b"\x05", b"\xc1", b"\x91\xc4\x03pub", b"\x91\x90", b"\x91\xa1x", b""]
    )
    def test_of_msgpack(self, payload: bytes) -> None:
        """Undecodable frame, not an array, empty, operation unknown or not a string: 4500."""
        assert closed(Talk(encoding=Encoding.MSGPACK).frame(payload)) == CloseCode.PROTOCOL_VIOLATION

    def test_frame_of_the_wrong_kind(self) -> None:
        """A frame of the wrong kind: 4500."""
        assert closed(Talk(encoding=Encoding.JSON).frame(b'["ping",1]')) == CloseCode.PROTOCOL_VIOLATION
        assert closed(Talk(encoding=Encoding.MSGPACK).frame('["ping",1]')) == CloseCode.PROTOCOL_VIOLATION

    def test_tells_the_client_not_to_come_back(self) -> None:
        """`reconnect_ms` null where the client must not come back."""
        effect = Talk().frame("{}")[0]

        assert isinstance(effect, Close)
        assert effect.reconnect_ms is None
        assert effect.message

    def test_close_is_the_last_effect(self) -> None:
        """What still arrives on a closed connection is ignored."""
        talk = Talk()
        talk.frame("nonsense")

        assert talk.say("ping", 1) == []
        assert talk.frame("nonsense") == []
        assert talk.wait(1e6) == []
        assert talk.session.state is State.CLOSED


class TestExpiry:
    def test_closes_after_the_leeway(self) -> None:
        """4010: token expired. `exp` has a leeway of 5 s."""
        talk = Talk()

        assert talk.session.deadline == talk.now + 3600
        assert talk.wait(3600) == []
        effects = talk.wait(5)

        assert closed(effects) == CloseCode.TOKEN_EXPIRED
        assert isinstance(effects[0], Close)
        assert effects[0].reconnect_ms is not None

    def test_follows_the_wall_clock(self) -> None:
        """`exp` is a time of day: a clock that was set back keeps the connection, until the time has come."""
        talk = Talk()
        talk.now_ms -= 60_000

        assert talk.wait(3600) == []
        assert talk.wait(5) == []
        assert talk.session.deadline == talk.now + 60
        assert closed(talk.wait(60)) == CloseCode.TOKEN_EXPIRED

    def test_a_token_within_its_leeway_opens_and_expires(self) -> None:
        """A token that only the leeway lets in is not good for longer than that."""
        talk = Talk(hello=False)
        talk.tokens["good"] = Claims("alice", Role.PLAYER, START_MS - 3_000)
        talk.say("hello", "good")

        assert talk.session.deadline == talk.now + 2


class TestRefresh:
    def test_extends_the_connection(self) -> None:
        """`["token", expires_ms]`: the refresh was accepted."""
        talk = Talk()
        talk.tokens["new"] = Claims("alice", Role.PLAYER, START_MS + 2 * HOUR_MS)

        effects = talk.say("token", "new")

        assert answers(effects) == [["token", START_MS + 2 * HOUR_MS]]
        assert talk.wait(3600) == []
        assert talk.wait(3599) == []
        assert closed(talk.wait(10)) == CloseCode.TOKEN_EXPIRED

    @pytest.mark.parametrize("token", ["forged", "old"])
    def test_an_invalid_one_keeps_the_old_expiry(self, token: str) -> None:
        """An invalid one is `error bad_token` and the old expiry stands."""
        talk = Talk()
        deadline = talk.session.deadline

        assert answer(talk.say("token", token))[:2] == ["error", "bad_token"]
        assert talk.session.deadline == deadline
        assert talk.session.claims == talk.tokens["good"]

    def test_for_another_player_closes(self) -> None:
        """`token` on an open connection: another `sub` closes with 4503."""
        talk = Talk()
        talk.tokens["bob"] = Claims("bob", Role.PLAYER, START_MS + HOUR_MS)

        effects = talk.say("token", "bob")

        assert [closed(effects), len(effects)] == [CloseCode.FORBIDDEN, 1]

    @pytest.mark.parametrize("fields", [[], ["good", 1], [None], [5], ["\ud800"], [["good"]]])
    def test_with_wrong_fields(self, fields: list[Any]) -> None:
        """A known operation with missing, extra or wrong fields: `bad_request`, the connection stays."""
        assert answer(Talk().say("token", *fields))[1:] == ["bad_request", "token takes one string", {"op": "token"}]

    def test_new_rooms_apply_at_once(self) -> None:
        """New `role` and `rooms` apply at once, rooms no longer allowed are `left`."""
        talk = Talk(joined=("arena:1", "arena:2", "lobby"))
        talk.tokens["new"] = Claims("alice", Role.PLAYER, START_MS + HOUR_MS, ("lobby",))

        effects = talk.say("token", "new")

        assert [type(effect).__name__ for effect in effects] == ["Refresh", "Send", "Leave", "Leave"]
        assert talk.session.rooms == {"lobby"}
        assert code_of(talk.say("join", "arena:1")) == "forbidden"
        assert code_of(talk.say("pub", "position", "arena:1", [1, 2, 3, 4])) == "forbidden"
        assert len(talk.say("pub", "position", "lobby", [1, 2, 3, 4])) == 1

    def test_new_role_applies_at_once(self) -> None:
        """New `role` and `rooms` apply at once."""
        talk = Talk(joined=("a",))
        talk.say("pub", "position", "a", [1, 2, 3, 4])
        talk.tokens["new"] = Claims("alice", Role.SPECTATOR, START_MS + HOUR_MS)
        talk.say("token", "new")

        assert talk.session.rooms == {"a"}
        assert code_of(talk.say("pub", "position", "a", [2, 2, 3, 4])) == "forbidden"

        talk.tokens["newer"] = Claims("alice", Role.SERVER, START_MS + HOUR_MS)
        talk.say("token", "newer")

        assert code_of(talk.say("pub", "position", "a", [1, 2, 3, "x"])) == "bad_data"
        assert len(talk.say("pub", "kill", "b", {"killer": "a", "victim": "b", "weapon": "w", "at_ms": 1}, "1")) == 1

    def test_gives_no_new_rate(self) -> None:
        """Refreshing the token does not refill the rates."""
        talk = Talk(joined=("a",))
        for seq in range(120):
            talk.say("pub", "position", "a", [seq, 2, 3, 4])
        talk.say("token", "good")

        assert code_of(talk.say("pub", "position", "a", [500, 2, 3, 4])) == "rate_limited"


class TestPing:
    @ENCODINGS
    @pytest.mark.parametrize("t", [0, -5, 1.5, MAX_INTEGER, -MAX_INTEGER, "", "x" * 64, "é☂"])
    def test_is_answered(self, encoding: Encoding, t: float | str) -> None:
        """`["pong", t, server_ms]`: answer to `ping`; `t`: number or string of up to 64 characters."""
        assert answer(Talk(encoding=encoding).say("ping", t)) == ["pong", t, START_MS]

    @pytest.mark.parametrize(
        "fields",
        [[], [1, 2], [None], [True], [[1]], [{}], ["x" * 65], ["\ud800"], [MAX_INTEGER + 1], [10**5000], [1e999]],
    )
    def test_with_wrong_fields(self, fields: list[Any]) -> None:
        """A value outside the allowed set is `bad_request` outside `data`."""
        text = "[" + ",".join(['"ping"', *(_json(field) for field in fields)]) + "]"
        effects = Talk().frame(text)

        assert answer(effects)[:2] == ["error", "bad_request"]
        assert answer(effects)[3] == {"op": "ping"}

    @pytest.mark.parametrize(
        "t", [b"\xc4\x01a", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcf" + b"\xff" * 8, b"\xd4\x01\x00"]
    )
    def test_with_values_of_msgpack_only(self, t: bytes) -> None:
        """A value outside the allowed set is `bad_request` outside `data`."""
        assert code_of(Talk(encoding=Encoding.MSGPACK).frame(b"\x92\xa4ping" + t)) == "bad_request"

    def test_at_most_10_a_second(self) -> None:
        """Application-level round trip, at most 10 a second (bursts of twice the rate): over it `error rate_limited`."""
        talk = Talk()

        replies = [answer(talk.say("ping", number))[0] for number in range(21)]
        assert replies == ["pong"] * 20 + ["error"]
        talk.wait(0.1)

        assert answer(talk.say("ping", 1))[0] == "pong"
        assert answer(talk.say("ping", 1))[1] == "rate_limited"


class TestLimits:
    def test_are_told_in_the_welcome(self) -> None:
        """`limits` (`frame_bytes`, `batch`, `rooms`, ...) and `ping_interval_ms` are what this gateway keeps."""
        talk = Talk(limits=Limits(frame_bytes=1, batch=2, rooms=3, ping_interval_ms=4), hello=False)

        info = answers(talk.say("hello", "good"))[0][3]

        assert info["ping_interval_ms"] == 4
        assert [info["limits"][name] for name in ("frame_bytes", "batch", "rooms")] == [1, 2, 3]

    def test_time_for_hello(self) -> None:
        """The hello timeout is a limit of the gateway."""
        talk = Talk(limits=Limits(hello_timeout_ms=250), hello=False)

        assert closed(talk.wait(0.25)) == CloseCode.NO_HELLO


def _json(value: Any) -> str:
    if type(value) is int and abs(value) > MAX_INTEGER:
        return "1" + "0" * 5_000
    return "1e999" if value == float("inf") else json.dumps(value)
