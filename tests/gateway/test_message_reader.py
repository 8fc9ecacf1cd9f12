"""From bytes to messages, compared with websockets' own parser."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gamebus.gateway.message_reader import Message, MessageReader

LIMIT = 1024


def reader(limit: int = LIMIT) -> MessageReader:
    return MessageReader(ServerProtocol(state=State.OPEN, max_size=limit), lambda: None)


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def read(reader_: MessageReader, pieces: Iterable[bytes]) -> list[Message]:
    return [message for piece in pieces for message in reader_.receive(piece)]


def close_sent(protocol: ServerProtocol) -> int | None:
    return None if protocol.close_sent is None else protocol.close_sent.code


class TestMessages:
    def test_text_is_str_and_binary_is_bytes(self) -> None:
        """The session tells the encodings apart by the frame's kind."""
        data = frame(Opcode.TEXT, "né".encode()) + frame(Opcode.BINARY, b"\x00\xff")

        assert reader().receive(data) == ["né", b"\x00\xff"]

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 100_000])
    def test_every_length_form_is_read(self, size: int) -> None:
        """RFC 6455, section 5.2: lengths of 7, 16 and 64 bits."""
        payload = bytes(index % 251 for index in range(size))

        assert reader(200_000).receive(frame(Opcode.BINARY, payload)) == [payload]

    def test_a_message_may_arrive_byte_by_byte(self) -> None:
        """TCP keeps no boundaries."""
        data = frame(Opcode.TEXT, b"hello") + frame(Opcode.BINARY, b"x" * 300)

        assert read(reader(), (bytes((byte,)) for byte in data)) == ["hello", b"x" * 300]

    def test_fragments_are_joined_around_control_frames(self) -> None:
        """RFC 6455, section 5.4: a ping may come between fragments; a character may be cut by one."""
        reader_ = reader()
        pieces = [
            frame(Opcode.TEXT, b"caf\xc3", fin=False),
            frame(Opcode.PING, b"now"),
            frame(Opcode.CONT, b"", fin=False),
            frame(Opcode.CONT, b"\xa9"),
            frame(Opcode.BINARY, b"next"),
        ]

        assert read(reader_, pieces) == ["café", b"next"]
        assert reader_.protocol.data_to_send() == [Frame(Opcode.PONG, b"now").serialize(mask=False)]

    def test_every_pong_is_told(self) -> None:
        """Wherever it stands between messages; a ping is none."""
        pongs: list[int] = []
        reader_ = MessageReader(ServerProtocol(state=State.OPEN, max_size=LIMIT), lambda: pongs.append(1))
        pieces = [
            frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.PONG, b""),
            frame(Opcode.CONT, b"b") + frame(Opcode.PONG, b"x") + frame(Opcode.PING, b"") + frame(Opcode.BINARY, b"c"),
        ]

        assert read(reader_, pieces) == ["ab", b"c"]
        assert len(pongs) == 2


class TestFailures:
    @pytest.mark.parametrize("fragmented", [False, True])
    def test_invalid_utf8_fails_the_connection_with_1007(self, fragmented: bool) -> None:
        """RFC 6455, section 8.1."""
        reader_ = reader()
        pieces = (
            [frame(Opcode.TEXT, b"ok", fin=False), frame(Opcode.CONT, b"\xff")]
            if fragmented
            else [frame(Opcode.TEXT, b"\xff") + frame(Opcode.TEXT, b"later")]
        )

        assert read(reader_, pieces) == []
        assert close_sent(reader_.protocol) == CloseCode.INVALID_DATA

    def test_a_frame_over_the_limit_fails_with_1009_by_its_header(self) -> None:
        """Its payload may never come, and must not be waited for."""
        reader_ = reader()

        assert reader_.receive(struct.pack("!BBQ", 0x82, 0xFF, 1 << 40)) == []
        assert close_sent(reader_.protocol) == CloseCode.MESSAGE_TOO_BIG

    def test_fragments_count_together(self) -> None:
        """The limit bounds a message, however it is cut."""
        reader_ = reader(10)
        whole = [frame(Opcode.BINARY, b"12345", fin=False), frame(Opcode.CONT, b"12345")]

        assert read(reader_, whole) == [b"1234512345"]
        assert read(reader_, [frame(Opcode.BINARY, b"12345", fin=False), frame(Opcode.CONT, b"123456")]) == []
        assert close_sent(reader_.protocol) == CloseCode.MESSAGE_TOO_BIG

    @pytest.mark.parametrize(
        "data",
        [
            Frame(Opcode.TEXT, b"x").serialize(mask=False),
            b"\xc1" + frame(Opcode.TEXT, b"x")[1:],
            b"\x83" + frame(Opcode.TEXT, b"x")[1:],
            frame(Opcode.CONT, b"x"),
            frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"),
            b"\x09" + frame(Opcode.PING, b"x")[1:],
        ],
        ids=["not masked", "reserved bit", "unknown opcode", "no message to continue", "interleaved", "cut ping"],
    )
    def test_a_breach_of_the_protocol_fails_with_1002(self, data: bytes) -> None:
        """RFC 6455, section 7.1.7: nothing after it is looked at."""
        reader_ = reader()

        assert [m for m in reader_.receive(data + frame(Opcode.TEXT, b"later")) if m == "later"] == []
        assert close_sent(reader_.protocol) == CloseCode.PROTOCOL_ERROR

    def test_nothing_is_read_after_a_close_frame(self) -> None:
        """RFC 6455, section 1.4: what follows a close frame is discarded."""
        reader_ = reader()
        data = (
            frame(Opcode.TEXT, b"before") + frame(Opcode.CLOSE, struct.pack("!H", 1000)) + frame(Opcode.TEXT, b"after")
        )

        assert reader_.receive(data) == ["before"]
        assert reader_.receive(frame(Opcode.TEXT, b"later")) == []
        assert close_sent(reader_.protocol) == CloseCode.NORMAL_CLOSURE


