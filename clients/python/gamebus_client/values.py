"""Values that both encodings of the wire protocol carry. Pure.

Null, booleans, integers within +-2^53, finite floats, strings of valid Unicode, lists and tuples, dicts with string keys; nested at
most 32 levels. Each encoder takes more than that (msgpack NaN and bytes, JSON larger integers), and the gateway refuses it.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

_LARGEST: Final = 2**53
_MAX_DEPTH: Final = 32
# The message itself, a batch and a publish in it come on top of the data's levels.
_DEEPEST: Final = _MAX_DEPTH + 3


def check_value(value: Any, depth: int = 0) -> None:
    """Check what is to be sent.

    Raises:
        ValueError, TypeError: it holds something that cannot be carried.
    """
    kind = type(value)
    if kind is float:
        if not isfinite(value):
            raise ValueError(f"{value} is not finite")
    elif kind is str:
        # A lone surrogate has no UTF-8; plain ASCII is known without a look at it.
        if not value.isascii():
            value.encode()
    elif kind is list or kind is tuple:
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        for item in value:
            check_value(item, depth + 1)
    elif value is not None and kind is not bool:
        _check_rest(value, depth)


def _check_rest(value: Any, depth: int) -> None:
    if isinstance(value, int):
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"{value} is beyond 2^53")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no string")
            check_value(key)
            check_value(item, depth + 1)
    # Subclasses: an enumeration of strings, a named tuple.
    elif isinstance(value, str):
        check_value(str(value), depth)
    elif isinstance(value, float):
        check_value(float(value), depth)
    elif isinstance(value, list | tuple):
        check_value(list(value), depth)
    else:
        raise TypeError(f"{type(value).__name__} has no form on the wire")
