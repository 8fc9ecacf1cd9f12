"""The ops endpoint over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gamebus.telemetry.metrics import StatisticsCollector, counter
from gamebus.telemetry.ops import OpsServer


@dataclass(frozen=True, slots=True)
class Sample:
    events: int = counter("Events.")


class Harness:
    def __init__(self) -> None:
        self.conditions = {"kafka": True, "redis": True}
        collector = StatisticsCollector()
        collector.add("test", lambda: Sample(events=3))
        self.server = OpsServer(host="127.0.0.1", port=0, collector=collector, readiness=lambda: self.conditions)

    async def get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(self.server.url + path, timeout=5) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(harness.server.run())
        yield harness
        harness.server.stop()


class TestOpsServer:
    async def test_healthz_answers_while_the_loop_turns(self, harness: Harness) -> None:
        """An orchestrator restarts a process only when /healthz stops answering."""
        status, body = await harness.get("/healthz")

        assert status == 200
        assert json.loads(body)["status"] == "ok"

    async def test_readyz_names_the_condition_that_does_not_hold(self, harness: Harness) -> None:
        """A process that cannot do its work answers 503 and says why."""
        assert (await harness.get("/readyz"))[0] == 200

        harness.conditions["kafka"] = False
        status, body = await harness.get("/readyz")

        assert status == 503
        assert json.loads(body)["conditions"] == {"kafka": False, "redis": True}

    async def test_metrics_are_prometheus_text(self, harness: Harness) -> None:
        """Prometheus can scrape the process: what it counts, which version it is, and what every Prometheus client exports."""
        status, body = await harness.get("/metrics")

        assert status == 200
        assert "gamebus_test_events_total 3.0" in body
        assert re.search(r'^gamebus_build_info{.*version="[0-9.]+"} 1.0$', body, re.MULTILINE)
        assert {"process_open_fds", "process_cpu_seconds_total"} <= {line.split(" ")[0] for line in body.splitlines()}

    async def test_a_taken_port_is_an_error_before_anything_starts(self, harness: Harness) -> None:
        """Two processes on one ops port must not run with one of them silent."""
        port = int(harness.server.url.rsplit(":", 1)[1])

        with pytest.raises(OSError):
            OpsServer(host="127.0.0.1", port=port, collector=StatisticsCollector(), readiness=dict)
