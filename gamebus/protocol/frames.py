"""Encodings of the wire protocol, and the messages of the gateway.

`decode` tells apart what ends the connection (:exc:`ProtocolViolation`: not the encoding, not a non-empty array) from what is
refused by a check later on: values that one encoding carries and the other does not (binary, extension types, other keys than
strings, NaN in msgpack, lone surrogates in JSON, big integers) come out as they are, or as something that no check lets pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias

import msgpack

from gamebus.errors import GamebusError
from gamebus.events import MAX_INTEGER

Message: TypeAlias = list[Any]

_NO_MESSAGE: Final = "a message is a non-empty array whose first element names the operation"


class Encoding(StrEnum):
    """How messages are written in frames."""

    MSGPACK = "msgpack"
    JSON = "json"

    @property
    def subprotocol(self) -> str:
        """Name in `Sec-WebSocket-Protocol`."""
        return f"gamebus.v1.{self.value}"


class ProtocolViolation(GamebusError):
    """A frame that ends the connection (close code 4500)."""


def decode(payload: bytes | str, encoding: Encoding) -> Message:
    """Decode one frame: bytes of a binary one, or text of a text one.

    Raises:
        ProtocolViolation: a frame of the wrong kind, not the encoding, or not a non-empty array.
    """
    return DECODERS[encoding](payload)


def encode(message: Message, encoding: Encoding) -> bytes:
    """Encode one message; its values are ours or have passed a check, so this cannot fail."""
    encoded: bytes = _pack(message) if encoding is Encoding.MSGPACK else _to_json(message).encode()
    return encoded


def _decode_msgpack(payload: bytes | str) -> Message:
    if type(payload) is not bytes:
        raise ProtocolViolation("a text frame, but the subprotocol is msgpack: send binary frames")
    try:
        message = _unpack(payload)
    except (ValueError, TypeError):
        # The fast decoder refuses keys that are not strings. That is an event with bad data, not a broken frame.
        message = _unpack_any_key(payload)
    if type(message) is not list or not message:
        raise ProtocolViolation(_NO_MESSAGE)
    return message


def _unpack_any_key(payload: bytes) -> Any:
    try:
        return _unpack(payload, strict_map_key=False, object_pairs_hook=_map)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolViolation(f"not msgpack: {str(error) or type(error).__name__}") from error


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    try:
        return dict(pairs)
    except TypeError:
        # A key that cannot be hashed (an array, a map). Stand-in: a map that, like this one, no check lets pass.
        return {None: None}


def _decode_json(payload: bytes | str) -> Message:
    if type(payload) is not str:
        raise ProtocolViolation("a binary frame, but the subprotocol is JSON: send text frames")
    try:
        message = _from_json(payload)
    except json.JSONDecodeError as error:
        raise ProtocolViolation(f"not JSON: {error}") from error
    except ValueError:
        message = _from_json_with_huge_integers(payload)
    except RecursionError as error:
        raise ProtocolViolation("not JSON that can be read: nested too deeply") from error
    if type(message) is not list or not message:
        raise ProtocolViolation(_NO_MESSAGE)
    return message


def _from_json_with_huge_integers(payload: str) -> Any:
    # Python converts at most 4,300 digits (CVE-2020-10735), yet RFC 8259 allows any number.
    try:
        return json.loads(payload, parse_constant=_refuse_constant, parse_int=_bounded_integer)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"not JSON: {error}") from error


def _bounded_integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else MAX_INTEGER * 2


def _refuse_constant(name: str) -> NoReturn:
    # RFC 8259 section 6: "Numeric values that cannot be represented in the grammar below (such as Infinity and NaN) are not
    # permitted." Python's decoder permits them unless it is told.
    raise ProtocolViolation(f"not JSON: {name} is not in its grammar")


_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpack = msgpack.unpackb
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder(parse_constant=_refuse_constant).decode

DECODERS: Final[Mapping[Encoding, Callable[[bytes | str], Message]]] = {
    Encoding.MSGPACK: _decode_msgpack,
    Encoding.JSON: _decode_json,
}
"""`decode` with the encoding chosen once: a connection keeps its own."""


def welcome(
    session: str,
    player: str,
    *,
    server_ms: int,
    expires_ms: int,
    ping_interval_ms: int,
    limits: Mapping[str, Any],
    types: Mapping[str, str],
) -> Message:
    """The connection is open."""
    info = {
        "server_ms": server_ms,
        "expires_ms": expires_ms,
        "ping_interval_ms": ping_interval_ms,
        "limits": dict(limits),
        "types": dict(types),
    }
    return ["welcome", session, player, info]


def joined(
    room: str,
    *,
    cursor: str,
    players: Iterable[str],
    positions: Iterable[tuple[str, Any]],
    tick_hz: float,
    recovered: bool | None,
) -> Message:
    """The room is entered; `recovered` None where no resume was asked."""
    info = {
        "cursor": cursor,
        "players": list(players),
        "positions": [[player, data] for player, data in positions],
        "tick_hz": tick_hz,
        "recovered": recovered,
    }
    return ["joined", room, info]


def left(room: str) -> Message:
    """The room is left."""
    return ["left", room]


def tick(room: str, server_ms: int, positions: Iterable[tuple[str, Any]]) -> Message:
    """Newest position of every player that moved; data None: the player is no longer known here."""
    return ["tick", room, server_ms, [[player, data] for player, data in positions]]


def event(type_: str, room: str, player: str, server_ms: int, data: Any, id_: str, cursor: str) -> Message:
    """A durable event."""
    return ["event", type_, room, player, server_ms, data, id_, cursor]


def presence(room: str, joined_players: Iterable[str], left_players: Iterable[str]) -> Message:
    """Players that came and went."""
    return ["presence", room, list(joined_players), list(left_players)]


def ack(id_: str, cursor: str) -> Message:
    """A durable publish is written."""
    return ["ack", id_, cursor]


def nack(id_: str, code: str, message: str, retry_ms: int | None) -> Message:
    """A durable publish is refused; `retry_ms` None: do not retry."""
    return ["nack", id_, code, message, retry_ms]


def token(expires_ms: int) -> Message:
    """The refresh was accepted."""
    return ["token", expires_ms]


def pong(t: float | str, server_ms: int) -> Message:
    """Answer to `ping`."""
    return ["pong", t, server_ms]


def error(code: str, message: str, about: Mapping[str, Any]) -> Message:
    """A refused message that did not break the connection."""
    return ["error", code, message, dict(about)]


def bye(code: int, message: str, reconnect_ms: int | None) -> Message:
    """Sent before every close with a code of ours; `reconnect_ms` None: the client must not come back."""
    return ["bye", code, message, reconnect_ms]
