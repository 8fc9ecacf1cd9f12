"""The alerts of a dashboard, on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from gamebus.dashboard.alerts import AlertWatch
from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.vitals import Vitals, VitalsState
from tests.dashboard.kit import Browser, running_dashboard
from tests.redis_server import RedisServer, running_redis_server

PATIENCE_S = 60


def gateway(number: int, at_ms: int, **samples: float) -> Vitals:
    return Vitals(
        id=f"g{number}",
        role="gateway",
        host="here",
        pid=number,
        version="0",
        started_ms=0,
        at_ms=at_ms,
        url="",
        ops="",
        samples={"gateway_connections": 0.0, "realtime_consumer_assigned": 1.0, "durable_consumer_partitions": 1.0}
        | samples,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


@pytest_asyncio.fixture
async def connection(server: RedisServer) -> AsyncIterator[Connection]:
    connection = connect(RedisSettings(url=server.url))
    yield connection
    await connection.close()


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((row["name"], row["process"]) for row in rows)


async def shows(browser: Browser, name: str, process: str) -> dict[str, Any]:
    """The frame of the page as soon as an alert fires."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            frame = await browser.frame("alerts")
            if (name, process) in told(frame["page"]["firing"]):
                return frame


class TestAlertWatch:
    async def test_tells_which_process_it_is_and_what_to_do(self, connection: Connection) -> None:
        """A gateway that fell silent, by its name; the alert leads to its paragraph of the runbook."""
        watch = AlertWatch(connection)
        for second in range(5):
            watch._judge([gateway(1, 0), gateway(2, second)], float(second))

        page = watch.page()
        assert told(page["firing"]) == [("ProcessSilent", "here:1")]
        assert watch.firing == 1
        (about,) = (alert for alert in page["alerts"] if alert["anchor"] == page["firing"][0]["anchor"])
        assert (about["title"], about["severity"]) == ("Process silent", "critical")
        assert "log" in about["action"]

    async def test_while_redis_is_away_the_fleet_is_not_judged(self, connection: Connection) -> None:
        """What fired stays; nobody is called silent whom nobody could hear, neither then nor right after."""
        watch = AlertWatch(connection)
        for second in range(4):
            watch._judge(
                [gateway(1, second, realtime_publisher_brokers=1, realtime_publisher_connected=0)], float(second)
            )
        assert told(watch.page()["firing"]) == [("BrokerUnreachable", "here:1")]

        for second in range(4, 40):
            watch._judge(None, float(second))
        assert told(watch.page()["firing"]) == [("BrokerUnreachable", "here:1")]
        for second in range(40, 50):
            watch._judge(
                [gateway(1, second, realtime_publisher_brokers=1, realtime_publisher_connected=1)], float(second)
            )
        assert told(watch.page()["firing"]) == []
        assert told(watch.page()["history"]) == [("BrokerUnreachable", "here:1")]


class TestPage:
    async def test_every_page_says_how_many_fire(self, server: RedisServer, connection: Connection) -> None:
        """A process that wrote its vitals once fires on the page; the number is in the frames of other pages, too."""
        await VitalsState(connection).write(gateway(7, time.time_ns() // 1_000_000))
        async with running_dashboard(RedisSettings(url=server.url, timeout_s=0.5), insecure=True) as browser:
            frame = await shows(browser, "ProcessSilent", "here:7")
            assert frame["firing"] == len(frame["page"]["firing"])
            assert (await browser.frame("processes"))["firing"] >= 1

    async def test_a_redis_that_is_away_is_an_alert(self, connection: Connection) -> None:
        """Nobody but the dashboard can say so meanwhile."""
        with running_redis_server() as mortal:
            async with running_dashboard(RedisSettings(url=mortal.url, timeout_s=0.5), insecure=True) as browser:
                await browser.frame("alerts")
                mortal.kill()
                await shows(browser, "RedisFailing", "this dashboard")
