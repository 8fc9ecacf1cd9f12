"""Token bucket. Pure: the caller brings the time."""

from __future__ import annotations

from math import ceil, inf


class TokenBucket:
    """Grants at most `burst + rate * t` in any span of `t` seconds; full at the start.

    Kept as the generic cell rate algorithm (ITU-T I.371): one number, the time at which the bucket is full again, instead of a
    level and the time of its last change. That is a comparison and an addition per grant.

    Args:
        rate: tokens a second, above 0.
        burst: capacity, at least 1.
    """

    __slots__ = ("_full_at", "_interval", "_tolerance")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1 / rate
        # A thousandth of a token is given away, so that sums of rounded intervals never cost a whole one.
        self._tolerance = (burst - 0.999) / rate
        self._full_at = -inf

    def take(self, now: float) -> bool:
        """Take one token; false when there is none. `now`: monotonic seconds, never falling."""
        full_at = self._full_at
        if full_at <= now:
            self._full_at = now + self._interval
            return True
        if full_at - now > self._tolerance:
            return False
        self._full_at = full_at + self._interval
        return True

    def retry_after_ms(self, now: float) -> int:
        """Wait after which `take` succeeds if none comes between; 0 when it would now."""
        wait_s = self._full_at - now - self._tolerance
        # A microsecond more, so that rounding never refuses a client that waited as told.
        return ceil((wait_s + 1e-6) * 1000) if wait_s > 0 else 0
