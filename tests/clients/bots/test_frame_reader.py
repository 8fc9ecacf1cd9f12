"""Frames of a server, compared with what the `websockets` library writes and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gamebus_bots.frame_reader import BINARY, TEXT, BadFrame, FrameReader, masked

OPCODES = st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG, Opcode.CLOSE])
SIZES = st.sampled_from([0, 1, 125, 126, 127, 300, 65_535, 65_536])


def fragments(opcode: Opcode, payload: bytes, cuts: list[int]) -> list[Frame]:
    ends = [*sorted(cut % (len(payload) + 1) for cut in cuts), len(payload)]
    starts = [0, *ends[:-1]]
    return [
        Frame(opcode if number == 0 else Opcode.CONT, payload[start:end], fin=number == len(ends) - 1)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


class TestFrameReader:
    @given(
        st.lists(st.tuples(OPCODES, st.binary(max_size=200), st.lists(st.integers(0, 500), max_size=3)), max_size=6),
        st.lists(st.integers(1, 50), min_size=1, max_size=20),
    )
    def test_messages_come_out_as_they_went_in(
        self, messages: list[tuple[Opcode, bytes, list[int]]], sizes: list[int]
    ) -> None:
        """Whole and in order, however messages are fragmented and bytes are cut."""
        written = b""
        expected = []
        for opcode, payload, cuts in messages:
            if opcode in (Opcode.TEXT, Opcode.BINARY):
                frames = fragments(opcode, payload, cuts)
            else:
                payload = payload[:125]
                frames = [Frame(opcode, payload)]
            written += b"".join(frame.serialize(mask=False) for frame in frames)
            expected.append((int(opcode), payload))
        reader = FrameReader(1_000)
        found = []
        turn = 0
        while written:
            size = sizes[turn % len(sizes)]
            turn += 1
            found += list(reader.feed(written[:size]))
            written = written[size:]
        assert found == expected

    @given(SIZES)
    def test_every_form_of_length(self, size: int) -> None:
        """Seven bits, two bytes and eight bytes."""
        reader = FrameReader(100_000)
        assert list(reader.feed(Frame(Opcode.BINARY, bytes(size)).serialize(mask=False))) == [(BINARY, bytes(size))]

    def test_a_control_frame_between_fragments(self) -> None:
        """It comes out at once, the message when it is complete."""
        first, last = fragments(Opcode.TEXT, b"abcd", [2])
        data = b"".join(frame.serialize(mask=False) for frame in (first, Frame(Opcode.PING, b"?"), last))
        assert list(FrameReader(100).feed(data)) == [(int(Opcode.PING), b"?"), (TEXT, b"abcd")]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\x82\x81abcdx", 1002),
            (b"\xc2\x01x", 1002),
            (b"\x83\x01x", 1002),
            (b"\x80\x01x", 1002),
            (b"\x02\x01x\x82\x01x", 1002),
            (b"\x09\x01x", 1002),
            (b"\x89\x7e\x00\x7e" + bytes(126), 1002),
            (b"\x82\x7e\x03\xe9", 1009),
            (b"\x02\x7e\x02\x58" + bytes(600) + b"\x80\x7e\x02\x58", 1009),
        ],
        ids=[
            "masked",
            "reserved bit",
            "unknown opcode",
            "continuation of nothing",
            "message within a message",
            "fragmented control",
            "long control",
            "too large",
            "too large in fragments",
        ],
    )
    def test_what_a_server_must_not_send(self, data: bytes, code: int) -> None:
        """Refused with the close code of RFC 6455; a size is refused before its bytes are waited for."""
        with pytest.raises(BadFrame) as caught:
            list(FrameReader(1_000).feed(data))
        assert caught.value.code == code


@given(SIZES, st.integers(0, 2**32 - 1))
def test_masked_is_what_a_server_reads(size: int, mask: int) -> None:
    """The library takes the frame of a client and finds the payload."""
    payload = bytes(index % 251 for index in range(size))
    stream = StreamReader()
    stream.feed_data(masked(BINARY, payload, mask))
    parsing = Frame.parse(stream.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert bytes(done.value.value.data) == payload
