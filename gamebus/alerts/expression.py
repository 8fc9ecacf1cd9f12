"""What an alert looks at: small expressions over metrics, which are evaluated here and rendered for Prometheus.

An expression is about a group of processes: one process, or the whole fleet. It is None where nothing can be said: no process has the
metric, or too little happened for a share to mean anything.

Both readings agree on what is measured, not on the second: Prometheus scrapes every few seconds, so its windows are never shorter
than :data:`SHORTEST_WINDOW_S`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gamebus.alerts.history import ProcessHistory, Selector

SHORTEST_WINDOW_S: Final = 20
"""Four scrapes of deploy/prometheus/prometheus.yml: a rate needs two of them, and one may fail."""

_TWO_SCRAPES_S: Final = 12

Group = Sequence[ProcessHistory]


class Expression(Protocol):
    """A figure of a group of processes."""

    def value(self, group: Group, now: float) -> float | None:
        """The figure at monotonic seconds `now`."""

    def promql(self, by: str) -> str:
        """The same for Prometheus; `by` is empty for the fleet, or ` by (...)`."""

    def selectors(self) -> Iterator[Selector]:
        """The metrics that it is made of."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """One or more metrics, added up."""

    metrics: tuple[Selector, ...]

    def selectors(self) -> Iterator[Selector]:
        yield from self.metrics

    def _promql(self, by: str, before: str = "", after: str = "") -> str:
        parts = [f"sum{by} ({before}{_series(selector)}{after})" for selector in self.metrics]
        return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Level(_Sum):
    """What gauges show now."""

    def value(self, group: Group, now: float) -> float | None:
        return _total(history.level(selector, now) for history in group for selector in self.metrics)

    def promql(self, by: str) -> str:
        return self._promql(by)


@dataclass(frozen=True, slots=True)
class Increase(_Sum):
    """By how much counters grew within the last `over_s` seconds."""

    over_s: float = 30.0

    def value(self, group: Group, now: float) -> float | None:
        return _total(history.increase(selector, self.over_s, now) for history in group for selector in self.metrics)

    def promql(self, by: str) -> str:
        return self._promql(by, "increase(", f"[{_window(self.over_s)}])")


@dataclass(frozen=True, slots=True)
class Rate(_Sum):
    """By how much counters grow each second, in the mean of the last `over_s` seconds."""

    over_s: float = 5.0

    def value(self, group: Group, now: float) -> float | None:
        grown = Increase(self.metrics, self.over_s).value(group, now)
        return None if grown is None else grown / self.over_s

    def promql(self, by: str) -> str:
        return self._promql(by, "rate(", f"[{_window(self.over_s)}])")


@dataclass(frozen=True, slots=True)
class Growth(_Sum):
    """By how much gauges went up within the last `over_s` seconds."""

    over_s: float = 30.0

    def value(self, group: Group, now: float) -> float | None:
        return _total(history.growth(selector, self.over_s, now) for history in group for selector in self.metrics)

    def promql(self, by: str) -> str:
        return self._promql(by, "delta(", f"[{_window(self.over_s)}])")


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure divided by another; nothing while the other is not above `floor`."""

    part: Expression
    whole: Expression
    floor: float = 0.0

    def value(self, group: Group, now: float) -> float | None:
        part, whole = self.part.value(group, now), self.whole.value(group, now)
        return None if part is None or whole is None or whole <= self.floor else part / whole

    def promql(self, by: str) -> str:
        return f"{self.part.promql(by)} / ({self.whole.promql(by)} > {self.floor:g})"

    def selectors(self) -> Iterator[Selector]:
        yield from self.part.selectors()
        yield from self.whole.selectors()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How much is missing from what there should be."""

    present: Expression
    wanted: Expression

    def value(self, group: Group, now: float) -> float | None:
        present, wanted = self.present.value(group, now), self.wanted.value(group, now)
        return None if present is None or wanted is None else wanted - present

    def promql(self, by: str) -> str:
        return f"({self.wanted.promql(by)} - {self.present.promql(by)})"

    def selectors(self) -> Iterator[Selector]:
        yield from self.present.selectors()
        yield from self.wanted.selectors()


@dataclass(frozen=True, slots=True)
class Absence:
    """1 while no process of the group that is alive has the metric."""

    metric: Selector

    def value(self, group: Group, now: float) -> float | None:
        return float(all(history.level(self.metric, now) is None for history in group))

    def promql(self, by: str) -> str:  # noqa: ARG002 - nobody has what is absent
        return f"absent({_series(self.metric)})"

    def selectors(self) -> Iterator[Selector]:
        yield self.metric


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds since a process said something. Prometheus knows only that a target did not answer twice, since one scrape may fail."""

    def value(self, group: Group, now: float) -> float | None:
        return max((history.silent_s(now) for history in group), default=None)

    def promql(self, by: str) -> str:
        return f'{_TWO_SCRAPES_S} * (max{by} (max_over_time(up{{job="gamebus"}}[{_TWO_SCRAPES_S}s])) == bool 0)'

    def selectors(self) -> Iterator[Selector]:
        yield from ()


def metric(name: str, **labels: str | tuple[str, ...]) -> Selector:
    """Samples of a metric; at most one label, with one value or several."""
    for label, values in labels.items():
        return Selector(name, label, (values,) if isinstance(values, str) else values)
    return Selector(name)


def _total(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _series(selector: Selector) -> str:
    sign = "=" if len(selector.values) == 1 else "=~"
    labels = f'{{{selector.label}{sign}"{"|".join(selector.values)}"}}' if selector.label else ""
    return f"gamebus_{selector.metric}{labels}"


def _window(over_s: float) -> str:
    return f"{max(over_s, SHORTEST_WINDOW_S):g}s"
