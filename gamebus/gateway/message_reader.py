"""Bytes from a socket in, whole messages out (RFC 6455, sections 5 and 6).

Pure. websockets' sans-I/O core does the protocol; this module adds what its asyncio layer would do above it (joining fragments,
checking UTF-8), and a short cut: an unfragmented text or binary frame, as nearly all are, is unmasked in place, which costs a
tenth of the core's generator-based parser. Every other frame goes through the core, one whole frame at a time. A test compares
the two over arbitrary input, so the short cut takes exactly what the core would have accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # no C extension for this platform
    from websockets.utils import apply_mask

Message = bytes | str

_HEAD_END: Final = b"\r\n\r\n"
_FIN_TEXT: Final = 0x81
_FIN_BINARY: Final = 0x82
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_16_BITS: Final = 126
# Size of a masked frame's header, by the seven bits of its length (RFC 6455, section 5.2).
_HEADER_BYTES: Final = (*(6 for _ in range(126)), 8, 14)


class MessageReader:
    """Reads the messages of one connection.

    After every call the caller sends what `protocol.data_to_send()` holds: pongs, the echo of a close frame, or the close frame of
    a connection that failed (1002, 1007, 1009).

    Memory: at most one frame and one fragmented message, each up to the size limit.

    Args:
        protocol: the core of the connection; its `max_message_size` bounds a message, fragments together.
        on_pong: called for every pong.
    """

    __slots__ = ("_fragments", "_is_text", "_max_bytes", "_needed", "_on_pong", "_partial", "protocol")

    def __init__(self, protocol: ServerProtocol, on_pong: Callable[[], None]) -> None:
        assert protocol.max_message_size is not None
        self.protocol = protocol
        self._max_bytes = protocol.max_message_size
        self._on_pong = on_pong
        # The start of a frame whose end has not arrived, and the size it must reach before it is looked at again. Before the
        # handshake is complete: the last bytes of the request so far.
        self._partial = bytearray()
        self._needed = 0
        # Payloads of the fragmented message in progress; the core bounds their sum.
        self._fragments: list[bytes] = []
        self._is_text = False

    def request(self, data: bytes) -> Request | None:
        """Take bytes of the opening handshake; returns the request when it is complete.

        Bytes behind the request are kept for the first :meth:`receive`: a client should wait for the answer, but need not.
        """
        before = len(self._partial)
        end = (self._partial + data).find(_HEAD_END)
        head = len(data) if end < 0 else end + len(_HEAD_END) - before
        self.protocol.receive_data(data[:head])
        self._partial = bytearray((self._partial + data)[1 - len(_HEAD_END) :] if end < 0 else data[head:])
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                return event
        return None

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes of an open connection; returns the messages that they complete, binary as bytes and text as str."""
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data = bytes(self._partial)
            self._partial.clear()
        messages: list[Message] = []
        protocol = self.protocol
        at, size = 0, len(data)
        # After a close frame, or a failure, the rest is discarded (RFC 6455, section 1.4).
        while at < size and not protocol.eof_sent:
            end = self._frame_end(data, at, size)
            if end > size:
                self._partial += data[at:]
                self._needed = end - at
                break
            first = data[at]
            if (first != _FIN_BINARY and first != _FIN_TEXT) or end < 0 or protocol.current_size is not None:  # noqa: PLR1714 - hot
                end = size if end < 0 else end
                protocol.receive_data(data[at:end])
                self._take_frames(messages)
            else:
                start = at + _HEADER_BYTES[data[at + 1] & _LENGTH]
                self._append(messages, apply_mask(data[start:end], data[start - 4 : start]), is_text=first == _FIN_TEXT)
            at = end
        return messages

    def _frame_end(self, data: bytes, at: int, size: int) -> int:
        """Where the frame that starts at `at` ends, or an earlier point beyond `size` that must be known first.

        Negative when the core will refuse the frame by its header alone (not masked, too large): it must see it at once, because
        the rest may never come.
        """
        if size - at < 2:
            return at + 2
        second = data[at + 1]
        if second < _MASKED:
            return -1
        length = second & _LENGTH
        header = _HEADER_BYTES[length]
        if length >= _LENGTH_16_BITS:
            if size - at < header - 4:
                return at + header - 4
            length = int.from_bytes(data[at + 2 : at + header - 4], "big")
        if length > self._max_bytes - (self.protocol.current_size or 0):
            return -1
        return at + header + length

    def _take_frames(self, messages: list[Message]) -> None:
        for frame in self.protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
                self._is_text = frame.opcode is Opcode.TEXT
            elif frame.opcode is not Opcode.CONT:
                if frame.opcode is Opcode.PONG:
                    self._on_pong()
                continue
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload = b"".join(self._fragments)
                self._fragments.clear()
                self._append(messages, payload, is_text=self._is_text)

    def _append(self, messages: list[Message], payload: bytes, *, is_text: bool) -> None:
        if not is_text:
            messages.append(payload)
            return
        try:
            messages.append(payload.decode())
        except UnicodeDecodeError as error:
            # RFC 6455, section 8.1.
            self.protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
