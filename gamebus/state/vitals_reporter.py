"""Says once a second how this process is, for operators."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version

import structlog

from gamebus.errors import StateError
from gamebus.state.connection import Connection
from gamebus.state.timeline import TimelineState
from gamebus.state.vitals import Vitals, VitalsState
from gamebus.telemetry.metrics import Sample, StatisticsCollector
from gamebus.telemetry.process import ProcessMonitor
from gamebus.telemetry.series import amounts

log = structlog.get_logger(__name__)


class VitalsReporter:
    """Writes the vitals of this process and its share of the timeline, and watches its event loop.

    Guarantees: the game never waits for it. Not guaranteed: a second during which Redis does not answer.

    Args:
        id_: of this boot of the process.
        role: see :class:`~gamebus.state.vitals.Vitals`.
        ops: URL of the ops endpoint.
        collector: the statistics of the process; those of the process itself are added.
    """

    def __init__(
        self, connection: Connection, *, id_: str, role: str, ops: str, collector: StatisticsCollector
    ) -> None:
        self.url = ""
        """Where clients connect, once they can."""

        self._vitals = VitalsState(connection)
        self._timeline = TimelineState(connection)
        self._id = id_
        self._role = role
        self._ops = ops
        self._collector = collector
        self._monitor = ProcessMonitor()
        self._started_ms = time.time_ns() // 1_000_000
        self._current = True
        collector.add("process", self._monitor.statistics)

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._monitor.run(), name="process-monitor")
            before = self._collector.snapshot()
            while True:
                await asyncio.sleep(until_next_second(time.time()))
                now = self._collector.snapshot()
                await self._report(before, now)
                before = now

    async def forget(self) -> None:
        """Say that the process ends in order."""
        try:
            await self._vitals.forget(self._id)
        except StateError as error:
            log.warning("vitals.left_behind", error=str(error))

    async def _report(self, before: Mapping[str, Sample], now: Mapping[str, Sample]) -> None:
        at_ms = time.time_ns() // 1_000_000
        vitals = Vitals(
            id=self._id,
            role=self._role,
            host=platform.node(),
            pid=os.getpid(),
            version=version("gamebus"),
            started_ms=self._started_ms,
            at_ms=at_ms,
            url=self.url,
            ops=self._ops,
            samples=now,
        )
        try:
            await self._vitals.write(vitals)
            # The second that has just ended: a report is a little late, or a hair too early.
            await self._timeline.add(round(at_ms / 1000) - 1, amounts(before, now))
        except StateError as error:
            if self._current:
                log.warning("vitals.delayed", error=str(error))
            self._current = False
        else:
            self._current = True


def until_next_second(now: float) -> float:
    """Seconds from a Unix time to the next full second that is at least half a second away.

    By the clock and not by an interval: an interval drifts, and every now and then a second of the charts would get nothing.
    """
    left = 1.0 - now % 1.0
    return left if left >= 0.5 else left + 1.0
