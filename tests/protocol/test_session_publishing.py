"""Session: publishes, alone and in batches, and the order of their checks."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.events import MAX_INTEGER
from gamebus.protocol import publishing
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode
from gamebus.protocol.effects import Close, PublishDurable, PublishRealtime
from gamebus.protocol.frames import Encoding
from gamebus.protocol.session import State
from tests.protocol.talk import CATALOG, HOUR_MS, POSITION, ROOM, START_MS, Talk, answer, answers, closed, code_of, pack

ENCODINGS = pytest.mark.parametrize("encoding", Encoding)
KILL = {"killer": "alice", "victim": "bob", "weapon": "axe", "at_ms": 5}
CHAT = {"text": "hi"}
STUDIO = parse_catalog(
    """
[types.footstep]
delivery = "at-most-once"
topic = "gamebus.footstep"
rationale = "the next step comes at once"
per_second = 0.5
max_bytes = 16

[types.wave]
delivery = "at-most-once"
topic = "gamebus.wave"
rationale = "nobody misses a wave of a hand"
roles = ["spectator"]

[types.loot]
delivery = "at-least-once"
topic = "gamebus.loot"
per_second = 0.25
max_bytes = 16
"""
)


def player(**options: Any) -> Talk:
    """A player in one room."""
    return Talk(joined=(ROOM,), **options)


def server(**options: Any) -> Talk:
    """A game server that has joined nothing."""
    return Talk(Role.SERVER, sub="match-7", **options)


class TestRealtime:
    @ENCODINGS
    def test_is_published(self, encoding: Encoding) -> None:
        """`["pub", type, room, data]`: publish a realtime event; no reply unless it is refused."""
        effects = player(encoding=encoding).say("pub", "position", ROOM, POSITION)

        assert effects == [PublishRealtime(CATALOG.types["position"], ROOM, "alice", POSITION)]

    def test_with_an_id_is_refused(self) -> None:
        """A realtime type with an id is `bad_request` (`nack` where a valid id can be read)."""
        message = answer(player().say("pub", "position", ROOM, POSITION, "1"))

        assert [message[0], message[1], message[2], message[4]] == ["nack", "1", "bad_request", None]

    def test_null_is_no_id(self) -> None:
        """Only `["pub", type, room, data, id_or_null, player]` may hold null for an id."""
        assert answer(player().say("pub", "position", ROOM, POSITION, None))[:2] == ["error", "bad_request"]

    def test_anyone_may_name_itself(self) -> None:
        """Role `server`; anyone may name itself."""
        effects = player().say("pub", "position", ROOM, POSITION, None, "alice")

        assert effects == [PublishRealtime(CATALOG.types["position"], ROOM, "alice", POSITION)]


class TestDurable:
    @ENCODINGS
    def test_is_published(self, encoding: Encoding) -> None:
        """`["pub", type, room, data, id]`: publish a durable event; answered by `ack` or `nack`."""
        effects = player(encoding=encoding).say("pub", "chat", ROOM, CHAT, "1")

        assert effects == [PublishDurable(CATALOG.types["chat"], ROOM, "alice", "alice", CHAT, "1")]

    def test_without_id_is_refused(self) -> None:
        """A durable type without id is `bad_request`."""
        expected = ["error", "bad_request", "chat is at-least-once and needs an id"]

        assert answer(player().say("pub", "chat", ROOM, CHAT))[:3] == expected
        assert answer(player().say("pub", "chat", ROOM, CHAT, None, "alice"))[:3] == expected

    def test_is_delivered_trimmed(self) -> None:
        """`text` (1..500 code points after trimming, no control characters; delivered trimmed)."""
        effect = player().say("pub", "chat", ROOM, {"text": " \thi\n"}, "1")[0]

        assert isinstance(effect, PublishDurable)
        assert effect.data == {"text": "hi"}

    @pytest.mark.parametrize("id_", ["", "x" * 65, "a\nb", "a\x7f", "\ud800", 5, True, [], {}])
    def test_with_a_bad_id_is_an_error(self, id_: Any) -> None:
        """Event ids: 1..64 characters without control characters. `nack` where a valid id can be read, else `error`."""
        message = answer(player().say("pub", "chat", ROOM, CHAT, id_))

        assert message[:2] == ["error", "bad_request"]
        assert message[3] == {"op": "pub", "type": "chat", "room": ROOM}

    @pytest.mark.parametrize("id_", ["1", "x" * 64, "☂" * 64, "a b/c"])
    def test_ids(self, id_: str) -> None:
        """Event ids: 1..64 characters without control characters."""
        effect = player().say("pub", "chat", ROOM, CHAT, id_)[0]

        assert isinstance(effect, PublishDurable)
        assert effect.id == id_


class TestRoles:
    def test_a_player_publishes_into_joined_rooms(self) -> None:
        """`player`: joins, publishes into rooms it has joined (`not_joined` otherwise)."""
        message = answer(player().say("pub", "position", "elsewhere", POSITION))

        assert message[:2] == ["error", "not_joined"]
        assert message[3] == {"op": "pub", "type": "position", "room": "elsewhere"}

    def test_a_player_publishes_as_itself(self) -> None:
        """As itself only (`forbidden`)."""
        assert code_of(player().say("pub", "position", ROOM, POSITION, None, "bob")) == "forbidden"
        assert answer(player().say("pub", "chat", ROOM, CHAT, "1", "bob"))[:3] == ["nack", "1", "forbidden"]

    @pytest.mark.parametrize("type_", ["kill", "death"])
    def test_a_player_does_not_publish_combat(self, type_: str) -> None:
        """`server`: also publishes `kill` and `death`."""
        assert answer(player().say("pub", type_, ROOM, KILL, "1"))[:3] == ["nack", "1", "forbidden"]

    def test_a_server_publishes_without_joining(self) -> None:
        """`server`: also publishes without joining, `kill` and `death`, and in a player's name."""
        talk = server()

        assert talk.say("pub", "kill", ROOM, KILL, "1") == [
            PublishDurable(CATALOG.types["kill"], ROOM, "match-7", "match-7", KILL, "1")
        ]
        assert talk.say("pub", "chat", ROOM, CHAT, "2", "alice") == [
            PublishDurable(CATALOG.types["chat"], ROOM, "alice", "match-7", CHAT, "2")
        ]
        assert talk.say("pub", "position", "b", POSITION, None, "bob") == [
            PublishRealtime(CATALOG.types["position"], "b", "bob", POSITION)
        ]

    def test_a_server_keeps_to_the_rooms_of_its_token(self) -> None:
        """A room outside the token's `rooms` is `error forbidden`."""
        talk = server(rooms=("arena:*",))

        assert len(talk.say("pub", "position", "arena:1", POSITION)) == 1
        assert code_of(talk.say("pub", "position", "lobby", POSITION)) == "forbidden"
        assert code_of(talk.say("pub", "position", "lobby", POSITION)) == "forbidden"

    def test_a_server_keeps_to_the_rooms_of_its_newest_token(self) -> None:
        """New `role` and `rooms` apply at once, also to rooms that a server published into without joining."""
        talk = server()
        assert len(talk.say("pub", "position", "lobby", [1, 1, 2, 3])) == 1
        talk.tokens["new"] = Claims("match-7", Role.SERVER, START_MS + HOUR_MS, ("arena:*",))
        talk.say("token", "new")

        assert code_of(talk.say("pub", "position", "lobby", [2, 1, 2, 3])) == "forbidden"

    def test_a_server_may_use_more_rooms_than_are_remembered(self) -> None:
        """A server publishes into any number of rooms; what was checked is only remembered for some."""
        talk = server()

        for number in range(publishing.MAX_CHECKED_ROOMS + 5):
            talk.wait(1)
            assert len(talk.say("pub", "position", f"r{number}", POSITION)) == 1

    @pytest.mark.parametrize("type_", list(CATALOG.types))
    def test_a_spectator_publishes_nothing(self, type_: str) -> None:
        """`spectator`: joins and receives; every publish is `forbidden`."""
        talk = Talk(Role.SPECTATOR, joined=(ROOM,))
        id_ = ["1"] if CATALOG.types[type_].durable else []

        assert code_of(talk.say("pub", type_, ROOM, None, *id_)) == "forbidden"

    def test_the_catalog_may_allow_more(self) -> None:
        """Catalog entries may allow more."""
        talk = Talk(Role.SPECTATOR, joined=(ROOM,), catalog=STUDIO)

        assert len(talk.say("pub", "wave", ROOM, "left hand")) == 1
        assert code_of(talk.say("pub", "wave", "elsewhere", "left hand")) == "not_joined"
        assert code_of(player(catalog=STUDIO).say("pub", "wave", ROOM, "left hand")) == "forbidden"


