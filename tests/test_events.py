"""Payloads and their validation."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus import events
from gamebus.errors import PayloadError
from gamebus.events import MAX_DEPTH, MAX_INTEGER, VALIDATORS


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


KILL: dict[str, Any] = {"killer": "alice", "victim": "bob", "weapon": "axe", "at_ms": 1_800_000_000_000}
DEATH: dict[str, Any] = {"victim": "bob", "cause": "lava", "at_ms": 1_800_000_000_000}
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=64)
FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-MAX_INTEGER, MAX_INTEGER)
SEQ = st.integers(0, MAX_INTEGER)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(inner.filter(_hashable), inner, max_size=4),
    max_leaves=12,
)


def refused(validator: events.Validator, data: Any) -> str:
    """The rule by which `data` is refused."""
    with pytest.raises(PayloadError) as caught:
        validator(data)
    assert caught.value.rule == str(caught.value)
    return caught.value.rule


class TestNames:
    @pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64])
    def test_player_ids(self, name: str) -> None:
        """Player ids 1..64 of `A-Z a-z 0-9 . _ -`."""
        assert events.is_player_id(name)
        assert events.is_room(name)

    @pytest.mark.parametrize(
        "name", ["", "x" * 65, "a b", "a:b", "a/b", "é", "٣", "a\n", "\ud800", None, 5, b"a", ["a"]]
    )
    def test_no_player_ids(self, name: Any) -> None:
        """Player ids 1..64 of `A-Z a-z 0-9 . _ -`, and nothing else, not even other alphabets' digits."""
        assert not events.is_player_id(name)

    @pytest.mark.parametrize("name", ["a", "eu/match:7", "x" * 128])
    def test_rooms(self, name: str) -> None:
        """Rooms 1..128 of those and `: /`."""
        assert events.is_room(name)

    @pytest.mark.parametrize("name", ["", "x" * 129, "a b", "a#b", "é", "a\n", "{a}", None, 5, b"a", {"a": 1}])
    def test_no_rooms(self, name: Any) -> None:
        """Rooms 1..128 of those and `: /`, so that none escapes its Redis hash tag."""
        assert not events.is_room(name)

    @pytest.mark.parametrize("name", ["1", "x" * 64, "☂" * 64, "a b", "\U0001f600"])
    def test_event_ids(self, name: str) -> None:
        """Event ids 1..64 characters without control characters."""
        assert events.is_event_id(name)

    @pytest.mark.parametrize(
        "name", ["", "x" * 65, "a\x00", "a\x1f", "a\x7f", "a\x85", "\n", "\ud800", None, 5, b"1", ["1"]]
    )
    def test_no_event_ids(self, name: Any) -> None:
        """Event ids 1..64 characters without control characters, of valid Unicode."""
        assert not events.is_event_id(name)


class TestPosition:
    @given(
        seq=SEQ, rest=st.sampled_from([3, 6, 7]).flatmap(lambda size: st.lists(FINITE, min_size=size, max_size=size))
    )
    def test_valid(self, seq: int, rest: list[float]) -> None:
        """`[seq, x, y, z]`, optionally with `vx, vy, vz` and then `heading`: taken as it is (Hypothesis)."""
        data = [seq, *rest]

        assert events.position(data) is data

    @pytest.mark.parametrize("length", [0, 1, 3, 5, 6, 9])
    def test_of_another_length(self, length: int) -> None:
        """Nothing between the three forms."""
        assert "position is" in refused(events.position, [1] * length)

    @pytest.mark.parametrize("seq", [-1, MAX_INTEGER + 1, 1.0, True, None, "1"])
    def test_seq(self, seq: Any) -> None:
        """`seq` integer (no boolean, no fraction), 0..2^53."""
        assert "seq" in refused(events.position, [seq, 1, 2, 3])

    @pytest.mark.parametrize("place", range(1, 8))
    @pytest.mark.parametrize(
        "value", [None, True, "1", [1], float("nan"), float("inf"), float("-inf"), MAX_INTEGER + 1]
    )
    def test_the_rest(self, place: int, value: Any) -> None:
        """The rest finite numbers, at every place."""
        data: list[Any] = [1, 2, 3, 4, 5, 6, 7, 8]
        data[place] = value

        refused(events.position, data)

    @pytest.mark.parametrize("data", [None, {}, "1234", (1, 2, 3, 4), 5])
    def test_of_another_kind(self, data: Any) -> None:
        """A position is an array."""
        refused(events.position, data)


class TestHeartbeat:
    @given(seq=SEQ, rest=st.lists(FINITE, min_size=1, max_size=2))
    def test_valid(self, seq: int, rest: list[float]) -> None:
        """`[seq, client_ms]` or `[seq, client_ms, rtt_ms]` (Hypothesis)."""
        data = [seq, *rest]

        assert events.heartbeat(data) is data

    @pytest.mark.parametrize(
        "data", [None, {}, [], [1], [1, 2, 3, 4], [-1, 2], [1.5, 2], [1, None], [1, True], [1, float("nan")]]
    )
    def test_invalid(self, data: Any) -> None:
        """Anything else is refused."""
        refused(events.heartbeat, data)


