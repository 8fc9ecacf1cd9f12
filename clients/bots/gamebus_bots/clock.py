"""The one clock of a run."""

from __future__ import annotations

import asyncio
import time

clock = time.perf_counter
"""Monotonic seconds; on one machine all processes share them."""


async def sleep_until(at_s: float) -> None:
    """Return at that time or after it: a loop's timers may be up to a millisecond early."""
    while (left_s := at_s - clock()) > 0:  # noqa: ASYNC110 - time is what is awaited
        await asyncio.sleep(left_s)
