"""Durations counted into fixed buckets: what percentiles of a fleet can be computed from.

Buckets of several processes and seconds add up; percentiles do not. So every process counts, and whoever shows a percentile adds
first (Prometheus, `histogram_quantile`). All durations of gamebus share one set of bounds, from half a millisecond to ten seconds,
where two neighbours differ by a factor of 1.4 to 2: a percentile is off by at most as much.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BOUNDS_S: Final = (
    *(
        0.0005,
        0.001,
        0.0015,
        0.002,
        0.003,
        0.005,
        0.007,
        0.01,
        0.015,
        0.02,
        0.03,
        0.05,
        0.07,
        0.1,
        0.15,
        0.2,
        0.3,
        0.5,
        0.7,
    ),
    *(1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of the buckets, seconds; one more bucket takes what is longer."""

BUCKETS: Final = len(BOUNDS_S) + 1


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many durations fell into each bucket, and their sum in seconds."""

    counts: tuple[int, ...] = (0,) * BUCKETS
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """Durations in all."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """The duration that a share `q` of all did not pass, seconds; None without any.

        Interpolated within its bucket; the last bound where it is longer than that.
        """
        return quantile(self.counts, q)


class Histogram:
    """Counts durations; an `observe` costs a bisection."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def snapshot(self) -> Distribution:
        """Everything counted so far."""
        return Distribution(tuple(self._counts), self._sum_s)


def quantile(counts: Sequence[float], q: float) -> float | None:
    """:meth:`Distribution.quantile` of counts by bucket, added up from anywhere."""
    total = sum(counts)
    if total <= 0:
        return None
    rank, below = q * total, 0.0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            if index == len(BOUNDS_S):
                break
            lower = BOUNDS_S[index - 1] if index else 0.0
            return lower + (BOUNDS_S[index] - lower) * max(0.0, rank - below) / count
        below += count
    return BOUNDS_S[-1]
