"""One run, from the plan to the report."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from gamebus_bots import loop
from gamebus_bots.bots import interval
from gamebus_bots.broker import bring_back, find_broker, kill
from gamebus_bots.clock import clock, sleep_until
from gamebus_bots.config import BotsConfig
from gamebus_bots.crew import Crew
from gamebus_bots.environment import environment
from gamebus_bots.report import BotsReport, conclude
from gamebus_bots.servers import ServerMonitor
from gamebus_bots.threshold import Threshold
from gamebus_bots.timeline import Timeline

Watcher: TypeAlias = Callable[[Crew], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do beside playing.

    Attributes:
        thresholds: judged at the end.
        folder: of the local stack, for scenarios that break it.
    """

    thresholds: Sequence[Threshold] = ()
    folder: Path = Path(".gamebus/stack")


async def run(config: BotsConfig, plan: Plan, watch: Watcher) -> BotsReport:
    """Play and report. The first SIGINT or SIGTERM ends the game early, with its report; the second one kills.

    Args:
        watch: shows the run until it is cancelled.

    Raises:
        gamebus_bots.crew.CrewError, gamebus_client.GameClientError, gamebus_bots.broker.NoStack: there was no run.
    """
    scenario = config.scenario
    if scenario.broker_restart is not None:
        # Better now than in the middle of the run.
        await find_broker(scenario.broker_restart, plan.folder)
    crew = Crew(config)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    loop_now = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop_now.add_signal_handler(number, _stop_once, crew, loop_now)
    notes: list[str] = []
    monitors: list[ServerMonitor] = []
    background = [
        asyncio.create_task(watch(crew)),
        asyncio.create_task(_monitoring(config.url, crew, monitors)),
        asyncio.create_task(_break(config, plan, crew, notes)),
    ]
    try:
        tally = await crew.run()
        ended_s = clock()
    finally:
        for task in background:
            task.cancel()
        results = await asyncio.gather(*background, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    timeline = Timeline(scenario)
    started_s = crew.started_s if crew.started_s is not None else ended_s
    measured_s = started_s + timeline.measured_from_s
    seconds = tally.seconds
    players = timeline.expected(timeline.measured_from_s + seconds)
    servers = monitors[0].between(measured_s, measured_s + seconds, players) if monitors else {}
    return conclude(
        scenario,
        tally,
        thresholds=plan.thresholds,
        interval_s=interval(scenario.duration_s),
        environment=environment(loop.name()),
        servers=servers,
        options={"url": config.url, "seed": config.seed, "processes": config.parts, "started": started},
        notes=tuple(notes),
        acked=crew.acked,
    )


def _stop_once(crew: Crew, running: asyncio.AbstractEventLoop) -> None:
    crew.request_stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.remove_signal_handler(number)


async def _monitoring(url: str, crew: Crew, monitors: list[ServerMonitor]) -> None:
    await asyncio.shield(crew.started)
    monitors.append(await asyncio.to_thread(ServerMonitor, url, crew.pids))
    await monitors[0].watch()


async def _break(config: BotsConfig, plan: Plan, crew: Crew, notes: list[str]) -> None:
    """Restart the broker, where the scenario says so."""
    scenario = config.scenario
    if scenario.broker_restart is None:
        return
    offset_s = Timeline(scenario).measured_from_s + scenario.broker_restart.at * scenario.duration_s
    at_s = await asyncio.shield(crew.started) + offset_s
    await sleep_until(at_s)
    await kill(scenario.broker_restart, plan.folder)
    killed_s = clock()
    measured_s = scenario.broker_restart.at * scenario.duration_s
    killed = f"{scenario.broker_restart.broker} was killed {measured_s:.1f} s into the measured time"
    # Said at once, since the run may end before the broker is back.
    notes.append(killed)
    await bring_back(plan.folder)
    notes[notes.index(killed)] = f"{killed} and served again {clock() - killed_s:.1f} s later"
