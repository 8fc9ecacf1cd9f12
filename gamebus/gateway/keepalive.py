"""Time for many connections: keep-alive pings and deadlines, without a task or a timer of the loop for each.

:class:`Keepalive` decides for one connection when to ping it and when to give it up; :class:`TimerWheel` says which connections
have something due. Both are pure: the server's sweeper drives them.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Liveness(enum.Enum):
    """What :class:`Keepalive` asks for."""

    WAIT = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class Keepalive:
    """When to ping a connection, and whether it still answers (RFC 6455, section 5.5.2).

    A connection is dead when nothing at all arrived for `timeout_s` after a ping: any byte counts, because a pong may have to wait
    behind a large message. Answers that come late but within that time do not delay the next ping.

    Args:
        interval_s: from one ping to the next.
        timeout_s: how long the peer may stay silent after one.
        first_s: from `now` to the first ping.
    """

    __slots__ = ("_interval_s", "_pinged", "_timeout_s", "_unanswered", "deadline")

    def __init__(self, *, interval_s: float, timeout_s: float, first_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        # When the ping was sent whose answer is awaited; None between the two.
        self._pinged: float | None = None
        # The same, until its pong has come.
        self._unanswered: float | None = None
        self.deadline = now + first_s
        """When :meth:`on_time` has something to decide."""

    def on_time(self, now: float, last_received: float) -> Liveness:
        """Decide at `now`, for a peer whose last byte arrived at `last_received`."""
        if now < self.deadline:
            return Liveness.WAIT
        if self._pinged is None:
            self._pinged = self._unanswered = now
            self.deadline = now + self._timeout_s
            return Liveness.PING
        if last_received < self._pinged:
            return Liveness.DEAD
        self.deadline = max(now, self._pinged + self._interval_s)
        self._pinged = None
        return Liveness.WAIT

    def answered(self, now: float) -> float | None:
        """A pong has arrived: seconds since its ping; None when no ping waits for one (RFC 6455, section 5.5.3, allows it)."""
        pinged, self._unanswered = self._unanswered, None
        return None if pinged is None else now - pinged


class TimerWheel(Generic[T]):
    """Items and when they are due, for many items that are moved often (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels").

    Guarantees: an item is due once per :meth:`schedule`, never before its time unless it lies beyond the wheel's span, when it is due at the span's
    end and its owner schedules it again. Scheduling, moving and removing cost O(1).
    Non-guarantee: precision better than `resolution_s`.

    Args:
        resolution_s: width of a slot.
        slots: their number; `resolution_s * slots` is the span.
    """

    def __init__(self, *, now: float, resolution_s: float = 0.1, slots: int = 256) -> None:
        self._resolution_s = resolution_s
        self._slots: list[set[T]] = [set() for _ in range(slots)]
        self._start = now
        # The slot that `now` lies in, counted from the start; all earlier ones are empty.
        self._current = 0
        self._slot_of: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def schedule(self, item: T, at: float) -> None:
        """Make `item` due at the time `at`, and at no other."""
        self.remove(item)
        # The first tick that is not before `at`, and neither the current one, which may have been swept, nor beyond the span.
        tick = -int((self._start - at) // self._resolution_s)
        slot = min(max(tick, self._current + 1), self._current + len(self._slots) - 1) % len(self._slots)
        self._slots[slot].add(item)
        self._slot_of[item] = slot

    def remove(self, item: T) -> None:
        """Make `item` never due."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            self._slots[slot].discard(item)

    def advance(self, now: float) -> list[T]:
        """Move to `now`; returns the items that are due, and forgets them."""
        tick = int((now - self._start) // self._resolution_s)
        due: list[T] = []
        # A sleeping machine skips many slots; each needs to be swept only once.
        for passed in range(max(self._current + 1, tick + 1 - len(self._slots)), tick + 1):
            slot = self._slots[passed % len(self._slots)]
            due.extend(slot)
            slot.clear()
        self._current = max(self._current, tick)
        for item in due:
            del self._slot_of[item]
        return due
