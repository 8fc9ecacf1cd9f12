"""Gateways and processors: which processes there are and how each one is."""

from __future__ import annotations

import time
from typing import Any

from gamebus.dashboard.gateways import process_name
from gamebus.state.connection import Connection
from gamebus.state.vitals import STALE_MS, Vitals, VitalsState
from gamebus.telemetry.histogram import Distribution


class Processes:
    """Every process that wrote its vitals within the last minute, those that stopped doing so included."""

    def __init__(self, connection: Connection) -> None:
        self._vitals = VitalsState(connection)
        # Process -> its vitals of the last time and of the time before, for rates.
        self._before: dict[str, tuple[Vitals, Vitals | None]] = {}

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        now_ms = time.time_ns() // 1_000_000
        found = await self._vitals.read()
        kept: dict[str, tuple[Vitals, Vitals | None]] = {}
        for vitals in found:
            last = self._before.get(vitals.id)
            if last is not None and last[0].at_ms == vitals.at_ms:
                kept[vitals.id] = last
            else:
                kept[vitals.id] = (vitals, last[0] if last else None)
        self._before = kept
        rows = [_row(now, before, now_ms) for now, before in kept.values()]
        return {"processes": sorted(rows, key=lambda row: (row["role"], row["name"]))}


def _row(vitals: Vitals, before: Vitals | None, now_ms: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": vitals.id,
        "name": process_name(vitals),
        "role": vitals.role,
        "version": vitals.version,
        "url": vitals.url,
        "ops": vitals.ops,
        "age_ms": now_ms - vitals.at_ms,
        "stale": now_ms - vitals.at_ms > STALE_MS,
        "uptime_s": (vitals.at_ms - vitals.started_ms) // 1000,
    }
    samples = {
        name: {"count": sample.count, "p50_ms": _ms(sample, 0.5), "p99_ms": _ms(sample, 0.99)}
        if isinstance(sample, Distribution)
        else sample
        for name, sample in vitals.samples.items()
    }
    rates: dict[str, float] = {}
    if before is not None and vitals.at_ms > before.at_ms:
        seconds = (vitals.at_ms - before.at_ms) / 1000
        for name, sample in vitals.samples.items():
            earlier = before.samples.get(name)
            if "_total" in name and isinstance(sample, int | float) and isinstance(earlier, int | float):
                rates[name] = round((sample - earlier) / seconds, 2)
    return row | {"samples": samples, "rates": rates}


def _ms(distribution: Distribution, q: float) -> float | None:
    seconds = distribution.quantile(q)
    return None if seconds is None else round(seconds * 1000, 2)
