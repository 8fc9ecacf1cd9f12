"""Encodings of the wire protocol, and the way from a frame to a typed message. Pure.

Extra elements and unknown map keys are ignored, unknown operations are left to the caller: a newer gateway may send them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack

from gamebus_client.exceptions import InvalidMessage, ProtocolViolation
from gamebus_client.messages import Ack, Error, Event, Joined, Left, Positions, Presence, Tick
from gamebus_client.values import check_value

Frame: TypeAlias = bytes | str
"""A binary frame (msgpack) or a text frame (JSON)."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The connection is open."""

    session: str
    player: str
    server_ms: int
    expires_ms: int | None
    limits: Mapping[str, Any]
    types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Nack:
    """A durable publish was refused; `retry_ms` None: for good."""

    id: str
    code: str
    message: str
    retry_ms: int | None


@dataclass(frozen=True, slots=True)
class TokenAccepted:
    """The refreshed token counts."""

    expires_ms: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to a ping."""

    t: int | float | str
    server_ms: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The gateway closes; `reconnect_ms` None: do not come back."""

    code: int
    message: str
    reconnect_ms: int | None


Received: TypeAlias = (
    Tick | Event | Presence | Joined | Left | Error | Ack | Nack | Welcome | TokenAccepted | Pong | Bye
)


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoding.

    Attributes:
        subprotocol: its name in the websocket handshake.
        pack: from an array to a frame; raises ValueError, TypeError or OverflowError.
        unpack: from a frame to a value; raises ValueError or TypeError.
    """

    subprotocol: str
    pack: Callable[[list[Any]], Frame]
    unpack: Callable[[Frame], Any]

    def encode(self, message: list[Any]) -> Frame:
        """Encode one message.

        Raises:
            InvalidMessage: a value that the wire protocol cannot carry.
        """
        try:
            check_value(message)
            return self.pack(message)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidMessage(f"data cannot be sent: {error}") from error

    def decode(self, frame: Frame) -> Received | None:
        """Decode one message; None when its operation is unknown to this version.

        Raises:
            ProtocolViolation: the frame is not a message.
        """
        try:
            message = self.unpack(frame)
            if type(message) is not list:
                raise TypeError("no array")
            parse = _PARSERS.get(_text(message[0]))
            return None if parse is None else parse(message)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ProtocolViolation(f"the gateway sent a frame that is not a message: {error!r}") from error


def _pack_json(message: list[Any]) -> str:
    return json.dumps(message, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _unpack_json(frame: Frame) -> Any:
    if type(frame) is not str:
        raise TypeError("binary frame in the JSON subprotocol")
    return json.loads(frame)


def _unpack_msgpack(frame: Frame) -> Any:
    if type(frame) is not bytes:
        raise TypeError("text frame in the msgpack subprotocol")
    return msgpack.unpackb(frame)


CODECS: Final[Mapping[str, Codec]] = {
    "msgpack": Codec("gamebus.v1.msgpack", msgpack.packb, _unpack_msgpack),
    "json": Codec("gamebus.v1.json", _pack_json, _unpack_json),
}


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} stands where a string should")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} stands where an integer should")
    return value


def _optional(check: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else check(value)


def _players(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value))


def _positions(entries: Any) -> Positions:
    try:
        return dict(entries)
    except ValueError:
        # A later version may add elements to an entry.
        return {entry[0]: entry[1] for entry in entries}


def _tick(message: list[Any]) -> Tick:
    return Tick(_text(message[1]), _integer(message[2]), _positions(message[3]))


def _event(message: list[Any]) -> Event:
    _, event_type, room, player, server_ms, data, event_id, cursor = message[:8]
    return Event(
        _text(event_type), _text(room), _text(player), _integer(server_ms), data, _text(event_id), _text(cursor)
    )


def _presence(message: list[Any]) -> Presence:
    return Presence(_text(message[1]), _players(message[2]), _players(message[3]))


def _joined(message: list[Any]) -> Joined:
    info = message[2]
    return Joined(
        room=_text(message[1]),
        cursor=_text(info["cursor"]),
        players=_players(info["players"]),
        positions=_positions(info["positions"]),
        tick_hz=float(info["tick_hz"]),
        recovered=info.get("recovered"),
    )


def _error(message: list[Any]) -> Error:
    about = message[3]
    return Error(
        code=_text(message[1]),
        message=_text(message[2]),
        op=_optional(_text, about.get("op")),
        type=_optional(_text, about.get("type")),
        room=_optional(_text, about.get("room")),
        index=_optional(_integer, about.get("index")),
    )


def _welcome(message: list[Any]) -> Welcome:
    info = message[3]
    return Welcome(
        session=_text(message[1]),
        player=_text(message[2]),
        server_ms=_integer(info["server_ms"]),
        expires_ms=_optional(_integer, info.get("expires_ms")),
        limits=dict(info.get("limits", {})),
        types=dict(info.get("types", {})),
    )


_PARSERS: Final[Mapping[str, Callable[[list[Any]], Received]]] = {
    "tick": _tick,
    "event": _event,
    "presence": _presence,
    "joined": _joined,
    "left": lambda message: Left(_text(message[1])),
    "error": _error,
    "ack": lambda message: Ack(_text(message[1]), _text(message[2])),
    "nack": lambda message: Nack(
        _text(message[1]), _text(message[2]), _text(message[3]), _optional(_integer, message[4])
    ),
    "welcome": _welcome,
    "token": lambda message: TokenAccepted(_integer(message[1])),
    "pong": lambda message: Pong(message[1], _integer(message[2])),
    "bye": lambda message: Bye(_integer(message[1]), _text(message[2]), _optional(_integer, message[3])),
}
