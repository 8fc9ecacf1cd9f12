"""Websocket frames of a server, from bytes (RFC 6455, section 5). Pure.

Guarantees: messages come out whole and in order, however the bytes are cut; control frames may stand between the fragments of
a message. What a server must not send raises :exc:`BadFrame`. Bounded by the largest message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
_WHOLE_BINARY: Final = _FIN | BINARY
_SHORT: Final = 126
_LONG: Final = 127
_MAX_CONTROL_BYTES: Final = 125

Received: TypeAlias = tuple[int, bytes]
"""Opcode and payload: a whole message, or a control frame."""


class BadFrame(Exception):
    """The server broke RFC 6455; the connection must be failed with `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameReader:
    """Reads one connection.

    Args:
        max_message_bytes: larger messages are refused with 1009.
    """

    __slots__ = ("_fragments", "_max", "_opcode", "_rest", "_size")

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._rest = b""
        # Of a message whose last fragment has not come.
        self._opcode = 0
        self._fragments: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Received]:
        """Take bytes in, give out what is complete; to be exhausted before the next call."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, end = 0, len(data)
        while end - at >= 2:
            first, length, start = data[at], data[at + 1], at + 2
            if length >= _SHORT:
                if length > _LONG:
                    raise BadFrame(1002, "a masked frame from a server")
                start += 2 if length == _SHORT else 8
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            self._check_size(length)
            if start + length > end:
                break
            payload = data[start : start + length]
            at = start + length
            if first == _WHOLE_BINARY and not self._opcode:
                yield BINARY, payload
            elif (received := self._other(first, payload)) is not None:
                yield received
        self._rest = data[at:]

    def _check_size(self, length: int) -> None:
        if self._size + length > self._max:
            raise BadFrame(1009, f"a message of more than {self._max} bytes")

    def _other(self, first: int, payload: bytes) -> Received | None:
        """A control frame, text, or a fragment; None while the message is not complete."""
        if first & 0x70:
            raise BadFrame(1002, "reserved bits are set: no extension was agreed on")
        opcode = first & 0x0F
        if opcode in (CLOSE, PING, PONG):
            if not first & _FIN or len(payload) > _MAX_CONTROL_BYTES:
                raise BadFrame(1002, "a control frame that is long or fragmented")
            return opcode, payload
        if opcode not in (_CONTINUATION, TEXT, BINARY) or (opcode == _CONTINUATION) is not bool(self._opcode):
            raise BadFrame(1002, f"opcode {opcode} has no place here")
        if not self._opcode:
            self._opcode = opcode
        self._fragments.append(payload)
        self._size += len(payload)
        if not first & _FIN:
            return None
        whole = self._opcode, b"".join(self._fragments)
        self._opcode, self._fragments, self._size = 0, [], 0
        return whole


def masked(opcode: int, payload: bytes, mask: int) -> bytes:
    """One whole frame of a client.

    Args:
        mask: 32 random bits (section 5.3).
    """
    size = len(payload)
    if size < _SHORT:
        head = bytes((_FIN | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((_FIN | opcode, 0x80 | _SHORT)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, 0x80 | _LONG)) + size.to_bytes(8, "big")
    key = mask.to_bytes(4, "big")
    # One XOR of two long integers: several times faster than a loop over bytes.
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
