"""The process that the tests run in, watched."""

from __future__ import annotations

import asyncio
import time

from gamebus.telemetry.process import ProcessMonitor


class TestProcessMonitor:
    async def test_a_loop_that_was_blocked_lagged(self) -> None:
        """What blocks the event loop is told for ten seconds."""
        monitor = ProcessMonitor()
        running = asyncio.create_task(monitor.run())
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - the fault
        while monitor.statistics().event_loop_lag_seconds == 0:  # noqa: ASYNC110 - what is waited for is what is tested
            await asyncio.sleep(0)
        running.cancel()

        assert monitor.statistics().event_loop_lag_seconds >= 0.3

    def test_memory_and_time_are_those_of_this_process(self) -> None:
        """A Python process has some megabytes, and used CPU to come so far."""
        figures = ProcessMonitor().statistics()

        assert figures.resident_memory_bytes > 5_000_000
        assert figures.cpu_seconds_total > 0
