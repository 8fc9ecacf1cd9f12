"""Which version runs: the figure of a process that only says what it is."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version

from gamebus.telemetry.metrics import StatisticsCollector, gauge


@dataclass(frozen=True, slots=True)
class BuildStatistics:
    """What is running; always 1."""

    info: int = gauge("1, labelled by the versions of gamebus and Python.")


def add_build_info(collector: StatisticsCollector) -> None:
    """Export `gamebus_build_info`."""
    collector.add(
        "build", lambda: BuildStatistics(info=1), version=version("gamebus"), python=platform.python_version()
    )
