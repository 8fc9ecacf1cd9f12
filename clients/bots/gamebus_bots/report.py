"""What a run of the bots found out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gamebus_bots.latency import STATISTICS, Latency
from gamebus_bots.metrics import PROMISED, RATES, measure
from gamebus_bots.scenario import Scenario
from gamebus_bots.servers import OTHERS
from gamebus_bots.tally import Tally
from gamebus_bots.threshold import Judged, Threshold

SATURATED_MS: Final = 5.0
"""Send lag p99 past which a run says nothing about the servers: the generator was the bottleneck."""

_BUSY_CORES: Final = 0.2

FORMAT: Final = "gamebus-bots/2"


@dataclass(frozen=True, slots=True)
class BotsReport:
    """The outcome of a run.

    Attributes:
        scenario: what was played, options of the command line included.
        tally: what was counted and measured.
        figures: the same by name, see :mod:`gamebus_bots.metrics`.
        thresholds: what became of them.
        interval_s: length of an interval of the measured time.
        environment: where it took place.
        servers: CPU and memory of local servers over time; empty when there are none on this machine.
        options: what else was asked for.
        notes: what a reader of the figures should know.
        acked: every acknowledged event as (room, publisher, id); only of runs in one process.
    """

    scenario: Scenario
    tally: Tally
    figures: Mapping[str, float | None]
    thresholds: tuple[Judged, ...]
    interval_s: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    servers: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    acked: tuple[tuple[str, str, str], ...] = ()

    @property
    def seconds(self) -> float:
        """How long was measured."""
        return round(self.tally.seconds, 3)

    @property
    def failures(self) -> tuple[str, ...]:
        """What was promised and not kept, in words; empty when all is well."""
        counts = self.tally.counts
        return tuple(f"{counts[name]} {name.replace('_', ' ')}" for name in PROMISED if counts[name])

    @property
    def crossed(self) -> bool:
        """Whether a threshold was crossed."""
        return not all(judged.kept for judged in self.thresholds)

    @property
    def invalid(self) -> str | None:
        """Why the latencies say nothing about the servers; None when they do."""
        lag_ms = self.figures["send_lag_p99"]
        if lag_ms is None or lag_ms <= SATURATED_MS:
            return None
        others = self.servers.get("mean_cores", {}).get(OTHERS, 0.0)
        busy = f" ({OTHERS} on this machine used {others:.1f} cores meanwhile)" if others >= _BUSY_CORES else ""
        return (
            f"generator saturated: its own send lag is {lag_ms:.1f} ms at p99, above {SATURATED_MS:.0f} ms{busy}; "
            "use more --processes, fewer players, or another machine"
        )

    @property
    def ok(self) -> bool:
        """Whether everything that is promised, and every threshold, was kept."""
        return not self.failures and not self.crossed

    def latency_ms(self, name: str) -> float | None:
        """A figure, rounded for people."""
        value = self.figures[name]
        return None if value is None else round(value, 2)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        tally = self.tally
        return {
            "format": FORMAT,
            "ok": self.ok,
            "valid": self.invalid is None,
            "invalid": self.invalid,
            "failures": list(self.failures),
            "thresholds": [asdict(judged) for judged in self.thresholds],
            "scenario": asdict(self.scenario),
            "options": dict(self.options),
            "seconds": self.seconds,
            "figures": dict(self.figures),
            "dropped": dict(tally.dropped),
            "errors": dict(tally.errors),
            "problems": dict(tally.problems),
            "pairs": {"watched": tally.counts["pairs_watched"], "all": tally.counts["pairs"]},
            "notes": list(self.notes),
            "environment": dict(self.environment),
            "servers": dict(self.servers),
            "interval_s": self.interval_s,
            "series": series(tally, self.interval_s),
            "latencies": {name: _latency(latency) for name, latency in tally.latencies.items()},
        }


def conclude(
    scenario: Scenario, tally: Tally, *, thresholds: Iterable[Threshold] = (), interval_s: float, **about: Any
) -> BotsReport:
    """Judge what was counted."""
    figures = measure(tally)
    judged = tuple(threshold.judge(figures) for threshold in thresholds)
    return BotsReport(scenario, tally, figures, judged, interval_s, **about)


def series(tally: Tally, interval_s: float) -> dict[str, list[float | None]]:
    """The measured time in intervals: its beginning in seconds, rates, and latencies in milliseconds."""
    found: dict[str, list[float | None]] = {"t": [], "connected": []}
    for number, point in enumerate(tally.points):
        found["t"].append(round(number * interval_s, 3))
        found["connected"].append(point.counts["connected"])
        for name in RATES:
            found.setdefault(f"{name}_per_s", []).append(round(point.counts[name] / point.span_s, 1))
        for name in ("position", "ack", "chat"):
            encoded = point.latencies.get(name)
            latency = None if encoded is None else Latency.decoded(encoded)
            for statistic in ("p50", "p99", "max"):
                value = None if latency is None else latency.statistic_ms(statistic)
                found.setdefault(f"{name}_{statistic}", []).append(value)
    return found


def _latency(latency: Latency) -> dict[str, Any]:
    statistics = {name: latency.statistic_ms(name) for name in STATISTICS}
    spectrum = latency.spectrum()
    return {"count": len(latency), **statistics, "spectrum": spectrum, **latency.encoded()}
