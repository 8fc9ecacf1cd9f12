"""Token bucket. Pure: the caller brings the time."""

from __future__ import annotations

from math import ceil, inf


class TokenBucket:
    """Grants at most `burst + rate * t` in any span of `t` seconds; full at the start.

    Kept as the generic cell rate algorithm (ITU-T I.371): tokens are owed since the last time at which the bucket was full. They
    are counted instead of adding up intervals, because such a sum drifts by a token where the clock has run for months.

    Args:
        rate: tokens a second, above 0.
        burst: capacity, at least 1.
    """

    __slots__ = ("_full_at", "_granted", "_interval", "_tolerance")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1 / rate
        # A thousandth of a token is given away, so that rounding never costs a whole one.
        self._tolerance = (burst - 0.999) / rate
        # When the bucket was last full, and the tokens granted since.
        self._full_at = -inf
        self._granted = 0

    def take(self, now: float) -> bool:
        """Take one token; false when there is none. `now`: monotonic seconds, never falling."""
        owed_s = self._granted * self._interval - (now - self._full_at)
        if owed_s <= 0:
            self._full_at = now
            self._granted = 1
            return True
        if owed_s > self._tolerance:
            return False
        self._granted += 1
        return True

    def retry_after_ms(self, now: float) -> int:
        """Wait after which `take` succeeds if none comes between; 0 when it would now."""
        wait_s = self._granted * self._interval - (now - self._full_at) - self._tolerance
        # A microsecond more, so that rounding never refuses a client that waited as told.
        return ceil((wait_s + 1e-6) * 1000) if wait_s > 0 else 0
