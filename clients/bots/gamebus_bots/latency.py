"""Latencies of many samples in little memory, and what is sampled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Final, Self

from hdrh.histogram import HdrHistogram

# hdrh carries no types.
_Histogram: Any = HdrHistogram

_HIGHEST_US: Final = 60_000_000
_DIGITS: Final = 3

PERCENTILES: Final[Mapping[str, float]] = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
STATISTICS: Final = ("min", "mean", *PERCENTILES, "max")
"""Names of what is told of a latency, in milliseconds."""


class Latency:
    """An HdrHistogram of 1 us to 60 s with three significant digits. What lies outside is clipped and counted."""

    __slots__ = ("_histogram", "clipped")

    def __init__(self) -> None:
        self._histogram = _Histogram(1, _HIGHEST_US, _DIGITS)
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

    def add(self, other: Latency) -> None:
        """Take all samples of another: exactly as if they had been recorded here."""
        # hdrh takes the 0 of an empty histogram for its least value.
        if len(other):
            self._histogram.add(other._histogram)
        self.clipped += other.clipped

    def statistic_ms(self, name: str) -> float | None:
        """One of STATISTICS; None without samples."""
        histogram = self._histogram
        if len(self) == 0:
            return None
        match name:
            case "min":
                value = histogram.get_min_value()
            case "max":
                value = histogram.get_max_value()
            case "mean":
                value = histogram.get_mean_value()
            case _:
                value = histogram.get_value_at_percentile(PERCENTILES[name])
        return round(float(value) / 1000, 3)

    def spectrum(self) -> list[tuple[float, float]]:
        """Percentiles (0..100) and their milliseconds, ever finer towards 100."""
        if len(self) == 0:
            return []
        points = [
            (float(item.percentile_level_iterated_to), item.value_iterated_to / 1000)
            for item in self._histogram.get_percentile_iterator(5)
        ]
        return [(percentile, round(value, 3)) for percentile, value in points if percentile < 100]

    def hgrm(self) -> bytes:
        """The percentile distribution in milliseconds, as HdrHistogram's tools plot it."""
        from io import BytesIO

        out = BytesIO()
        self._histogram.output_percentile_distribution(out, 1000.0)
        return out.getvalue()

    def encoded(self) -> dict[str, Any]:
        """For JSON: HdrHistogram's own compressed V2 encoding, in base64."""
        return {"hdr": self._histogram.encode().decode("ascii"), "clipped": self.clipped}

    @classmethod
    def decoded(cls, document: Mapping[str, Any]) -> Self:
        """Of `encoded`."""
        made = cls()
        part = cls()
        part._histogram = _Histogram.decode(document["hdr"])
        part.clipped = int(document["clipped"])
        made.add(part)
        return made

    @classmethod
    def sum(cls, parts: Iterable[Latency]) -> Self:
        """All samples of some."""
        made = cls()
        for part in parts:
            made.add(part)
        return made


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