class TestKill:
    @given(killer=NAMES, victim=NAMES, place=st.tuples(FINITE, FINITE, FINITE), assists=st.lists(NAMES, max_size=16))
    def test_valid(self, killer: str, victim: str, place: tuple[float, float, float], assists: list[str]) -> None:
        """`killer`, `victim`, `weapon`, `at_ms`, optional `x` `y` `z`, `assists` (up to 16 player ids) (Hypothesis)."""
        data = KILL | {"killer": killer, "victim": victim, "assists": assists} | dict(zip("xyz", place, strict=True))

        assert events.kill(KILL) is KILL
        assert events.kill(data) is data

    @pytest.mark.parametrize("key", list(KILL))
    def test_missing(self, key: str) -> None:
        """The refusal names the missing field."""
        data = {name: value for name, value in KILL.items() if name != key}

        assert refused(events.kill, data) == f"kill.{key} is missing"

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("killer", "no player"),
            ("killer", None),
            ("victim", ""),
            ("weapon", ""),
            ("weapon", "x" * 65),
            ("weapon", "a\nb"),
            ("weapon", 5),
            ("at_ms", 1.5),
            ("at_ms", True),
            ("at_ms", MAX_INTEGER + 1),
            ("x", None),
            ("y", "1"),
            ("z", float("nan")),
            ("assists", ["a"] * 17),
            ("assists", ["no player"]),
            ("assists", "abc"),
            ("assists", None),
        ],
    )
    def test_wrong(self, key: str, value: Any) -> None:
        """The refusal names the wrong field."""
        assert f"kill.{key}" in refused(events.kill, KILL | {key: value})

    @pytest.mark.parametrize("key", ["damage", "", 5, None, b"killer", "\ud800"])
    def test_unknown_key(self, key: Any) -> None:
        """Unknown keys in these maps are `bad_data`, and the words about them can be sent."""
        rule = refused(events.kill, KILL | {key: 1})

        assert "has no field" in rule
        rule.encode()

    @pytest.mark.parametrize("data", [None, [], "kill", 5])
    def test_of_another_kind(self, data: Any) -> None:
        """A kill is a map."""
        assert "is a map" in refused(events.kill, data)


class TestDeath:
    def test_valid(self) -> None:
        """`victim`, `cause` (1..64 characters), `at_ms`, optional `x` `y` `z`."""
        data = DEATH | {"x": 1, "y": 2.5, "z": -3}

        assert events.death(DEATH) is DEATH
        assert events.death(data) is data

    @pytest.mark.parametrize(
        ("key", "value"), [("victim", "no player"), ("cause", ""), ("cause", "x" * 65), ("at_ms", None), ("x", "1")]
    )
    def test_wrong(self, key: str, value: Any) -> None:
        """The refusal names the wrong field."""
        assert f"death.{key}" in refused(events.death, DEATH | {key: value})

    @pytest.mark.parametrize("key", ["killer", "assists"])
    def test_is_no_kill(self, key: str) -> None:
        """A death has no killer."""
        assert "has no field" in refused(events.death, DEATH | {key: "a"})


class TestChat:
    @pytest.mark.parametrize("text", ["a", "x" * 500, "☂" * 500, "\U0001f600" * 500, "a  b"])
    def test_valid(self, text: str) -> None:
        """`text` (1..500 code points): taken as it is."""
        data = {"text": text}

        assert events.chat(data) is data

    @pytest.mark.parametrize("text", [" a", "a\n", "\t a \u3000", " " * 600 + "a"])
    def test_is_trimmed(self, text: str) -> None:
        """Counted after trimming, delivered trimmed; what came in stays as it was."""
        data = {"text": text}

        assert events.chat(data) == {"text": "a"}
        assert data == {"text": text}

    @pytest.mark.parametrize(
        "text", ["", "  ", "x" * 501, "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\ud800b", None, 5, ["a"]]
    )
    def test_invalid(self, text: Any) -> None:
        """1..500 code points, no control characters, valid Unicode."""
        assert "chat.text" in refused(events.chat, {"text": text})

    @pytest.mark.parametrize("data", [None, "text", [], {}, {"text": "a", "to": "bob"}])
    def test_of_another_kind(self, data: Any) -> None:
        """A map of `text` and nothing else."""
        refused(events.chat, data)


class TestAnyValue:
    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), MAX_INTEGER + 1, -MAX_INTEGER - 1, b"a", (1,), {1: 1}, "\ud800"]
    )
    @pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"k": [{"k": value}]}])
    def test_refuses_what_one_encoding_cannot_carry(self, value: Any, wrap: Any) -> None:
        """Anything else (binary, extension types, other keys, NaN, lone surrogates) is `bad_data`, at any depth."""
        refused(events.any_value, wrap(value))

    @pytest.mark.parametrize("key", [1, None, True, b"a", "\ud800", ("a",)])
    def test_refuses_keys_that_are_no_strings(self, key: Any) -> None:
        """Maps with string keys."""
        assert "keys" in refused(events.any_value, {key: 1})

    @pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"k": value}])
    def test_bounds_nesting(self, wrap: Any) -> None:
        """Deeper data is refused so that no peer recurses without bound."""
        data: Any = 1
        for _ in range(MAX_DEPTH):
            data = wrap(data)

        assert events.any_value(data) is data
        assert str(MAX_DEPTH) in refused(events.any_value, wrap(data))

    @given(data=ANYTHING)
    def test_what_passes_is_carried_by_both_encodings(self, data: Any) -> None:
        """What a validator lets pass can be carried by both encodings without loss (Hypothesis)."""
        try:
            events.any_value(data)
        except PayloadError:
            return

        assert msgpack.unpackb(msgpack.packb(data)) == data
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        json.dumps(data, ensure_ascii=False).encode()


class TestValidators:
    @pytest.mark.parametrize("validator", [*VALIDATORS.values(), events.any_value])
    @given(data=ANYTHING)
    def test_raise_nothing_but_payload_errors(self, validator: events.Validator, data: Any) -> None:
        """Whatever a client sends, the answer is a value or a :exc:`PayloadError` whose words can be sent (Hypothesis)."""
        try:
            validated = validator(data)
        except PayloadError as error:
            error.rule.encode()
        else:
            events.any_value(validated)
