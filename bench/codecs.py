"""How a player of the load speaks: to a gateway (MessagePack), to a Socket.IO relay (its JSON in Engine.IO packets) or to a Colyseus room
(MessagePack in, schema patches out). Pure.

A position carries, in place of x, when it was sent; so whoever receives it knows its age. Frames are masked with a key of zeros, which
costs the server as much as any other and the load nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgpack

_BINARY: Final = 0x82
_TEXT: Final = 0x81
# A position: `seq` as uint32, x as float64; the rest never changes.
_SEQ_AND_X: Final = struct.Struct(">IBd")
_FLOAT64: Final = 0xCB
# Colyseus' protocol, and what its patches hold of a player that moved: `seq` as uint32, x as float64 (field 0 and 1, replaced).
_JOIN_ROOM: Final = 10
_ROOM_DATA: Final = 13
_ROOM_STATE: Final = 14
_ROOM_STATE_PATCH: Final = 15
_STRUCTURE: Final = 0xFF
_MOVED: Final = struct.Struct("<BIBd")
_SEQ_FIELD: Final = 0x80
_X_FIELD: Final = 0x81
_REST: Final = (1.5, -37.75, 0.5, 0.0, -0.25)


class Codec(Protocol):
    """One player's side of a protocol.

    Attributes:
        path: to connect to.
        subprotocol: to offer, or empty.
        room: that the player is in.
    """

    path: str
    subprotocol: str
    room: str

    def opening(self) -> bytes:
        """What to send once the websocket is open."""

    def answer(self, message: bytes) -> bytes:
        """What to send after a message that holds no updates; empty: nothing."""

    def joins(self, message: bytes) -> bool:
        """Whether a message says that the room is entered."""

    def position(self, seq: int, sent_ms: float) -> bytes | bytearray:
        """The frame of a position; valid until the next call."""

    def updates(self, message: bytes) -> int:
        """Number of positions in a message."""

    def sent_ms(self, message: bytes) -> list[float]:
        """When each of them was sent."""


def masked(first_byte: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, section 5.2) of up to 64 KiB."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"".join((bytes((first_byte,)), length, bytes(4), payload))


class Gamebus:
    """A player of gamebus."""

    path = "/v1"
    subprotocol = "gamebus.v1.msgpack"

    def __init__(self, player: str, room: str, token: str) -> None:
        self.room = room
        self.player = player
        self.token = token
        data = [0xFFFFFFFF, 0.0, *_REST]
        self._frame = bytearray(masked(_BINARY, msgpack.packb(["pub", "position", room, data])))
        self._at = self._frame.index(b"\xff\xff\xff\xff")
        self._head = msgpack.packb(["tick", room, 0, []])[: -len(b"\x00\x90")]

    def opening(self) -> bytes:
        """`hello` and `join`."""
        hello = msgpack.packb(["hello", self.token, {"client": "bench/1"}])
        return masked(_BINARY, hello) + masked(_BINARY, msgpack.packb(["join", self.room]))

    def answer(self, message: bytes) -> bytes:
        """Nothing: but a gateway that refuses is no contestant."""
        if msgpack.unpackb(message)[0] in {"error", "bye"}:
            raise RuntimeError(f"the gateway says {msgpack.unpackb(message)}")
        return b""

    def joins(self, message: bytes) -> bool:
        """`joined`."""
        return message.startswith(b"\x93\xa6joined")

    def position(self, seq: int, sent_ms: float) -> bytes | bytearray:
        """The same frame each time, with other numbers."""
        _SEQ_AND_X.pack_into(self._frame, self._at, seq, _FLOAT64, sent_ms)
        return self._frame

    def updates(self, message: bytes) -> int:
        """The length of the array in a `tick`."""
        if not message.startswith(self._head):
            return 0
        # Behind the head stand the time, as uint64, and the header of the array.
        at = len(self._head) + 9
        kind = message[at]
        return kind & 0x0F if kind < 0xA0 else int.from_bytes(message[at + 1 : at + (3 if kind == 0xDC else 5)], "big")

    def sent_ms(self, message: bytes) -> list[float]:
        """Of the entries that hold a position."""
        return [data[1] for _, data in msgpack.unpackb(message)[3] if data is not None]


class SocketIo:
    """A player of `bench/rivals/socketio`: Socket.IO's default parser over Engine.IO, protocol 4."""

    path = "/socket.io/?EIO=4&transport=websocket"
    subprotocol = ""

    def __init__(self, player: str, room: str) -> None:
        self.room = room
        self._player = player
        self._rest = ",".join(map(str, _REST))

    def opening(self) -> bytes:
        """Nothing: the server speaks first."""
        return b""

    def answer(self, message: bytes) -> bytes:
        """Connect to the namespace, join the room, answer pings."""
        if message.startswith(b"0"):
            return masked(_TEXT, b"40")
        if message.startswith(b"40"):
            return masked(_TEXT, b"420" + json.dumps(["join", self.room, self._player]).encode())
        return masked(_TEXT, b"3") if message == b"2" else b""

    def joins(self, message: bytes) -> bool:
        """The acknowledgement of `join`."""
        return message.startswith(b"430")

    def position(self, seq: int, sent_ms: float) -> bytes | bytearray:
        """`move`."""
        return masked(_TEXT, b'42["move",[%d,%.3f,%s]]' % (seq, sent_ms, self._rest.encode()))

    def updates(self, message: bytes) -> int:
        """One in a `move`; in a `tick` as many as its entries, each of which ends two arrays."""
        if message.startswith(b'42["tick"'):
            return (message.count(b"]") - 2) // 2
        return 1 if message.startswith(b'42["move"') else 0

    def sent_ms(self, message: bytes) -> list[float]:
        """Of the one position, or of all."""
        fields: list[Any] = json.loads(message[2:])
        return [fields[2][1]] if fields[0] == "move" else [data[1] for _, data in fields[2]]