class TestForm:
    @ENCODINGS
    @pytest.mark.parametrize(
        ("fields", "about"),
        [
            ([], {}),
            (["position"], {"type": "position"}),
            (["position", ROOM], {"type": "position", "room": ROOM}),
            (["position", ROOM, POSITION, None, "alice", 1], {"type": "position", "room": ROOM}),
            ([5, ROOM, POSITION], {"room": ROOM}),
            ([None, ROOM, POSITION], {"room": ROOM}),
            ([["position"], ROOM, POSITION], {"room": ROOM}),
            ([{"a": 1}, ROOM, POSITION], {"room": ROOM}),
            (["position", None, POSITION], {"type": "position"}),
            (["position", [ROOM], POSITION], {"type": "position"}),
            (["position", "no room", POSITION], {"type": "position"}),
            (["position", "", POSITION], {"type": "position"}),
            (["position", "r" * 129, POSITION], {"type": "position"}),
            (["position", ROOM, POSITION, None, None], {"type": "position", "room": ROOM}),
            (["position", ROOM, POSITION, None, "no player"], {"type": "position", "room": ROOM}),
            (["position", ROOM, POSITION, None, "p" * 65], {"type": "position", "room": ROOM}),
            (["x" * 65, "no room", POSITION], {}),
        ],
    )
    def test_wrong(self, encoding: Encoding, fields: list[Any], about: dict[str, Any]) -> None:
        """Missing, extra or wrong fields: `bad_request`; `about`: what is known of `op`, `type`, `room`."""
        talk = player(encoding=encoding)

        message = answer(talk.say("pub", *fields))

        assert message[:2] == ["error", "bad_request"]
        assert message[3] == {"op": "pub"} | about
        assert talk.session.state is State.OPEN

    @pytest.mark.parametrize("type_", ["\ud800", "pos\udfffition"])
    def test_a_value_outside_the_allowed_set(self, type_: str) -> None:
        """A value outside the allowed set is `bad_data` inside `data`, `bad_request` elsewhere, and is not sent back."""
        message = answer(player().say("pub", type_, ROOM, POSITION))

        assert message[1] == "bad_request"
        assert message[3] == {"op": "pub", "room": ROOM}

    @pytest.mark.parametrize(
        "fields",
        [
            [5, ROOM, CHAT, "1"],
            ["chat", "no room", CHAT, "1"],
            ["chat", ROOM, CHAT, "1", "no player"],
            ["chat", ROOM, CHAT, "1", "alice", "extra"],
            ["position", ROOM, POSITION, "1"],
        ],
    )
    def test_wrong_with_a_valid_id_is_a_nack(self, fields: list[Any]) -> None:
        """`nack` where a valid id can be read, else `error`."""
        message = answer(player().say("pub", *fields))

        assert message[:3] == ["nack", "1", "bad_request"]
        assert message[4] is None

    def test_unknown_type(self) -> None:
        """Type known: `unknown_type`."""
        message = answer(player().say("pub", "teleport", ROOM, [1]))

        assert message[:2] == ["error", "unknown_type"]
        assert message[3] == {"op": "pub", "type": "teleport", "room": ROOM}
        assert answer(player().say("pub", "teleport", ROOM, [1], "1"))[:3] == ["nack", "1", "unknown_type"]

    def test_a_long_unknown_type_is_not_sent_back(self) -> None:
        """`about` holds what is known, never whatever was sent."""
        message = answer(player().say("pub", "x" * 5_000, ROOM, [1]))

        assert message[1] == "unknown_type"
        assert message[3] == {"op": "pub", "room": ROOM}


