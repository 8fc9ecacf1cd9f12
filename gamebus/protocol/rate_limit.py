"""Token bucket. Pure: the caller brings the time."""

from __future__ import annotations

from math import inf


class TokenBucket:
    """Grants at most `burst + rate * t` in any span of `t` seconds; full at the start.

    Args:
        rate: tokens a second, above 0.
        burst: capacity, at least 1.
    """

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        # Monotonic seconds at which `_tokens` was right.
        self._then = -inf

    def take(self, now: float) -> bool:
        """Take one token; false when there is none. `now`: monotonic seconds, never falling."""
        tokens = self._tokens + (now - self._then) * self._rate
        if tokens > self._burst:  # noqa: PLR1730 - a call of min() costs as much as the rest
            tokens = self._burst
        self._then = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True

    def retry_after_ms(self, now: float) -> int:
        """Wait after which the next `take` succeeds if none comes between; 0 when it would now."""
        missing = 1.0 - self._tokens - (now - self._then) * self._rate
        # Rounded up past the exact moment, so that rounding never refuses a client that waited as told.
        return int(missing / self._rate * 1000) + 1 if missing > 0 else 0
