"""Publishing rights of one connection: which types, into which rooms, how often, in which order."""

from __future__ import annotations

from typing import Any, Final

from gamebus.catalog import EventType, Role
from gamebus.protocol.rate_limit import TokenBucket

ORDERED_TYPE: Final = "position"
"""The type whose `seq` must rise per player and room."""

MAX_SEQUENCES: Final = 16_384
"""Pairs of room and player whose last `seq` is remembered; a connection that publishes for more forgets the oldest."""

# Largest msgpack encoding that a validator lets pass: arrays of numbers need no measuring under such a limit.
_BOUNDED_BYTES: Final = {"position": 1 + 8 * 9, "heartbeat": 1 + 3 * 9}


class TypeRights:
    """What a connection may do with one event type. Made when the type is first used."""

    __slots__ = ("allowed", "bucket", "durable", "event_type", "max_bytes", "ordered", "published", "validate")

    def __init__(self, event_type: EventType, role: Role) -> None:
        self.event_type = event_type
        self.durable = event_type.durable
        self.validate = event_type.validate
        self.ordered = event_type.name == ORDERED_TYPE
        bounded = _BOUNDED_BYTES.get(event_type.name)
        # None: what the validator lets pass is small enough.
        self.max_bytes = None if bounded is not None and bounded <= event_type.max_bytes else event_type.max_bytes
        self.bucket = TokenBucket(event_type.per_second, max(1.0, 2 * event_type.per_second))
        self.allowed = role in event_type.roles
        self.published = 0


class Sequences:
    """Last `seq` per room and player."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def rises(self, room: str, player: str, seq: int) -> bool:
        """Take `seq` if it is above the last one of this player in this room."""
        key = (room, player)
        last = self._last.get(key)
        if last is None:
            if len(self._last) >= MAX_SEQUENCES:
                del self._last[next(iter(self._last))]
        elif seq <= last:
            return False
        self._last[key] = seq
        return True


def sequence(data: Any) -> int:
    """The `seq` of valid position data."""
    seq: int = data[0]
    return seq
