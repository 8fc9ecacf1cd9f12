"""Refusals of one connection: counted, throttled, and in the end the reason to close it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from gamebus.protocol import frames
from gamebus.protocol.codes import ErrorCode
from gamebus.protocol.frames import Message
from gamebus.protocol.rate_limit import TokenBucket

FLOOD_REFUSALS: Final = 1_000
"""More refused messages than this within `FLOOD_WINDOW_S` close the connection."""

FLOOD_WINDOW_S: Final = 5.0
ERRORS_PER_SECOND: Final = 10
ERRORS_BURST: Final = 20


class Refused(Exception):
    """A message is refused; raised and caught within the session.

    Attributes:
        retry_ms: when another try is sensible, or None when none is.
    """

    def __init__(self, code: ErrorCode, message: str, *, retry_ms: int | None = None) -> None:
        self.code = code
        self.message = message
        self.retry_ms = retry_ms
        super().__init__(message)


class Refusals:
    """Turns refusals into answers.

    A `nack` is always sent, since a publisher waits for it. An `error` is sent at most 10 times a second (bursts of 20); the
    rest are counted only. Memory: the times of the last 1,001 refusals.
    """

    __slots__ = ("_counts", "_errors", "_suppressed", "_times")

    def __init__(self) -> None:
        # Both made with the first refusal: nearly no connection has one, and an empty deque alone takes 760 bytes.
        self._counts: Counter[ErrorCode] | None = None
        self._times: deque[float] | None = None
        self._errors = TokenBucket(ERRORS_PER_SECOND, ERRORS_BURST)
        self._suppressed = 0

    @property
    def counts(self) -> Mapping[ErrorCode, int]:
        """Refused messages by code."""
        return dict(self._counts or {})

    @property
    def rate_limited(self) -> int:
        """Messages refused because too many came."""
        return 0 if self._counts is None else self._counts[ErrorCode.RATE_LIMITED]

    @property
    def errors_suppressed(self) -> int:
        """Refusals whose `error` was not sent."""
        return self._suppressed

    @property
    def flooding(self) -> bool:
        """Whether the last refusal was one too many within the window."""
        times = self._times
        return times is not None and len(times) > FLOOD_REFUSALS and times[-1] - times[0] <= FLOOD_WINDOW_S

    def nack(self, refusal: Refused, id_: str, now: float) -> Message:
        """Answer to a refused publish whose id can be read."""
        self._count(refusal.code, now)
        return frames.nack(id_, refusal.code, refusal.message, refusal.retry_ms)

    def error(self, refusal: Refused, about: Mapping[str, Any], now: float) -> Message | None:
        """Answer to any other refused message; None when errors are sent too often."""
        self._count(refusal.code, now)
        if self._errors.take(now):
            return frames.error(refusal.code, refusal.message, about)
        self._suppressed += 1
        return None

    def _count(self, code: ErrorCode, now: float) -> None:
        if self._counts is None or self._times is None:
            self._counts, self._times = Counter(), deque(maxlen=FLOOD_REFUSALS + 1)
        self._counts[code] += 1
        self._times.append(now)
