"""Metrics: every metric of gamebus is declared by the component that counts it and exported here.

Components keep plain integers and offer them as a frozen dataclass by `statistics()`; this collector reads it when Prometheus scrapes. So
a hot path pays an integer addition, and exporting costs nothing between scrapes. Names follow Prometheus' rules: prefix `gamebus_`, base
units, `_total` on counters, no ids as labels.

A field of a statistics dataclass becomes the metric `gamebus_<component>_<field>`: a counter when its name ends in `_total`, else a gauge. A
field that is a mapping becomes one sample per key, labelled by the field's `label`::

    @dataclass(frozen=True, slots=True)
    class HubStatistics:
        rooms: int = metric("Rooms with members.")
        ticks_total: int = metric("Tick frames encoded.")
        dropped_total: Mapping[str, int] = metric("Realtime events dropped.", label="reason")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Statistics = Callable[[], Any]
"""Returns a frozen dataclass of numbers."""

_HELP: Final = "help"
_LABEL: Final = "label"


def metric(help_: str, *, label: str | None = None) -> Any:
    """Declare a field of a statistics dataclass as a metric."""
    return dataclasses.field(metadata={_HELP: help_, _LABEL: label})


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

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry must not call :meth:`collect` before the components have started."""
        return ()


def _families(component: str, sources: list[tuple[Any, Mapping[str, str]]]) -> Iterator[Metric]:
    first = sources[0][0]
    for field in dataclasses.fields(first):
        if _HELP not in field.metadata:
            continue
        name = f"gamebus_{component}_{field.name}"
        kind = CounterMetricFamily if field.name.endswith("_total") else GaugeMetricFamily
        label = field.metadata[_LABEL]
        names = [*sources[0][1], *([label] if label else [])]
        family = kind(name, field.metadata[_HELP], labels=names)
        for statistics, labels in sources:
            value = getattr(statistics, field.name)
            samples = value.items() if label else [(None, value)]
            for key, number in samples:
                family.add_metric([*labels.values(), *([str(key)] if label else [])], float(number))
        yield family
