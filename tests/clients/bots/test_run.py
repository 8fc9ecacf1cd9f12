"""What a run does beside playing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gamebus_bots import BotsConfig, BotsReport, Scenario
from gamebus_bots import run as run_module
from gamebus_bots.crew import Crew
from gamebus_bots.run import Plan, run
from gamebus_bots.scenario import BrokerRestart
from tests.clients.bots.relay import SECRET, Relay

SHORT = Scenario(players=2, rooms=1, duration_s=1, warm_up_s=0, ramp_s=0, chat_hz=5, combat=False)


class TestBrokerRestart:
    """The stack is told by two functions of `broker.py`, which `gamebus bots run broker-restart` runs on a real one."""

    @pytest.fixture(autouse=True)
    def stack(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def find_broker(scenario: BrokerRestart, folder: Path) -> int:
            return 1

        async def kill(scenario: BrokerRestart, folder: Path) -> None:
            pass

        monkeypatch.setattr(run_module, "find_broker", find_broker)
        monkeypatch.setattr(run_module, "kill", kill)

    async def play(self) -> BotsReport:
        async def watch(crew: Crew) -> None:
            pass

        async with Relay() as relay:
            scenario = replace(SHORT, broker_restart=BrokerRestart(at=0.5, broker="kafka-1"))
            return await run(BotsConfig(relay.url, SECRET, scenario, drain_s=1), Plan(), watch)

    async def test_the_report_says_when_a_broker_died_and_when_it_served_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever reads the report knows what the bump in its chart is."""

        async def bring_back(folder: Path) -> None:
            pass

        monkeypatch.setattr(run_module, "bring_back", bring_back)
        (note,) = (await self.play()).notes
        assert note.startswith("kafka-1 was killed 0.5 s into the measured time and served again ")

    async def test_the_report_says_so_when_the_run_ends_before_the_broker_is_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A broker takes seconds to start; a short run does not wait for it, and hides nothing."""

        async def bring_back(folder: Path) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(run_module, "bring_back", bring_back)
        assert (await self.play()).notes == ("kafka-1 was killed 0.5 s into the measured time",)
