"""Payloads of events and their validation.

A validator takes the decoded `data` of a publish and returns what is delivered (chat is trimmed, everything else is the
same object), or raises :exc:`~gamebus.errors.PayloadError`. What a validator lets pass can be carried by both encodings of
the wire protocol without loss: null, booleans, integers within +-2^53, finite floats, valid Unicode, arrays, and maps with
string keys. Pure; `position` is on the hot path of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from gamebus.errors import PayloadError

MAX_INTEGER: Final = 2**53
"""Largest integer that both encodings carry exactly (IEEE 754 doubles in JavaScript)."""

MAX_DEPTH: Final = 32
"""Nesting that a payload may have; deeper data is refused so that no peer recurses without bound."""

MAX_CHAT_CODE_POINTS: Final = 500
MAX_ASSISTS: Final = 16

_PLAYER_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ROOM: Final = re.compile(r"[A-Za-z0-9._:/-]{1,128}", re.ASCII)
# Control characters (Unicode category Cc) and lone surrogates.
_FORBIDDEN_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Validator = Callable[[Any], Any]


def is_player_id(value: object) -> bool:
    """Whether `value` is a player id: 1..64 of `A-Z a-z 0-9 . _ -`."""
    return type(value) is str and _PLAYER_ID.fullmatch(value) is not None


def is_room(value: object) -> bool:
    """Whether `value` is a room name: 1..128 of the characters of a player id and `: /`."""
    return type(value) is str and _ROOM.fullmatch(value) is not None


def is_event_id(value: object) -> bool:
    """Whether `value` is an event id: 1..64 characters without control characters."""
    return type(value) is str and 1 <= len(value) <= 64 and _FORBIDDEN_TEXT.search(value) is None


def position(data: Any) -> Any:
    """Check `[seq, x, y, z]`, optionally with `vx, vy, vz` and then `heading`."""
    if type(data) is not list or len(data) not in (4, 7, 8):
        raise PayloadError("position is [seq, x, y, z], [.., vx, vy, vz] or [.., vx, vy, vz, heading]")
    _sequence(data[0], "position")
    for value in data:
        # Exact types: a boolean is an int to isinstance, and subclasses do not come out of a decoder.
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                raise PayloadError("position holds a number that is not finite")
        elif kind is not int or not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise PayloadError("position holds finite numbers only")
    return data


def heartbeat(data: Any) -> Any:
    """Check `[seq, client_ms]` or `[seq, client_ms, rtt_ms]`."""
    if type(data) is not list or len(data) not in (2, 3):
        raise PayloadError("heartbeat is [seq, client_ms] or [seq, client_ms, rtt_ms]")
    _sequence(data[0], "heartbeat")
    for value in data[1:]:
        if not _is_number(value):
            raise PayloadError("heartbeat holds finite numbers only")
    return data


def kill(data: Any) -> Any:
    """Check the map `killer`, `victim`, `weapon`, `at_ms`, optional `x` `y` `z` and `assists`."""
    fields = _fields(
        data, "kill", required=("killer", "victim", "weapon", "at_ms"), optional=("x", "y", "z", "assists")
    )
    _player_field(fields, "kill", "killer")
    _player_field(fields, "kill", "victim")
    _label_field(fields, "kill", "weapon")
    _place_and_time(fields, "kill")
    assists = fields.get("assists", [])
    if type(assists) is not list or len(assists) > MAX_ASSISTS or not all(map(is_player_id, assists)):
        raise PayloadError(f"kill.assists is a list of up to {MAX_ASSISTS} player ids")
    return data


def death(data: Any) -> Any:
    """Check the map `victim`, `cause`, `at_ms`, optional `x` `y` `z`."""
    fields = _fields(data, "death", required=("victim", "cause", "at_ms"), optional=("x", "y", "z"))
    _player_field(fields, "death", "victim")
    _label_field(fields, "death", "cause")
    _place_and_time(fields, "death")
    return data


def chat(data: Any) -> Any:
    """Check the map `text` and return it trimmed: 1..500 code points, no control characters."""
    text = _fields(data, "chat", required=("text",), optional=())["text"]
    if type(text) is not str:
        raise PayloadError("chat.text is a string")
    trimmed = text.strip()
    if not 1 <= len(trimmed) <= MAX_CHAT_CODE_POINTS:
        raise PayloadError(f"chat.text holds 1..{MAX_CHAT_CODE_POINTS} code points after trimming")
    if _FORBIDDEN_TEXT.search(trimmed) is not None:
        raise PayloadError("chat.text holds no control characters and only valid Unicode")
    return data if trimmed == text else {"text": trimmed}


def any_value(data: Any) -> Any:
    """Check that both encodings can carry `data`: the validator of types that a studio adds."""
    _check_value(data, 0)
    return data


VALIDATORS: Final[Mapping[str, Validator]] = {
    "position": position,
    "heartbeat": heartbeat,
    "kill": kill,
    "death": death,
    "chat": chat,
}
"""Validators of the built-in types; every other type is checked by :func:`any_value`."""


def is_text(value: object) -> bool:
    """Whether `value` is a string of valid Unicode (no lone surrogates)."""
    if type(value) is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_value(value: Any, depth: int) -> None:
    kind = type(value)
    if value is None or kind is bool:
        return
    if kind is int or kind is float:
        if not _is_number(value):
            raise PayloadError("numbers are finite, integers within +-2^53")
    elif kind is str:
        if not is_text(value):
            raise PayloadError("strings are valid Unicode")
    elif depth >= MAX_DEPTH:
        raise PayloadError(f"data nests at most {MAX_DEPTH} levels")
    elif kind is list:
        for item in value:
            _check_value(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if not is_text(key):
                raise PayloadError("keys of maps are strings of valid Unicode")
            _check_value(item, depth + 1)
    else:
        raise PayloadError(f"{kind.__name__} cannot be carried by both encodings")


def _is_number(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return isfinite(value)
    return kind is int and -MAX_INTEGER <= value <= MAX_INTEGER


def _sequence(value: Any, name: str) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise PayloadError(f"{name}: seq is an integer of 0..2^53")


def _fields(data: Any, name: str, *, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
    if type(data) is not dict:
        raise PayloadError(f"{name} is a map of {', '.join(required + optional)}")
    for key in required:
        if key not in data:
            raise PayloadError(f"{name}.{key} is missing")
    for key in data:
        if key not in required and key not in optional:
            raise PayloadError(f"{name} has no field {str(key)[:64]!r}")
    return data


def _player_field(fields: dict[str, Any], name: str, key: str) -> None:
    if not is_player_id(fields[key]):
        raise PayloadError(f"{name}.{key} is a player id: 1..64 of A-Z a-z 0-9 . _ -")


def _label_field(fields: dict[str, Any], name: str, key: str) -> None:
    value = fields[key]
    if type(value) is not str or not 1 <= len(value) <= 64 or _FORBIDDEN_TEXT.search(value) is not None:
        raise PayloadError(f"{name}.{key} is a string of 1..64 characters without control characters")


def _place_and_time(fields: dict[str, Any], name: str) -> None:
    at_ms = fields["at_ms"]
    if type(at_ms) is not int or not -MAX_INTEGER <= at_ms <= MAX_INTEGER:
        raise PayloadError(f"{name}.at_ms is an integer within +-2^53")
    for key in ("x", "y", "z"):
        if key in fields and not _is_number(fields[key]):
            raise PayloadError(f"{name}.{key} is a finite number")
