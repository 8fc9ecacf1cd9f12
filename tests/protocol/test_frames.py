"""Encodings: what is a message, what breaks the connection, and what both sides can read."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gamebus.errors import PayloadError
from gamebus.events import MAX_INTEGER, any_value
from gamebus.protocol import frames
from gamebus.protocol.frames import Encoding, ProtocolViolation, decode, encode
from tests.protocol.talk import pack

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ENCODINGS = pytest.mark.parametrize("encoding", Encoding)


class TestEncodings:
    def test_subprotocols(self) -> None:
        """Subprotocols `gamebus.v1.msgpack` (binary frames) and `gamebus.v1.json` (text frames)."""
        assert [encoding.subprotocol for encoding in Encoding] == ["gamebus.v1.msgpack", "gamebus.v1.json"]

    @ENCODINGS
    @given(message=st.lists(VALUES, min_size=1, max_size=5))
    def test_carry_the_same_values(self, encoding: Encoding, message: list[Any]) -> None:
        """Values are those that both encodings carry: null, booleans, integers, finite floats, strings, arrays, maps."""
        assert decode(pack(message, encoding), encoding) == message

    @ENCODINGS
    @given(message=st.lists(VALUES, min_size=1, max_size=5))
    def test_what_the_gateway_writes_is_read_by_any_library(self, encoding: Encoding, message: list[Any]) -> None:
        """The gateway's frames are plain msgpack and plain JSON (Hypothesis)."""
        encoded = encode(message, encoding)

        assert (msgpack.unpackb(encoded) if encoding is Encoding.MSGPACK else json.loads(encoded)) == message


class TestUndecodable:
    @pytest.mark.parametrize(
        "text", ["", " ", "[", '["hello"', "[1,]", '["a"] x', "nul", "['a']", '["\x01"]', "\ufeff[1]"]
    )
    def test_json_that_is_none(self, text: str) -> None:
        """Undecodable frame: 4500."""
        with pytest.raises(ProtocolViolation):
            decode(text, Encoding.JSON)

    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
    def test_json_literals_that_its_standard_forbids(self, literal: str) -> None:
        """What the encoding's standard forbids counts: JSON NaN, at any depth."""
        for text in (f"[{literal}]", f'["pub","loot","r",{{"a":[{literal}]}}]'):
            with pytest.raises(ProtocolViolation, match=literal):
                decode(text, Encoding.JSON)

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\xc1", id="the byte that msgpack never uses"),
            pytest.param(b"\x92\xa3pub", id="cut"),
            pytest.param(b"\x91\xa3pub\x00", id="trailing bytes"),
            pytest.param(b"\xdd\xff\xff\xff\xff", id="longer than itself"),
            pytest.param(b"\x91\xa1\xff", id="invalid UTF-8 in a string"),
            pytest.param(b"\x91\xa3\xed\xa0\x80", id="a surrogate in UTF-8"),
            pytest.param(b"\x91\x81\xa1\xff\x01", id="invalid UTF-8 in a key"),
            pytest.param(b"\x91\x82\x01\x02\xa1\xff\x01", id="invalid UTF-8 beside a key that is no string"),
            pytest.param(b"\x91\xd7\xff" + b"\xff" * 8, id="a timestamp of too many nanoseconds"),
        ],
    )
    def test_msgpack_that_is_none(self, payload: bytes) -> None:
        """What the encoding's standard forbids counts: invalid UTF-8 in msgpack strings; so do trailing bytes."""
        with pytest.raises(ProtocolViolation):
            decode(payload, Encoding.MSGPACK)

    @ENCODINGS
    @pytest.mark.parametrize("value", [None, 1, "hello", {"op": "hello"}, True, 1.5, [], {}])
    def test_no_message(self, encoding: Encoding, value: Any) -> None:
        """Not an array, empty: 4500."""
        with pytest.raises(ProtocolViolation, match="non-empty array"):
            decode(pack(value, encoding), encoding)

    def test_a_frame_of_the_wrong_kind(self) -> None:
        """A frame of the wrong kind: 4500."""
        with pytest.raises(ProtocolViolation, match="text frame"):
            decode('["ping",1]', Encoding.MSGPACK)
        with pytest.raises(ProtocolViolation, match="binary frame"):
            decode(b'["ping",1]', Encoding.JSON)

    @pytest.mark.parametrize("depth", [2_000, 60_000])
    def test_nesting_that_no_decoder_takes(self, depth: int) -> None:
        """A frame nested so deeply that a decoder gives up ends the connection, never the gateway."""
        with pytest.raises(ProtocolViolation):
            decode("[" * depth + "]" * depth, Encoding.JSON)
        with pytest.raises(ProtocolViolation):
            decode("[" * depth, Encoding.JSON)
        with pytest.raises(ProtocolViolation):
            decode(b"\x91" * depth + b"\x01", Encoding.MSGPACK)