class TestOrderOfChecks:
    """Checks come in this order: form, type known, role and token, `not_joined`, `bad_data`, rate."""

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            (["teleport", "no room", None], "bad_request"),
            (["teleport", "other", None], "unknown_type"),
            (["kill", "forbidden-room", None, "1"], "forbidden"),
            (["kill", "lobby", None], "bad_request"),
            (["position", "forbidden-room", None], "forbidden"),
            (["position", "lobby", None, None, "bob"], "forbidden"),
            (["position", "lobby", None], "not_joined"),
            (["position", "arena:1", None], "bad_data"),
        ],
    )
    def test_the_first_failing_check_answers(self, fields: list[Any], code: str) -> None:
        """The first check that fails gives the code, though later ones would fail too."""
        talk = player(rooms=("arena:*", "lobby"))

        assert code_of(talk.say("pub", *fields)) == code

    def test_rate_comes_last(self) -> None:
        """What is refused for another reason takes nothing of the rate, and is refused for that reason past it too."""
        talk = player()
        for _ in range(300):
            talk.say("pub", "position", ROOM, "no position")
        published = [talk.say("pub", "position", ROOM, [seq, 2, 3, 4]) for seq in range(120)]
        talk.wait(0)

        assert all(isinstance(effects[0], PublishRealtime) for effects in published)
        statistics = talk.session.statistics()
        talk.say("pub", "position", ROOM, "no position")
        talk.say("pub", "position", ROOM, [500, 2, 3, 4])
        assert talk.session.statistics().refused == {"bad_data": 301, "rate_limited": 1}
        assert talk.session.rate_limited == 1
        assert statistics.refused == {"bad_data": 300}


