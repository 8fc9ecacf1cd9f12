"""Load-test bots of gamebus: they play a small game over real websockets and check what the bus promises.

report = await Bots(BotsConfig(url, secret, players=100, rooms=4, seconds=30)).run()
"""

from __future__ import annotations

from gamebus_bots.bots import Bots
from gamebus_bots.config import BotsConfig
from gamebus_bots.report import AckedEvent, BotsReport, BotsSnapshot, DurableCounts, LatencyMs, RealtimeCounts

__all__ = [
    "AckedEvent",
    "Bots",
    "BotsConfig",
    "BotsReport",
    "BotsSnapshot",
    "DurableCounts",
    "LatencyMs",
    "RealtimeCounts",
]