class TestValuesOfOneEncodingOnly:
    """They are decoded, so that the message that holds them can be refused, and no check lets them pass."""

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"\x91\xc4\x01\x00", id="binary"),
            pytest.param(b"\x91\xd4\x05\x00", id="extension"),
            pytest.param(b"\x91\xd6\xff\x00\x00\x00\x01", id="timestamp"),
            pytest.param(b"\x91\x81\x01\x01", id="integer key"),
            pytest.param(b"\x91\x81\xc0\x01", id="nil key"),
            pytest.param(b"\x91\x81\xc4\x01a\x01", id="binary key"),
            pytest.param(b"\x91\x81\x90\x01", id="array key"),
            pytest.param(b"\x91\x81\x80\x01", id="map key"),
            pytest.param(b"\x91\x81\xcb\x7f\xf8" + b"\x00" * 6 + b"\x01", id="NaN key"),
            pytest.param(b"\x91\xcb\x7f\xf8" + b"\x00" * 6, id="NaN"),
            pytest.param(b"\x91\xca\x7f\x80\x00\x00", id="infinity"),
            pytest.param(b"\x91\xcf" + b"\xff" * 8, id="2^64 - 1"),
        ],
    )
    def test_of_msgpack(self, payload: bytes) -> None:
        """Binary, extension types, other keys, NaN: `bad_data`."""
        with pytest.raises(PayloadError):
            any_value(decode(payload, Encoding.MSGPACK))

    @pytest.mark.parametrize("digits", [str(MAX_INTEGER + 1), "-" + "9" * 21, "9" * 5_000, "-" + "9" * 60_000, "1e400"])
    def test_of_json_numbers(self, digits: str) -> None:
        """Integers beyond +-2^53 and floats that are not finite: `bad_data`, however many digits they have."""
        with pytest.raises(PayloadError):
            any_value(decode(f"[{digits}]", Encoding.JSON))

    def test_huge_integers_keep_their_neighbours(self) -> None:
        """The decoder that takes any number of digits reads everything else as the fast one does."""
        text = '["pub", -7, 1.5, {"a": "\\u00e9"}, ' + "9" * 5_000 + "]"

        assert decode(text, Encoding.JSON)[:4] == ["pub", -7, 1.5, {"a": "é"}]

    def test_nan_beside_huge_integers_is_undecodable(self) -> None:
        """No way around the decoder's standard."""
        with pytest.raises(ProtocolViolation):
            decode("[NaN," + "9" * 5_000 + "]", Encoding.JSON)
        with pytest.raises(ProtocolViolation):
            decode("[" + "9" * 5_000 + ",NaN]", Encoding.JSON)

    @pytest.mark.parametrize("text", ['["\\ud800"]', '[{"\\udfff":1}]', '["a\\ud800b"]'])
    def test_lone_surrogates_of_json(self, text: str) -> None:
        """Lone surrogates: `bad_data`."""
        with pytest.raises(PayloadError):
            any_value(decode(text, Encoding.JSON))

    def test_the_last_of_equal_keys_counts(self) -> None:
        """Both encodings permit a key twice (RFC 8259 section 4); both read the last one."""
        assert decode('[{"a":1,"a":2}]', Encoding.JSON) == [{"a": 2}]
        assert decode(b"\x91\x82\xa1a\x01\xa1a\x02", Encoding.MSGPACK) == [{"a": 2}]


class TestFuzz:
    @given(payload=st.binary(max_size=200))
    @example(b"\x91\xc7\x05\xff12345")
    def test_any_bytes(self, payload: bytes) -> None:
        """Arbitrary bytes are a message or a violation (Hypothesis)."""
        try:
            message = decode(payload, Encoding.MSGPACK)
        except ProtocolViolation:
            return
        assert type(message) is list
        assert message

    @given(payload=st.text(max_size=200) | st.text('[]{}",:0123456789.eE+-ntfulrasd\\ ', max_size=60))
    def test_any_text(self, payload: str) -> None:
        """Arbitrary text is a message or a violation (Hypothesis)."""
        try:
            message = decode(payload, Encoding.JSON)
        except ProtocolViolation:
            return
        assert type(message) is list
        assert message


class TestMessages:
    """Shapes of the gateway's messages, literally as the wire protocol's table has them."""

    def test_welcome(self) -> None:
        """`["welcome", session, player, info]`."""
        message = frames.welcome(
            "s-1", "alice", server_ms=1, expires_ms=2, ping_interval_ms=3, limits={"batch": 4}, types={"chat": "x"}
        )

        info = {"server_ms": 1, "expires_ms": 2, "ping_interval_ms": 3, "limits": {"batch": 4}, "types": {"chat": "x"}}
        assert message == ["welcome", "s-1", "alice", info]

    def test_joined(self) -> None:
        """`["joined", room, info]`, `positions` in the shape of tick entries."""
        message = frames.joined(
            "r", cursor="c", players=("a",), positions={"a": [1, 2, 3, 4]}.items(), tick_hz=20, recovered=None
        )

        info = {"cursor": "c", "players": ["a"], "positions": [["a", [1, 2, 3, 4]]], "tick_hz": 20, "recovered": None}
        assert message == ["joined", "r", info]

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (frames.left("r"), ["left", "r"]),
            (frames.tick("r", 5, [("a", [1]), ("b", None)]), ["tick", "r", 5, [["a", [1]], ["b", None]]]),
            (
                frames.event("chat", "r", "a", 5, {"text": "hi"}, "1", "c"),
                ["event", "chat", "r", "a", 5, {"text": "hi"}, "1", "c"],
            ),
            (frames.presence("r", ("a",), ()), ["presence", "r", ["a"], []]),
            (frames.ack("1", "c"), ["ack", "1", "c"]),
            (frames.nack("1", "forbidden", "no", None), ["nack", "1", "forbidden", "no", None]),
            (frames.token(5), ["token", 5]),
            (frames.pong("x", 5), ["pong", "x", 5]),
            (frames.error("bad_data", "no", {"op": "pub"}), ["error", "bad_data", "no", {"op": "pub"}]),
            (frames.bye(4000, "x", 1000), ["bye", 4000, "x", 1000]),
        ],
    )
    def test_shape(self, message: list[Any], expected: list[Any]) -> None:
        """Every message of the gateway is the array that the wire protocol's table shows."""
        assert message == expected
