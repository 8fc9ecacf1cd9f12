"""Frames in both encodings."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_client import Event, InvalidMessage, ProtocolViolation, Tick
from gamebus_client.codec import CODECS, Codec

JSON = CODECS["json"]
MSGPACK = CODECS["msgpack"]

# What both encodings carry, by the wire protocol.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


class TestCodec:
    @pytest.mark.parametrize("codec", [JSON, MSGPACK])
    @given(data=VALUES)
    def test_event_data_survives(self, codec: Codec, data: Any) -> None:
        """What both encodings carry comes out as it went in."""
        frame = codec.encode(["event", "score", "r", "p", 1, data, "id", "c"])
        assert codec.decode(frame) == Event("score", "r", "p", 1, data, "id", "c")

    @given(frame=st.binary(max_size=60))
    def test_any_bytes_are_a_message_or_a_violation(self, frame: bytes) -> None:
        """No frame whatever raises anything else in the read loop."""
        with contextlib.suppress(ProtocolViolation):
            MSGPACK.decode(frame)

    @given(
        message=st.lists(VALUES, max_size=6), name=st.sampled_from(["tick", "event", "joined", "error", "ack", "bye"])
    )
    def test_any_array_is_a_message_or_a_violation(self, message: list[Any], name: str) -> None:
        """Nor does any well-encoded array."""
        with contextlib.suppress(ProtocolViolation):
            JSON.decode(JSON.encode([name, *message]))

    def test_the_wrong_kind_of_frame_is_a_violation(self) -> None:
        """Binary is msgpack, text is JSON, never the other way round."""
        with pytest.raises(ProtocolViolation):
            MSGPACK.decode('["left", "r"]')
        with pytest.raises(ProtocolViolation):
            JSON.decode(b'["left", "r"]')

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_json_refuses_what_its_standard_has_no_word_for(self, value: float) -> None:
        """NaN would end the connection at the gateway, so it ends the call here."""
        with pytest.raises(InvalidMessage):
            JSON.encode(["pub", "position", "r", [1, value, 0, 0]])

    def test_newer_entries_are_read(self) -> None:
        """Extra elements of a later version are ignored, also inside a tick."""
        frame = JSON.encode(["tick", "r", 1, [["a", [1, 2, 3, 4], "new"]], "new"])
        assert JSON.decode(frame) == Tick("r", 1, {"a": [1, 2, 3, 4]})
