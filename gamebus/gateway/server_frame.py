"""Websocket frames of a server, complete and ready to be written (RFC 6455, section 5.2).

The same bytes object goes to every receiver of a broadcast: a server's frames are not masked, so nothing in them depends on
the connection. Compression is off and no message is fragmented. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from gamebus.protocol.frames import Encoding, encode

# FIN and the opcode of a text or a binary frame.
_FIRST_BYTE: Final = {Encoding.JSON: b"\x81", Encoding.MSGPACK: b"\x82"}


def server_frame(message: list[Any], encoding: Encoding) -> bytes:
    """One message as one complete frame: text for JSON, binary for msgpack."""
    payload = encode(message, encoding)
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2)
    else:
        length = b"\x7f" + size.to_bytes(8)
    return _FIRST_BYTE[encoding] + length + payload
