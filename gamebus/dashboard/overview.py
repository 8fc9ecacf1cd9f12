"""Overview: is the game alive, and is anything lost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gamebus.catalog import Catalog
from gamebus.dashboard.charts import Charts, percentile_ms
from gamebus.state.connection import Connection
from gamebus.state.directory import DirectoryState
from gamebus.state.ledger import LedgerState
from gamebus.state.loss_summary import read_summary
from gamebus.state.timeline import TimelineState
from gamebus.state.vitals import STALE_MS, Vitals, VitalsState

_RATE_S: Final = 5
_PERCENTILE_S: Final = 10


class Overview:
    """The numbers of the whole fleet and its charts."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._vitals = VitalsState(connection)
        self._charts = Charts(TimelineState(connection))
        self._directory = DirectoryState(connection)
        self._ledger = LedgerState(connection)
        self._catalog = catalog

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        now_ms = time.time_ns() // 1_000_000
        charts = await self._charts.read(now_ms)
        vitals = await self._vitals.read()
        fresh = [process for process in vitals if now_ms - process.at_ms <= STALE_MS]
        # The timeline has a room of two gateways twice.
        rooms = await self._directory.room_names(process.id for process in fresh if process.role == "gateway")
        losses = (await read_summary(self._ledger, self._catalog))["types"]
        now = self._now(fresh, losses) | {"rooms": len(rooms), "stale": len(vitals) - len(fresh)}
        return {"now": now, "charts": charts}

    def _now(self, fresh: Sequence[Vitals], losses: Sequence[dict[str, Any]]) -> dict[str, Any]:
        rates, latencies = self._charts.recent(_RATE_S), self._charts.recent(_PERCENTILE_S)
        gateways = [process for process in fresh if process.role == "gateway"]
        attempted = sum(loss["attempted"] for loss in losses)
        processed = sum(loss["processed"] for loss in losses)
        return {
            "players": sum(int(_number(process, "hub_clients")) for process in gateways),
            "connections": sum(int(_number(process, "gateway_connections")) for process in gateways),
            "gateways": len(gateways),
            "processors": len(fresh) - len(gateways),
            "realtime_per_s": round(rates.get("realtime_attempted", 0), 1),
            "durable_per_s": round(rates.get("durable_acked", 0), 1),
            "delivered_per_s": round(rates.get("ticks_delivered", 0) + rates.get("events_delivered", 0), 1),
            "errors_per_s": round(_refused(rates) + rates.get("overflows", 0) + rates.get("redis_failures", 0), 2),
            "realtime_lag": round(rates.get("realtime_lag", 0)),
            "durable_lag": round(rates.get("durable_lag", 0)),
            "dead_letters_per_s": round(rates.get("dead_letters", 0), 2),
            "loss_rate": (attempted - processed) / attempted if attempted else None,
            "unknown": sum(loss["unknown"] for loss in losses),
            "duplicates": sum(loss["duplicates"] for loss in losses),
        } | {
            f"{name}_{label}_ms": percentile_ms(latencies, name, q)
            for name in ("ack", "age")
            for label, q in (("p50", 0.5), ("p99", 0.99))
        }


def _refused(rates: Mapping[str, float]) -> float:
    """Durable publishes that were answered otherwise than by an ack."""
    return rates.get("durable_answered", 0.0) - rates.get("durable_acked", 0.0)


def _number(process: Vitals, sample: str) -> float:
    value = process.samples.get(sample, 0)
    return value if isinstance(value, int | float) else 0.0
