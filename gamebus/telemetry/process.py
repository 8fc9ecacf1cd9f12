"""What a process costs and whether its event loop keeps up."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gamebus.telemetry.metrics import counter, gauge

_PROBE_INTERVAL_S: Final = 0.1
_WINDOW: Final = 100
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """Figures of this process."""

    resident_memory_bytes: int = gauge("Memory in RAM (0 where there is no /proc).")
    cpu_seconds_total: float = counter("CPU time of all threads, user and system.")
    start_time_seconds: float = gauge("When the process began to serve, Unix seconds.")
    event_loop_lag_seconds: float = gauge("Longest delay of the event loop in the last ten seconds.")


class ProcessMonitor:
    """Watches the process that it is in."""

    def __init__(self) -> None:
        self._started_s = time.time()
        self._lags: deque[float] = deque([0.0], maxlen=_WINDOW)

    async def run(self) -> None:
        """Measure the event loop until cancelled: by how much a short sleep is too long."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PROBE_INTERVAL_S
            await asyncio.sleep(_PROBE_INTERVAL_S)
            self._lags.append(max(0.0, loop.time() - due))

    def statistics(self) -> ProcessStatistics:
        """Figures of this moment."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        there = _STATM.exists()
        return ProcessStatistics(
            resident_memory_bytes=int(_STATM.read_text().split()[1]) * _PAGE_BYTES if there else 0,
            cpu_seconds_total=usage.ru_utime + usage.ru_stime,
            start_time_seconds=self._started_s,
            event_loop_lag_seconds=max(self._lags),
        )
