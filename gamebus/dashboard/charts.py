"""The charts of the overview: the timeline of the fleet, kept here so that each second is read from Redis a few times only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gamebus.state.timeline import MINUTES, SECONDS, TimelineState
from gamebus.telemetry.histogram import quantile
from gamebus.telemetry.series import AMOUNTS, LATENCIES, LEVELS, buckets

# Processes write a second up to a second after its end, and a busy one a little later.
_SETTLE_S: Final = 2
_READ_AGAIN: Final = 5

Bucket = Mapping[str, float]


class Charts:
    """The last five minutes by second and the last hour by minute."""

    def __init__(self, timeline: TimelineState) -> None:
        self._timeline = timeline
        self._seconds: dict[int, Bucket] = {}
        self._minutes: dict[int, Bucket] = {}

    async def read(self, now_ms: int) -> dict[str, Any]:
        """Series of both resolutions, up to the last second and minute that are complete.

        Raises:
            StateError: Redis could not answer.
        """
        second = now_ms // 1000 - _SETTLE_S
        minute = second // 60
        self._seconds = await _refresh(self._timeline.seconds, self._seconds, second, SECONDS)
        self._minutes = await _refresh(self._timeline.minutes, self._minutes, minute - 1, MINUTES)
        return {
            "seconds": {"last": second, "step_s": 1, "series": _series(list(self._seconds.values()), 1)},
            "minutes": {"last": (minute - 1) * 60, "step_s": 60, "series": _series(list(self._minutes.values()), 60)},
        }

    def recent(self, seconds: int) -> dict[str, float]:
        """What happened per second in the last seconds, as a mean; buckets of latencies as sums."""
        taken = list(self._seconds.values())[-seconds:]
        total: dict[str, float] = {}
        for bucket in taken:
            for name, amount in bucket.items():
                total[name] = total.get(name, 0.0) + amount
        return {name: amount if ":" in name else amount / max(1, len(taken)) for name, amount in total.items()}


def percentile_ms(amounts: Bucket, series: str, q: float) -> float | None:
    """A percentile of a latency series, milliseconds; None without any event."""
    seconds = quantile(buckets(amounts, series), q)
    return None if seconds is None else round(seconds * 1000, 2)


async def _refresh(read: Any, kept: Mapping[int, Bucket], last: int, count: int) -> dict[int, Bucket]:
    """The buckets up to `last`; those that were complete when they were read are not read again."""
    first = last - count + 1
    since = max([first, *(number for number in kept if number <= last - _READ_AGAIN)]) if kept else first
    fresh: Sequence[Bucket] = await read(since, last - since + 1)
    return {number: kept.get(number, {}) for number in range(first, since)} | dict(enumerate(fresh, since))


def _series(taken: Sequence[Bucket], step_s: int) -> dict[str, list[float | None]]:
    """Rates per second, mean levels, and percentiles in milliseconds."""
    series: dict[str, list[float | None]] = {}
    for name in (*AMOUNTS, *LEVELS):
        series[name] = [round(bucket.get(name, 0.0) / step_s, 2) for bucket in taken]
    answered, acked = series.pop("durable_answered"), series["durable_acked"]
    series["durable_refused"] = [round((a or 0) - (b or 0), 2) for a, b in zip(answered, acked, strict=True)]
    for name in LATENCIES:
        for label, q in (("p50", 0.5), ("p99", 0.99)):
            series[f"{name}_{label}_ms"] = [percentile_ms(bucket, name, q) for bucket in taken]
    return series
