"""A run of the bots, from the first connection to the report.

Phases: connect everyone; play for the configured time (or until `request_stop`); drain: no more sends, wait for the acks and
then for their deliveries, each with a deadline; leave and close. A player whose connection fails is reported, and the others
play on.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Final

from gamebus_bots.config import BotsConfig
from gamebus_bots.player import Player, Publisher, clock
from gamebus_bots.recorder import Recorder
from gamebus_bots.report import BotsReport, BotsSnapshot
from gamebus_bots.schedule import Schedule
from gamebus_bots.world import Arena, Chatter, Fight

# Handshakes in progress at once: more only makes all of them slow.
_CONNECTING_AT_ONCE: Final = 50
_HEARTBEAT_S: Final = 1.0
_FIGHT_CHECK_S: Final = 0.25
_DELIVERY_CHECK_S: Final = 0.05
# Late sends in a row before the loop gives way to the readers.
_BURST: Final = 64


class Bots:
    """One run; `run` may be called once.

    Args:
        config: what to play.
    """

    def __init__(self, config: BotsConfig) -> None:
        self._config = config
        self._recorder = Recorder(config)
        rooms = [f"{config.room_prefix}-{number + 1}" for number in range(config.rooms)]
        self._players = [
            Player(f"{config.player_prefix}-{number + 1}", rooms[number % config.rooms], config, self._recorder)
            for number in range(config.players)
        ]
        self._arenas = {
            room: Arena([player.name for player in self._players if player.room == room], f"{config.seed}/{room}")
            for room in rooms
        }
        self._server = Publisher(f"{config.player_prefix}-server", "server", config, self._recorder)
        self._stop = asyncio.Event()
        self._started_s: float | None = None

    def request_stop(self) -> None:
        """Stop playing now, and end as after the full time."""
        self._stop.set()

    def snapshot(self) -> BotsSnapshot:
        """The run as it stands; cheap enough for a few times a second."""
        return self._recorder.snapshot(clock(), self._started_s)

    async def run(self) -> BotsReport:
        """Play, and return what was found.

        Raises:
            gamebus_client.GameClientError: the game server cannot connect, so there is no gateway to play on.
        """
        gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        settled = asyncio.Barrier(len(self._players) + 1)
        leave = asyncio.Event()
        async with AsyncExitStack() as server:
            if self._config.combat:
                await server.enter_async_context(self._server.game)
            async with asyncio.TaskGroup() as publishes:
                async with asyncio.TaskGroup() as players:
                    for player in self._players:
                        players.create_task(player.play(gate, settled, leave))
                    await settled.wait()
                    seconds = await self._play(_Publishing(publishes))
                    await self._await_deliveries()
                    leave.set()
                # A closed client tells the outcome of what it still published, so this ends the group.
                await server.aclose()
        for player in self._players:
            self._recorder.dropped.update(player.game.statistics().realtime_dropped)
        return self._recorder.report(seconds)

    async def _play(self, publishing: _Publishing) -> float:
        started_s = self._started_s = clock()
        async with asyncio.TaskGroup() as drivers:
            tasks = [drivers.create_task(driver) for driver in self._drivers(started_s, publishing)]
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.seconds):
                    await self._stop.wait()
            for task in tasks:
                task.cancel()
        seconds = clock() - started_s
        await publishing.settled(self._config.drain_s)
        return seconds

    def _drivers(self, started_s: float, publishing: _Publishing) -> Iterator[Coroutine[None, None, None]]:
        yield self._move(started_s)
        yield self._chat(started_s, publishing)
        if self._config.combat:
            yield self._fight(started_s, publishing)

    async def _move(self, started_s: float) -> None:
        config, players = self._config, self._players
        schedule = Schedule(len(players), rate_hz=config.rate_hz, start_s=started_s)
        heartbeat_every = max(1, round(config.rate_hz * _HEARTBEAT_S))
        while True:
            for number, due in enumerate(schedule.due(clock()), 1):
                player = players[due.bot]
                place = self._arenas[player.room].place(player.name, due.planned_s - started_s)
                player.move(place, due.planned_s)
                if due.cycle % heartbeat_every == due.bot % heartbeat_every:
                    player.heartbeat()
                if number % _BURST == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(max(0.0, schedule.next_s - clock()))

    async def _chat(self, started_s: float, publishing: _Publishing) -> None:
        config = self._config
        chatters = [
            Chatter(config.chat_per_player_s, Random(f"{config.seed}/{player.name}"))  # noqa: S311 - a game
            for player in self._players
        ]
        due = [(started_s + chatter.pause_s(), index) for index, chatter in enumerate(chatters)]
        heapq.heapify(due)
        while True:
            planned_s, index = due[0]
            if planned_s == float("inf"):
                return
            await asyncio.sleep(max(0.0, planned_s - clock()))
            chatter, player = chatters[index], self._players[index]
            heapq.heapreplace(due, (planned_s + chatter.pause_s(), index))
            self._recorder.chats += 1
            publishing.start(player, player.room, "chat", {"text": chatter.text()}, planned_s)

    async def _fight(self, started_s: float, publishing: _Publishing) -> None:
        planned_s = started_s
        while True:
            planned_s += _FIGHT_CHECK_S
            await asyncio.sleep(max(0.0, planned_s - clock()))
            for room, arena in self._arenas.items():
                for fight in arena.fights(clock() - started_s):
                    self._recorder.kills += 1
                    kill, death = _told(fight)
                    # Tasks start in the order of their creation, so the kill goes out before the death.
                    publishing.start(self._server, room, "kill", kill, planned_s)
                    publishing.start(self._server, room, "death", death, planned_s)

    async def _await_deliveries(self) -> None:
        missing = self._recorder.ledger.gaps()
        deadline_s = clock() + self._config.drain_s
        while missing and clock() < deadline_s:
            await asyncio.sleep(_DELIVERY_CHECK_S)
            missing = [(receiver, event) for receiver, event in missing if receiver.misses(event)]
        # Whoever is not connected now cannot say what it would have got.
        for player in self._players:
            if not player.game.connected:
                player.receiver.ended()
                if player.game.closed is None and player.game.session is not None:
                    self._recorder.problem(player.name, "not connected at the end")


class _Publishing:
    """Publishes on their way; bounded by the clients' outboxes."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, bot: Publisher, room: str, event_type: str, data: dict[str, object], planned_s: float) -> None:
        task = self._group.create_task(bot.publish(room, event_type, data, planned_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self, timeout_s: float) -> None:
        """Wait for the outcomes, up to a deadline."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)


def _told(fight: Fight) -> tuple[dict[str, object], dict[str, object]]:
    x, y, z = (round(value, 2) for value in fight.place)
    when_and_where: dict[str, object] = {"at_ms": time.time_ns() // 1_000_000, "x": x, "y": y, "z": z}
    kill = {"killer": fight.killer, "victim": fight.victim, "weapon": fight.weapon} | when_and_where
    return kill, {"victim": fight.victim, "cause": fight.weapon} | when_and_where
