"""How long records wait for others that go into the same request. Pure.

Guarantees: no record waits longer than `longest_s`; what comes when nothing was written for a while does not wait at all.

Between the two the linger is in proportion to the rate of records, since what a request costs counts by how many there are each
second, and a wait by how old a record gets. A fixed linger is wrong at one end or the other: 5 ms make the records of a quiet game
five times as old as they need be, 0.2 ms drown a broker at 5,000 records a second. (librdkafka and the Java client have a fixed
`linger.ms`; aiokafka too.)
"""

from __future__ import annotations

import math
from typing import Final

_MOMENT_S: Final = 0.02


class Linger:
    """The linger of one lane of records.

    Args:
        longest_s: at `busy_per_s` records a second and above.
        busy_per_s: 0: always the longest.
    """

    __slots__ = ("_busy_per_s", "_flushed_at", "_longest_s", "_per_s", "_s")

    def __init__(self, longest_s: float, *, busy_per_s: float) -> None:
        self._longest_s = longest_s
        self._busy_per_s = busy_per_s
        self._s = 0.0 if busy_per_s else longest_s
        self._per_s = 0.0
        self._flushed_at = -math.inf

    @property
    def longest_s(self) -> float:
        """The longest wait."""
        return self._longest_s

    def due_in_s(self, now: float) -> float:
        """How long the first record after a flush waits; nothing or less: it does not."""
        return self._flushed_at + self._s - now

    def flushed(self, records: int, now: float) -> None:
        """So many records were written."""
        since_s, self._flushed_at = now - self._flushed_at, now
        if self._busy_per_s:
            # The rate of the last moment, whatever the intervals: two records in quick succession are no busy line.
            self._per_s = self._per_s * math.exp(-since_s / _MOMENT_S) + records / _MOMENT_S
            self._s = self._longest_s * min(1.0, self._per_s / self._busy_per_s)