class TestData:
    @ENCODINGS
    @pytest.mark.parametrize(
        "data",
        [
            None,
            "x",
            {},
            [],
            [1, 2, 3],
            [1, 2, 3, 4, 5],
            [1, 2, 3, 4, 5, 6, 7, 8, 9],
            [1.5, 2, 3, 4],
            [True, 2, 3, 4],
            [-1, 2, 3, 4],
            [MAX_INTEGER + 1, 2, 3, 4],
            [1, MAX_INTEGER + 1, 3, 4],
            [1, 2, True, 4],
            [1, 2, "3", 4],
            [1, 2, None, 4],
            [1, 2, [3], 4],
        ],
    )
    def test_of_a_position(self, encoding: Encoding, data: Any) -> None:
        """`seq` integer (no boolean, no fraction; negative ones are `bad_data`), the rest finite numbers."""
        message = answer(player(encoding=encoding).say("pub", "position", ROOM, data))

        assert message[:2] == ["error", "bad_data"]
        assert message[3] == {"op": "pub", "type": "position", "room": ROOM}

    @pytest.mark.parametrize("data", [[0, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7], [MAX_INTEGER, -1e300, 0, 0, 1.5, 0, 0, 3.1]])
    @ENCODINGS
    def test_positions(self, encoding: Encoding, data: Any) -> None:
        """`[seq, x, y, z]` or `[seq, x, y, z, vx, vy, vz]` or `[seq, x, y, z, vx, vy, vz, heading]`."""
        effect = player(encoding=encoding).say("pub", "position", ROOM, data)[0]

        assert isinstance(effect, PublishRealtime)
        assert effect.data == data

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(b"\xc4\x01\x00", id="binary"),
            pytest.param(b"\xd4\x05\x00", id="extension"),
            pytest.param(b"\xd6\xff\x00\x00\x00\x01", id="timestamp"),
            pytest.param(b"\x81\x01\x01", id="integer key"),
            pytest.param(b"\x81\x90\x01", id="array key"),
            pytest.param(b"\x81\x81\x01\x02\x03", id="map key"),
            pytest.param(b"\xcb\x7f\xf8" + b"\x00" * 6, id="NaN"),
            pytest.param(b"\xcf" + b"\xff" * 8, id="2^64 - 1"),
        ],
    )
    @pytest.mark.parametrize("wrap", [b"", b"\x91", b"\x81\xa1k", b"\x81\xa4text"])
    @pytest.mark.parametrize("type_", ["chat", "loot"])
    def test_values_of_msgpack_only(self, type_: str, wrap: bytes, value: bytes) -> None:
        """Anything else (binary, extension types, other keys, NaN, lone surrogates) is `bad_data`; the connection stays."""
        talk = player(encoding=Encoding.MSGPACK, catalog=STUDIO)
        head = b"\x95\xa3pub\xa4" + type_.encode() + b"\xa7" + ROOM.encode()

        assert answer(talk.frame(head + wrap + value + b"\xa11"))[:3] == ["nack", "1", "bad_data"]
        assert talk.session.state is State.OPEN

    @pytest.mark.parametrize(
        "value", ['"\\ud800"', '{"\\ud800":1}', "9007199254740993", "9" * 5_000, "1e400", "[[1e400]]"]
    )
    def test_values_of_json_only(self, value: str) -> None:
        """Lone surrogates, big integers and infinities are `bad_data`; the connection stays."""
        talk = player(catalog=STUDIO)

        assert answer(talk.frame(f'["pub","loot","{ROOM}",{value},"1"]'))[:3] == ["nack", "1", "bad_data"]
        assert answer(talk.frame(f'["pub","chat","{ROOM}",{{"text":{value}}},"1"]'))[:3] == ["nack", "1", "bad_data"]
        assert talk.session.state is State.OPEN

    @pytest.mark.parametrize("depth", [33, 300])
    @ENCODINGS
    def test_nesting(self, encoding: Encoding, depth: int) -> None:
        """Data nests at most 32 levels."""
        data: list[Any] = []
        for _ in range(depth):
            data = [data]

        assert code_of(player(encoding=encoding, catalog=STUDIO).say("pub", "loot", ROOM, data, "1")) == "bad_data"

    def test_too_large(self) -> None:
        """Data larger than its type allows, as msgpack, is `too_large`, whatever the encoding of the connection."""
        talk = player(catalog=STUDIO)

        assert len(talk.say("pub", "loot", ROOM, "x" * 15, "1")) == 1
        assert answer(talk.say("pub", "loot", ROOM, "x" * 16, "2"))[:3] == ["nack", "2", "too_large"]
        assert answer(talk.say("pub", "footstep", ROOM, "x" * 16))[:2] == ["error", "too_large"]

    def test_size_is_measured_after_trimming(self) -> None:
        """What is delivered is what counts."""
        assert isinstance(player().say("pub", "chat", ROOM, {"text": " " * 9_000 + "hi"}, "1")[0], PublishDurable)

    @pytest.mark.parametrize("max_bytes", [20, 72, 73, 128])
    def test_a_tuned_position_is_measured(self, max_bytes: int) -> None:
        """A limit of the catalog holds for built-in types too."""
        catalog = parse_catalog(f"[types.position]\nmax_bytes = {max_bytes}")
        largest = [MAX_INTEGER, *[-0.1] * 7]

        effects = player(catalog=catalog).say("pub", "position", ROOM, largest)

        assert isinstance(effects[0], PublishRealtime) is (max_bytes >= 73)
        assert len(pack(largest, Encoding.MSGPACK)) == 73


