"""Latencies of many samples in little memory."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from hdrh.histogram import HdrHistogram

# hdrh carries no types.
_Histogram: Any = HdrHistogram

_HIGHEST_US: Final = 60_000_000


class Latency:
    """An HdrHistogram of 1 us to 60 s with two significant digits. What lies outside is clipped and counted."""

    def __init__(self) -> None:
        self._histogram = _Histogram(1, _HIGHEST_US, 2)
        self.clipped = 0
        """Samples below 0 or above 60 s; the histogram itself would drop them silently."""

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def record(self, seconds: float) -> None:
        """Take one sample."""
        microseconds = round(seconds * 1e6)
        if not 0 <= microseconds <= _HIGHEST_US:
            self.clipped += 1
            microseconds = min(max(microseconds, 0), _HIGHEST_US)
        self._histogram.record_value(microseconds)

    def percentiles_ms(self) -> tuple[float | None, float | None]:
        """p50 and p99; None without samples."""
        if len(self) == 0:
            return None, None
        values = self._histogram.get_percentile_to_value_dict([50.0, 99.0])
        return round(values[50.0] / 1000, 3), round(values[99.0] / 1000, 3)


class Sampler:
    """Picks one of `stride` on average, at random distances, so that no pattern of the load is favoured.

    Recording costs microseconds; hundreds of bots receive hundreds of thousands of positions a second.
    """

    def __init__(self, stride: int, rng: Random) -> None:
        self.stride = stride
        self._rng = rng
        self._skip = 0

    def pick(self, count: int) -> list[int]:
        """Which of the next `count` items are sampled, by index."""
        picked = []
        while self._skip < count:
            picked.append(self._skip)
            self._skip += 1 if self.stride == 1 else 1 + int(self._rng.random() * (2 * self.stride - 1))
        self._skip -= count
        return picked