class TestHandshake:
    def test_bytes_behind_the_request_are_the_first_messages(self) -> None:
        """A client that does not wait for the answer loses nothing."""
        client = ClientProtocol(parse_uri("ws://test/v1"))
        client.send_request(client.connect())
        request = client.data_to_send()[0]
        data = request + frame(Opcode.TEXT, b"hello")
        for cut in (len(request) - 3, len(request), len(request) + 2, len(data)):
            reader_ = MessageReader(ServerProtocol(max_size=LIMIT), lambda: None)
            found = [reader_.request(data[:cut])]
            if found == [None]:
                found.append(reader_.request(data[cut:]))
                cut = len(data)
            assert found[-1] is not None
            reader_.protocol.send_response(reader_.protocol.accept(found[-1]))

            assert reader_.receive(b"") + reader_.receive(data[cut:]) == ["hello"]


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    """A stream of frames, mostly good ones."""
    stream = b""
    for _ in range(draw(st.integers(1, 8))):
        opcode = draw(
            st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG, Opcode.CLOSE])
        )
        size = draw(st.sampled_from([0, 1, 5, 60, 125, 126, 200]))
        payload = draw(st.one_of(st.binary(min_size=size, max_size=size), st.just(b"a" * size)))
        fin = draw(st.sampled_from([True, True, True, False]))
        # Around `Frame.check`, which would not write some of what has to be refused.
        data = bytearray((opcode | (0x80 if fin else 0),)) + frame(Opcode.BINARY, payload)[1:]
        if draw(st.integers(0, 19)) == 0:
            data[draw(st.integers(0, min(1, len(data) - 1)))] ^= 1 << draw(st.integers(0, 7))
        stream += data
    return stream


def _reference(data: bytes, limit: int) -> tuple[list[Message], int | None]:
    """The same by websockets' parser alone."""
    protocol = ServerProtocol(state=State.OPEN, max_size=limit)
    protocol.receive_data(data)
    messages: list[Message] = []
    fragments: list[bytes] = []
    text = False
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            text = event.opcode is Opcode.TEXT
        elif event.opcode is not Opcode.CONT:
            continue
        fragments.append(bytes(event.data))
        if event.fin:
            payload = b"".join(fragments)
            fragments.clear()
            try:
                messages.append(payload.decode() if text else payload)
            except UnicodeDecodeError:
                return messages, CloseCode.INVALID_DATA
    return messages, close_sent(protocol)


class TestShortCut:
    @given(data=_frames(), cuts=st.lists(st.integers(0, 400), max_size=6))
    def test_it_reads_what_the_core_reads(self, data: bytes, cuts: list[int]) -> None:
        """For any stream and any segmentation, messages and close code are those of websockets' own parser (Hypothesis)."""
        places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        reader_ = reader(200)

        messages = read(reader_, (data[a:b] for a, b in pairwise(places)))

        assert (messages, close_sent(reader_.protocol)) == _reference(data, 200)