class TestRates:
    @pytest.mark.parametrize(("type_", "per_second"), [("position", 60), ("heartbeat", 5)])
    def test_of_realtime_types(self, type_: str, per_second: int) -> None:
        """Token buckets per connection and type, bursts of twice the rate: over it, dropped with `error rate_limited`."""
        talk = player()
        rest = {"position": [1, 2, 3], "heartbeat": [1]}[type_]

        burst = [talk.say("pub", type_, ROOM, [seq, *rest]) for seq in range(2 * per_second + 1)]

        assert all(isinstance(effects[0], PublishRealtime) for effects in burst[:-1])
        assert answer(burst[-1])[:2] == ["error", "rate_limited"]
        assert answer(burst[-1])[3] == {"op": "pub", "type": type_, "room": ROOM}
        talk.wait(1 / per_second)
        assert isinstance(talk.say("pub", type_, ROOM, [1_000, *rest])[0], PublishRealtime)

    def test_of_durable_types(self) -> None:
        """Durable gets `nack rate_limited` with `retry_ms`, and that wait is enough."""
        talk = player()
        for number in range(20):
            talk.say("pub", "chat", ROOM, CHAT, f"{number}")

        message = answer(talk.say("pub", "chat", ROOM, CHAT, "x"))

        assert message[:3] == ["nack", "x", "rate_limited"]
        assert 0 < message[4] <= 101
        talk.wait(message[4] / 1000)
        assert isinstance(talk.say("pub", "chat", ROOM, CHAT, "x")[0], PublishDurable)

    def test_of_a_studio(self) -> None:
        """A rate below one a second still lets single events through."""
        talk = player(catalog=STUDIO)

        assert len(talk.say("pub", "footstep", ROOM, 1)) == 1
        assert code_of(talk.say("pub", "footstep", ROOM, 1)) == "rate_limited"
        talk.wait(2)
        assert isinstance(talk.say("pub", "footstep", ROOM, 1)[0], PublishRealtime)

    def test_of_a_studio_in_seconds(self) -> None:
        """`retry_ms` of a rate below one a second is the time until the next token, not longer."""
        talk = player(catalog=STUDIO)
        talk.say("pub", "loot", ROOM, 1, "1")

        retry_ms = answer(talk.say("pub", "loot", ROOM, 1, "2"))[4]

        assert 3_990 <= retry_ms <= 4_001
        talk.wait(retry_ms / 1000)
        assert isinstance(talk.say("pub", "loot", ROOM, 1, "2")[0], PublishDurable)

    def test_types_do_not_share_a_rate(self) -> None:
        """Rates are token buckets per connection and type."""
        talk = player()
        for seq in range(11):
            talk.say("pub", "heartbeat", ROOM, [seq, 1])

        assert isinstance(talk.say("pub", "position", ROOM, POSITION)[0], PublishRealtime)

    def test_rooms_share_the_rate_of_a_type(self) -> None:
        """Rates are token buckets per connection and type."""
        talk = Talk(joined=("a", "b"))
        for seq in range(10):
            talk.say("pub", "heartbeat", "a", [seq, 1])

        assert code_of(talk.say("pub", "heartbeat", "b", [1, 1])) == "rate_limited"


