"""Load tests of gamebus: bots play over real websockets, measure, and check what the bus promises.

A scenario in a Python file is a function of no arguments, called `scenario`:

    from gamebus_bots import Scenario

    def scenario() -> Scenario:
        return Scenario(name="finals", players=300, rooms=3, chat_hz=0.5)
"""

from __future__ import annotations

from gamebus_bots.bots import Bots
from gamebus_bots.config import BotsConfig
from gamebus_bots.crew import Crew
from gamebus_bots.report import BotsReport, conclude
from gamebus_bots.scenario import BrokerRestart, Burst, Reconnects, Scenario, ScenarioError, SlowReaders, Stage

__all__ = [
    "Bots",
    "BotsConfig",
    "BotsReport",
    "BrokerRestart",
    "Burst",
    "Crew",
    "Reconnects",
    "Scenario",
    "ScenarioError",
    "SlowReaders",
    "Stage",
    "conclude",
]