class Colyseus:
    """A player of `bench/rivals/colyseus`.

    Args:
        seat: as the matchmaker reserved it.
    """

    subprotocol = ""
    # All of a room are sent the same bytes: each patch is read once.
    _read: tuple[bytes, list[float]] = (b"", [])

    def __init__(self, room: str, seat: Mapping[str, str]) -> None:
        self.room = room
        self.path = f"/{seat['processId']}/{seat['roomId']}?sessionId={seat['sessionId']}"
        head = bytes((_ROOM_DATA,)) + msgpack.packb("move")
        self._frame = bytearray(masked(_BINARY, head + msgpack.packb([0xFFFFFFFF, 0.0, *_REST])))
        self._at = self._frame.index(b"\xff\xff\xff\xff")

    def opening(self) -> bytes:
        """Nothing: the server speaks first."""
        return b""

    def answer(self, message: bytes) -> bytes:
        """Confirm that the room is joined, and that its types are known."""
        return masked(_BINARY, bytes((_JOIN_ROOM,))) if message[0] == _JOIN_ROOM else b""

    def joins(self, message: bytes) -> bool:
        """The whole state."""
        return message[0] == _ROOM_STATE

    def position(self, seq: int, sent_ms: float) -> bytes | bytearray:
        """`move`, the same frame each time with other numbers."""
        _SEQ_AND_X.pack_into(self._frame, self._at, seq, _FLOAT64, sent_ms)
        return self._frame

    def updates(self, message: bytes) -> int:
        """Players that moved."""
        return len(self.sent_ms(message)) if message[0] == _ROOM_STATE_PATCH else 0

    def sent_ms(self, message: bytes) -> list[float]:
        """Of each player that moved."""
        read, sent_ms = Colyseus._read
        if read != message:
            sent_ms = _moved(message)
            Colyseus._read = message, sent_ms
        return sent_ms


def _moved(patch: bytes) -> list[float]:
    """What a patch says, as long as it is about players that moved and nothing else: not while players join."""
    sent_ms: list[float] = []
    at = 1
    while at < len(patch) and patch[at] == _STRUCTURE:
        # The number of the structure, as a MessagePack integer.
        at += {0xCC: 3, 0xCD: 4}.get(patch[at + 1], 2)
        if at + _MOVED.size > len(patch):
            break
        seq_field, _, x_field, x = _MOVED.unpack_from(patch, at)
        if (seq_field, x_field) != (_SEQ_FIELD, _X_FIELD):
            break
        sent_ms.append(x)
        at += _MOVED.size
    return sent_ms
