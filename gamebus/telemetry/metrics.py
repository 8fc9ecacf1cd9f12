"""Metrics: every metric of gamebus is declared by the component that counts it and exported here.

Components keep plain integers and offer them as a frozen dataclass by `statistics()`; this collector reads it when Prometheus scrapes. So
a hot path pays an integer addition, and exporting costs nothing between scrapes. Names follow Prometheus' rules: prefix `gamebus_`, base
units, `_total` on counters, no ids as labels.

A field of a statistics dataclass that is declared as a counter or a gauge becomes the metric `gamebus_<component>_<field>`, counters with
`_total` behind it. A field that is a mapping becomes one sample per key, labelled by the field's `label`. A histogram's field is a
:class:`~gamebus.telemetry.histogram.Distribution`, of seconds::

    @dataclass(frozen=True, slots=True)
    class HubStatistics:
        rooms: int = gauge("Rooms with members.")
        ticks_total: int = counter("Tick frames encoded.")
        dropped: Mapping[str, int] = counter("Realtime events dropped.", label="reason")
        age_seconds: Distribution = histogram("Age of positions in ticks.")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gamebus.telemetry.histogram import BOUNDS_S, Distribution

Statistics = Callable[[], Any]
"""Returns a frozen dataclass of numbers."""

Sample = int | float | Distribution

_FAMILY: Final = "family"
_HELP: Final = "help"
_LABEL: Final = "label"


def counter(help_: str, *, label: str | None = None) -> Any:
    """Declare a field of a statistics dataclass that only grows as long as its process lives."""
    return dataclasses.field(metadata={_FAMILY: CounterMetricFamily, _HELP: help_, _LABEL: label})


def gauge(help_: str, *, label: str | None = None) -> Any:
    """Declare a field of a statistics dataclass that goes up and down."""
    return dataclasses.field(metadata={_FAMILY: GaugeMetricFamily, _HELP: help_, _LABEL: label})


def histogram(help_: str) -> Any:
    """Declare a field of a statistics dataclass that counts durations; its name ends in `_seconds`."""
    return dataclasses.field(metadata={_FAMILY: HistogramMetricFamily, _HELP: help_, _LABEL: None})


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """A metric as its component declares it. `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    label: str | None


def declared(component: str, statistics: type[Any]) -> Iterator[Declared]:
    """The metrics of a component, by the names that Prometheus gives them."""
    for field in dataclasses.fields(statistics):
        if _FAMILY in field.metadata:
            family = field.metadata[_FAMILY]
            yield Declared(
                f"gamebus_{component}_{field.name}{_suffix(field.name, family)}",
                {CounterMetricFamily: "counter", GaugeMetricFamily: "gauge"}.get(family, "histogram"),
                field.metadata[_HELP],
                field.metadata[_LABEL],
            )


class StatisticsCollector(Collector):
    """Exports the statistics of the components of this process.

    Several components of one kind (the tails of two classes) are told apart by labels, which must then be the same for all of them.
    """

    def __init__(self) -> None:
        self._sources: dict[str, list[tuple[Statistics, Mapping[str, str]]]] = {}

    def add(self, component: str, statistics: Statistics, **labels: str) -> None:
        """Export what `statistics()` returns as metrics of `component`."""
        self._sources.setdefault(component, []).append((statistics, labels))

    def collect(self) -> Iterator[Metric]:
        """Read all statistics; called by the registry at each scrape."""
        for component, sources in self._sources.items():
            yield from _families(component, [(statistics(), labels) for statistics, labels in sources])

    def snapshot(self) -> dict[str, Sample]:
        """All samples of this moment by the name that Prometheus would give them, without the prefix: `tail_lag{delivery=...}`."""
        samples: dict[str, Sample] = {}
        for component, sources in self._sources.items():
            for statistics, labels in sources:
                for name, family, label, value in _fields(component, statistics()):
                    suffix = _suffix(name, family)
                    for key, sample in value.items() if label else [(None, value)]:
                        named = [*labels.items(), *([(label, key)] if label else [])]
                        braces = "{" + ",".join(f"{name}={value}" for name, value in named) + "}" if named else ""
                        samples[f"{name}{suffix}{braces}"] = sample
        return samples

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry must not call :meth:`collect` before the components have started."""
        return ()


def _suffix(name: str, family: type[Metric]) -> str:
    return "_total" if family is CounterMetricFamily and not name.endswith("_total") else ""


def _declared(statistics: Any) -> Iterator[dataclasses.Field[Any]]:
    """Fields that are metrics."""
    return (field for field in dataclasses.fields(statistics) if _FAMILY in field.metadata)


def _fields(component: str, statistics: Any) -> Iterator[tuple[str, type[Metric], str | None, Any]]:
    """Name, family, label and value of each declared field."""
    for field in _declared(statistics):
        value = getattr(statistics, field.name)
        yield f"{component}_{field.name}", field.metadata[_FAMILY], field.metadata[_LABEL], value


def _families(component: str, sources: list[tuple[Any, Mapping[str, str]]]) -> Iterator[Metric]:
    for field in _declared(sources[0][0]):
        name = f"gamebus_{component}_{field.name}"
        label = field.metadata[_LABEL]
        names = [*sources[0][1], *([label] if label else [])]
        family = field.metadata[_FAMILY](name, field.metadata[_HELP], labels=names)
        for statistics, labels in sources:
            value = getattr(statistics, field.name)
            if isinstance(value, Distribution):
                family.add_metric([*labels.values()], buckets=_buckets(value), sum_value=value.sum_s)
                continue
            samples = value.items() if label else [(None, value)]
            for key, number in samples:
                family.add_metric([*labels.values(), *([str(key)] if label else [])], float(number))
        yield family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """As Prometheus wants them: each one counts what is below its bound, too."""
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(distribution.counts)), strict=True))
