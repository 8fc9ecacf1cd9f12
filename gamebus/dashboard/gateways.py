"""Names of the processes that live, for people."""

from __future__ import annotations

import time

from gamebus.state.vitals import STALE_MS, Vitals, VitalsState


def process_name(vitals: Vitals) -> str:
    """What operators call a process: `host:pid`."""
    return f"{vitals.host}:{vitals.pid}"


async def live_gateways(state: VitalsState) -> dict[str, str]:
    """Id -> name of the gateways that wrote their vitals within the last seconds.

    Raises:
        StateError: Redis could not answer.
    """
    oldest_ms = time.time_ns() // 1_000_000 - STALE_MS
    return {
        vitals.id: process_name(vitals)
        for vitals in await state.read()
        if vitals.role == "gateway" and vitals.at_ms >= oldest_ms
    }
