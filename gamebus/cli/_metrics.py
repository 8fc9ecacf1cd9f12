"""Every metric of gamebus: what the components of its processes declare, in one list for documentation and checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gamebus.delivery.durable_consumer import DurableConsumerStatistics
from gamebus.delivery.durable_publisher import DurablePublisherStatistics
from gamebus.delivery.realtime_consumer import RealtimeConsumerStatistics
from gamebus.delivery.realtime_publisher import RealtimeStatistics
from gamebus.delivery.tail import TailStatistics
from gamebus.gateway.hub_statistics import HubStatistics
from gamebus.gateway.server import ServerStatistics
from gamebus.processors.durable_effects import DurableEffectsStatistics
from gamebus.processors.loss_account import LossAccountStatistics
from gamebus.processors.realtime_effects import RealtimeEffectsStatistics
from gamebus.state.connection import ConnectionStatistics
from gamebus.telemetry.build import BuildStatistics
from gamebus.telemetry.metrics import Declared, declared
from gamebus.telemetry.process import ProcessStatistics


@dataclass(frozen=True, slots=True)
class Component:
    """What exports metrics `gamebus_NAME_...`, and in which processes. `labels`: those that every metric of it has."""

    name: str
    statistics: type[Any]
    where: str
    labels: tuple[str, ...] = ()


COMPONENTS: Final = (
    Component("gateway", ServerStatistics, "gateway"),
    Component("hub", HubStatistics, "gateway"),
    Component("realtime_publisher", RealtimeStatistics, "gateway"),
    Component("durable_publisher", DurablePublisherStatistics, "gateway"),
    Component("tail", TailStatistics, "gateway", ("delivery",)),
    Component("realtime_consumer", RealtimeConsumerStatistics, "realtime processor"),
    Component("realtime_effects", RealtimeEffectsStatistics, "realtime processor"),
    Component("realtime_account", LossAccountStatistics, "realtime processor"),
    Component("durable_consumer", DurableConsumerStatistics, "durable processor"),
    Component("durable_effects", DurableEffectsStatistics, "durable processor"),
    Component("dead_letter_publisher", DurablePublisherStatistics, "durable processor"),
    Component("redis", ConnectionStatistics, "all; `processor` names which one in a processor", ("processor",)),
    Component("process", ProcessStatistics, "all"),
    Component("build", BuildStatistics, "all", ("version", "python")),
)

STANDARD: Final = {
    "process_cpu_seconds_total": "CPU time of all threads, user and system.",
    "process_resident_memory_bytes": "Memory in RAM.",
    "process_virtual_memory_bytes": "Address space.",
    "process_start_time_seconds": "When the process began, Unix seconds.",
    "process_open_fds": "Open file descriptors: sockets, above all.",
    "process_max_fds": "How many it may have.",
}
"""What every Prometheus client exports, on Linux."""


def metrics() -> Iterator[tuple[Component, Declared]]:
    """Every metric of gamebus with its component."""
    for component in COMPONENTS:
        assert dataclasses.is_dataclass(component.statistics)
        for metric in declared(component.name, component.statistics):
            yield component, metric


def page() -> str:
    """The tables of all metrics, for docs/operations.md."""
    lines: list[str] = []
    for component in COMPONENTS:
        labels = f", labelled by {' and '.join(f'`{label}`' for label in component.labels)}" if component.labels else ""
        lines += [f"### `gamebus_{component.name}`", "", f"Exported by: {component.where}{labels}.", ""]
        lines += ["| metric | kind | meaning |", "|---|---|---|"]
        for metric in declared(component.name, component.statistics):
            label = f"{{{metric.label}}}" if metric.label else ""
            lines.append(f"| `{metric.name}{label}` | {metric.kind} | {metric.help} |")
        lines.append("")
    lines += ["### `process`", "", "Exported by: all, on Linux; of every Prometheus client.", ""]
    lines += ["| metric | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {help_} |" for name, help_ in STANDARD.items()]
    return "\n".join(lines)
