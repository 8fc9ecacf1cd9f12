"""The alerts of a dashboard, on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from gamebus.dashboard.alerts import AlertWatch
from gamebus.errors import StateError
from gamebus.settings import RedisSettings
from gamebus.state.alert_history import AlertHistoryState
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


class TestHistory:
    """What is over outlives the dashboard."""

    async def test_it_is_there_after_a_restart(self, connection: Connection) -> None:
        """A dashboard that was just started shows what others have seen, with the times of then."""
        watch = AlertWatch(connection)
        over(watch, "restart", at=0.0)
        await watch._keep_history()
        (seen,) = rows(watch, "restart")

        later = AlertWatch(connection)
        await later._keep_history()

        assert rows(later, "restart") == [seen]
        assert seen["resolved_ms"] - seen["since_ms"] == 9_000

    async def test_what_several_dashboards_saw_stands_once(self, connection: Connection) -> None:
        """They do not agree on the moment, only on what fired; what fires again later is another entry."""
        watches = [AlertWatch(connection), AlertWatch(connection)]
        for moment in (0.0, 100.0):
            for number, watch in enumerate(watches):
                over(watch, "several", at=moment + 0.4 * number)
        for watch in watches:
            await watch._keep_history()

        after = AlertWatch(connection)
        await after._keep_history()
        assert len(rows(after, "several")) == 2

    async def test_while_redis_is_away_it_waits(self, connection: Connection) -> None:
        """It is on the page meanwhile, and noted when Redis is back."""
        with running_redis_server() as mortal:
            away = connect(RedisSettings(url=mortal.url, timeout_s=0.5))
            watch = AlertWatch(away)
            mortal.kill()
            over(watch, "away", at=0.0)
            with pytest.raises(StateError):
                await watch._keep_history()
            assert len(rows(watch, "away")) == 1

            mortal.start()
            async with asyncio.timeout(PATIENCE_S):
                while not await noted(watch):  # noqa: ASYNC110 - the server takes a moment
                    await asyncio.sleep(0.05)
            assert [alert.process_id for alert in await AlertHistoryState(away).read()] == ["away"]
            assert len(rows(watch, "away")) == 1
            await away.close()


async def noted(watch: AlertWatch) -> bool:
    try:
        await watch._keep_history()
    except StateError:
        return False
    return True


def over(watch: AlertWatch, id_: str, *, at: float) -> None:
    """An alert of one process fires, and is over."""
    for second in range(20):
        connected = float(second > 5)
        samples = {"realtime_publisher_brokers": 1.0, "realtime_publisher_connected": connected}
        watch._judge([replace(gateway(1, int(at * 1000) + second, **samples), id=id_)], at + second)


def rows(watch: AlertWatch, id_: str) -> list[dict[str, Any]]:
    """What the page says of the past of a process."""
    return [row for row in watch.page()["history"] if row["process_id"] == id_]


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
                await shows(browser, "RedisFailing", "the dashboard")