class TestSequence:
    """The gateway takes a player's positions in rising `seq` within one connection (0..2^53)."""

    @pytest.mark.parametrize("stale", [5, 4, 0])
    def test_stale_ones_are_dropped_in_silence(self, stale: int) -> None:
        """Others are dropped as stale, counted, without an error."""
        talk = player()
        talk.say("pub", "position", ROOM, [5, 1, 2, 3])

        assert talk.say("pub", "position", ROOM, [stale, 1, 2, 3]) == []
        assert talk.session.statistics().stale == 1
        assert not talk.session.statistics().refused
        assert len(talk.say("pub", "position", ROOM, [6, 1, 2, 3])) == 1

    def test_counts_per_room(self) -> None:
        """Rooms do not disturb each other."""
        talk = Talk(joined=("a", "b"))
        talk.say("pub", "position", "a", [5, 1, 2, 3])

        assert len(talk.say("pub", "position", "b", [1, 1, 2, 3])) == 1

    def test_counts_per_player(self) -> None:
        """Players of one game server do not disturb each other."""
        talk = server()
        talk.say("pub", "position", ROOM, [5, 1, 2, 3], None, "alice")

        assert len(talk.say("pub", "position", ROOM, [1, 1, 2, 3], None, "bob")) == 1
        assert talk.say("pub", "position", ROOM, [5, 1, 2, 3], None, "alice") == []

    def test_survives_leaving(self) -> None:
        """Within one connection, also across leaving and joining again."""
        talk = player()
        talk.say("pub", "position", ROOM, [5, 1, 2, 3])
        talk.say("leave", ROOM)
        talk.say("join", ROOM)

        assert talk.say("pub", "position", ROOM, [5, 1, 2, 3]) == []

    def test_refused_positions_do_not_count(self) -> None:
        """A position over the rate was not taken, so its `seq` may come again."""
        talk = player()
        for seq in range(120):
            talk.say("pub", "position", ROOM, [seq, 1, 2, 3])
        assert code_of(talk.say("pub", "position", ROOM, [999, 1, 2, 3])) == "rate_limited"
        talk.wait(1)

        assert len(talk.say("pub", "position", ROOM, [120, 1, 2, 3])) == 1

    def test_heartbeats_are_not_ordered(self) -> None:
        """Only positions are dropped as stale."""
        talk = player()

        assert len(talk.say("pub", "heartbeat", ROOM, [5, 1]) + talk.say("pub", "heartbeat", ROOM, [5, 1])) == 2

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that publishes for more players than are remembered forgets the oldest, and goes on."""
        monkeypatch.setattr(publishing, "MAX_SEQUENCES", 10)
        talk = server()
        for number in range(11):
            talk.say("pub", "position", ROOM, [5, 1, 2, 3], None, f"p{number}")

        assert talk.say("pub", "position", ROOM, [5, 1, 2, 3], None, "p10") == []
        assert len(talk.say("pub", "position", ROOM, [5, 1, 2, 3], None, "p0")) == 1


class TestBatch:
    @ENCODINGS
    def test_is_taken_as_if_sent_alone(self, encoding: Encoding) -> None:
        """Each treated and answered as if sent alone."""
        talk = player(encoding=encoding)

        effects = talk.say(
            "batch",
            [
                ["position", ROOM, [1, 1, 2, 3]],
                ["position", ROOM, [1, 1, 2, 3]],
                ["chat", ROOM, CHAT, "1"],
                ["position", "elsewhere", [1, 1, 2, 3]],
                ["chat", "elsewhere", CHAT, "2"],
                ["position", ROOM, [2, 1, 2, 3], None, "alice"],
                5,
                [],
            ],
        )

        assert effects[0] == PublishRealtime(CATALOG.types["position"], ROOM, "alice", [1, 1, 2, 3])
        assert effects[1] == PublishDurable(CATALOG.types["chat"], ROOM, "alice", "alice", CHAT, "1")
        assert effects[4] == PublishRealtime(CATALOG.types["position"], ROOM, "alice", [2, 1, 2, 3])
        refusals = [[*message[:2], *message[3:]] for message in answers(effects)]
        assert refusals == [
            ["error", "not_joined", {"op": "pub", "type": "position", "room": "elsewhere", "index": 3}],
            ["nack", "2", answers(effects)[1][3], None],
            ["error", "bad_request", {"op": "pub", "index": 6}],
            ["error", "bad_request", {"op": "pub", "index": 7}],
        ]

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param([], id="missing"),
            pytest.param([[]], id="empty"),
            pytest.param([[["position", ROOM, POSITION]] * 257], id="too large"),
            pytest.param([[["position", ROOM, POSITION]], 1], id="extra"),
            pytest.param([{}], id="map"),
            pytest.param([None], id="null"),
            pytest.param(["position"], id="string"),
        ],
    )
    def test_with_wrong_fields(self, fields: list[Any]) -> None:
        """An empty or too large batch: `bad_request`, the connection stays."""
        message = answer(player().say("batch", *fields))

        assert message[:2] == ["error", "bad_request"]
        assert message[3] == {"op": "batch"}

    def test_of_256(self) -> None:
        """Up to 256 publishes in one frame."""
        talk = server()

        effects = talk.say("batch", [["kill", ROOM, KILL, f"{number}"] for number in range(256)])

        assert len(effects) == 256

    @pytest.mark.parametrize("item", ["abc", "abcd", {"a": 1, "b": 2, "c": 3}, None, 5, True])
    def test_items_are_arrays(self, item: Any) -> None:
        """An item that is no array is refused like a publish without fields."""
        message = answer(player().say("batch", [item]))

        assert message[:2] == ["error", "bad_request"]
        assert message[3] == {"op": "pub", "index": 0}

    def test_an_item_does_not_begin_with_pub(self) -> None:
        """Each as above without the leading `"pub"`."""
        assert code_of(player().say("batch", [["pub", "position", ROOM, POSITION]])) == "bad_request"

    def test_stops_at_a_close(self) -> None:
        """`Close` is the last effect, also in the middle of a batch."""
        talk = player()
        batch = [["position", ROOM, None]] * 256
        effects = [effect for _ in range(4) for effect in talk.say("batch", batch)]

        assert closed(effects) == CloseCode.FLOODING
        assert talk.session.statistics().refused == {"bad_data": 1_001}


class TestRefusals:
    def test_errors_are_sent_at_most_10_a_second(self) -> None:
        """Sent at most 10 a second (bursts of 20), the rest are counted."""
        talk = player()

        sent = [len(talk.say("pub", "position", ROOM, None)) for _ in range(50)]
        assert sent == [1] * 20 + [0] * 30
        assert talk.session.statistics().errors_suppressed == 30
        talk.wait(0.5)

        assert sum(len(talk.say("pub", "position", ROOM, None)) for _ in range(50)) == 5
        assert talk.session.statistics().refused == {"bad_data": 100}

    def test_nacks_are_always_sent(self) -> None:
        """A publisher waits for each answer, so a `nack` is never left out."""
        talk = player()

        assert all(answer(talk.say("pub", "chat", ROOM, None, "1"))[0] == "nack" for _ in range(500))

    def test_a_flood_closes(self) -> None:
        """More than 1,000 refused messages within 5 s close with 4004."""
        talk = player()
        refused = [talk.say("pub", "chat", ROOM, None, "1") for _ in range(1_000)]
        assert all(answer(effects)[0] == "nack" for effects in refused)

        talk.wait(5)
        effects = talk.say("pub", "chat", ROOM, None, "1")

        assert answers(effects)[0][0] == "nack"
        assert effects[1] == Close(CloseCode.FLOODING, "too many refused messages", CloseCode.FLOODING.reconnect_ms)

    def test_less_than_a_flood_does_not(self) -> None:
        """1,000 refused messages in 5 s, for as long as one likes, keep the connection."""
        talk = player()

        for _ in range(5):
            for _ in range(1_000):
                talk.say("pub", "chat", ROOM, None, "1")
            talk.wait(5.001)

        assert talk.session.state is State.OPEN

    def test_what_is_over_the_rate_counts_as_refused(self) -> None:
        """Sustained refusals: also those by rate."""
        talk = player()
        for seq in range(1_120):
            talk.say("pub", "position", ROOM, [seq, 1, 2, 3])
        assert talk.session.state is State.OPEN

        assert closed(talk.say("pub", "position", ROOM, [9_999, 1, 2, 3])) == CloseCode.FLOODING

    def test_stale_positions_are_not_refused(self) -> None:
        """Stale positions are dropped without an error, so they are no flood."""
        talk = player()
        talk.say("pub", "position", ROOM, [5, 1, 2, 3])
        for _ in range(2_000):
            talk.wait(0.02)
            talk.say("pub", "position", ROOM, [5, 1, 2, 3])

        assert talk.session.state is State.OPEN
        assert talk.session.statistics().stale == 2_000
