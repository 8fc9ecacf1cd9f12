"""Websocket frames of a server, complete and ready to be written (RFC 6455, section 5.2).

The same bytes object goes to every receiver of a broadcast: a server's frames are not masked, so nothing in them depends on
the connection. Compression is off and no message is fragmented. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgpack

from gamebus.protocol.frames import Encoding, encode

# FIN and the opcode of a text or a binary frame.
_FIRST_BYTE: Final = {Encoding.JSON: b"\x81", Encoding.MSGPACK: b"\x82"}


_PACKER: Final = msgpack.Packer(autoreset=True)


def server_frame(message: list[Any], encoding: Encoding) -> bytes:
    """One message as one complete frame: text for JSON, binary for msgpack."""
    return _framed(encode(message, encoding), encoding)


def encode_entry(player: str, data: Any, encoding: Encoding) -> bytes:
    """One entry of a tick, for :func:`tick_frame`; data None: the player is no longer known here."""
    return encode([player, data], encoding)


def join_entries(entries: Iterable[bytes], encoding: Encoding) -> bytes:
    """Entries in one piece; pieces are joined in the same way."""
    return (b"," if encoding is Encoding.JSON else b"").join(entries)


def tick_frame(room: str, server_ms: int, count: int, entries: bytes, encoding: Encoding) -> bytes:
    """A tick of `count` entries that are encoded and joined already, as one complete frame: what `server_frame(frames.tick(...))`
    gives."""
    if encoding is Encoding.JSON:
        return _framed(b'["tick",%s,%d,[%s]]' % (encode([room], encoding)[1:-1], server_ms, entries), encoding)
    head = encode(["tick", room, server_ms, None], encoding)[:-1]
    return _framed(b"".join((head, _PACKER.pack_array_header(count), entries)), encoding)


def _framed(payload: bytes, encoding: Encoding) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2)
    else:
        length = b"\x7f" + size.to_bytes(8)
    return _FIRST_BYTE[encoding] + length + payload
