"""`gamebus top` on a real Redis."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from typer.testing import CliRunner

from gamebus.cli import app
from gamebus.settings import RedisSettings
from gamebus.state.connection import connect
from gamebus.state.vitals import Vitals, VitalsState
from tests.redis_server import running_redis_server


async def _write_vitals(url: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    connection = connect(RedisSettings(url=url))
    for id_, role, age_ms in (("a1", "gateway", 0), ("b1", "processor-durable", 20_000)):
        await VitalsState(connection).write(
            Vitals(
                id=id_,
                role=role,
                host="here",
                pid=1,
                version="0",
                started_ms=now_ms - 60_000,
                at_ms=now_ms - age_ms,
                url="",
                ops="",
                samples={"hub_clients": 3, "gateway_connections": 4},
            )
        )
    await connection.close()


def test_it_shows_what_the_dashboard_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a screen and as JSON: players, processes, and who is silent."""
    with running_redis_server() as server:
        monkeypatch.setenv("GAMEBUS_REDIS__URL", server.url)
        asyncio.run(_write_vitals(server.url))

        screen = CliRunner().invoke(app, ["top", "--once"])
        page = CliRunner().invoke(app, ["top", "--once", "--json"])

    assert screen.exit_code == page.exit_code == 0
    assert "players" in screen.stdout
    assert "silent" in screen.stdout
    told = json.loads(page.stdout)
    assert (told["now"]["players"], told["now"]["connections"], told["now"]["stale"]) == (3, 4, 1)
    assert [process["stale"] for process in told["processes"]] == [False, True]
