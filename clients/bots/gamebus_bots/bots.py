"""The bots of one process, from the first connection to what they counted.

Phases: connect those who are there from the beginning; play until the scenario's end (or `request_stop`), while the others come;
drain: no more sends, wait for the acks and then for their deliveries, each with a deadline; leave and close. A player whose
connection fails is reported, and the others play on.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from math import ceil
from random import Random
from typing import Final

from gamebus_bots.behaviour import storms, take_pauses
from gamebus_bots.clock import clock, sleep_until
from gamebus_bots.config import BotsConfig
from gamebus_bots.flights import Watch
from gamebus_bots.player import Player, Publisher
from gamebus_bots.recorder import Recorder
from gamebus_bots.schedule import Schedule
from gamebus_bots.tally import Tally
from gamebus_bots.timeline import Pace, Timeline
from gamebus_bots.world import Arena, Chatter, Fight

# Handshakes in progress at once: more only makes all of them slow.
_CONNECTING_AT_ONCE: Final = 50
_HEARTBEAT_S: Final = 1.0
_FIGHT_CHECK_S: Final = 0.25
_DELIVERY_CHECK_S: Final = 0.05
# How long the end waits for positions: they may be lost, so this waits for no promise.
_POSITIONS_S: Final = 1.0
# Far below what counts as lag, and what a loop's timers can tell apart.
_MOMENT_S: Final = 0.001
# Late sends in a row before the loop gives way to the readers.
_BURST: Final = 64
_MAX_INTERVALS: Final = 600
# Part of an interval that is worth one of its own, at the end.
_SHORTEST: Final = 0.1


async def _now() -> float:
    return clock()


class Bots:
    """One run, or a process's part of it; `run` may be called once.

    Args:
        config: what to play.
    """

    def __init__(self, config: BotsConfig) -> None:
        self._config = config
        self._scenario = config.scenario
        self.timeline = Timeline(config.scenario)
        self._recorder = Recorder(config)
        self._players = [
            Player(f"{config.player_prefix}-{rank + 1}", config.room_of(rank), config, self._recorder)
            for rank in config.ranks
        ]
        self._comes_at_s = [self.timeline.comes_at_s(rank) for rank in config.ranks]
        rooms = {room: [player.name for player in self._players if player.room == room] for room in config.rooms}
        self._arenas = {room: Arena(names, f"{config.seed}/{room}") for room, names in rooms.items()}
        self._slow = [player for player, rank in zip(self._players, config.ranks, strict=True) if config.is_slow(rank)]
        for player in self._slow:
            player.measured = False
        watches = self._recorder.watch(list(rooms.values()), without={player.name for player in self._slow})
        for player in self._players:
            player.watch = watches.get(player.name, Watch(self._recorder.flights))
        self._server = Publisher(f"{config.player_prefix}-server", "server", config, self._recorder)
        self._gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._stop = asyncio.Event()
        self.started_s: float | None = None
        """When playing began, by :data:`~gamebus_bots.player.clock`."""

    def request_stop(self) -> None:
        """Stop playing now, and end as after the full time."""
        self._stop.set()

    def live(self) -> Tally:
        """The run as it stands; cheap enough for a few times a second."""
        return self._recorder.live()

    def acked(self) -> Iterator[tuple[str, str, str]]:
        """Every acknowledged event as (room, publisher, id): it must have had its effect once."""
        return ((event.room, event.publisher, event.id) for event in self._recorder.ledger.acked())

    async def run(self, begin: Callable[[], Awaitable[float]] = _now) -> Tally:
        """Play, and return what was counted.

        Args:
            begin: awaited when the players of the beginning are there; when the run starts.

        Raises:
            gamebus_client.GameClientError: the game server cannot connect, so there is no gateway to play on.
        """
        leave = asyncio.Event()
        starting: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        present = asyncio.Barrier(1 + sum(comes_s == 0 for comes_s in self._comes_at_s))
        async with AsyncExitStack() as server:
            if self._scenario.combat:
                await server.enter_async_context(self._server.game)
            async with asyncio.TaskGroup() as publishes:
                async with asyncio.TaskGroup() as players:
                    for player, comes_s in zip(self._players, self._comes_at_s, strict=True):
                        players.create_task(self._attend(player, comes_s, present, starting, leave))
                    await present.wait()
                    # A collection of a large heap is a stall of the generator.
                    gc.collect()
                    gc.freeze()
                    start_s = self.started_s = await begin()
                    starting.set_result(start_s)
                    try:
                        await self._play(start_s, _Publishing(publishes))
                        await self._await_deliveries()
                    finally:
                        gc.unfreeze()
                    leave.set()
                # A closed client tells the outcome of what it still published, so this ends the group.
                await server.aclose()
        return self._recorder.finish(clock())

    async def _attend(
        self,
        player: Player,
        comes_s: float,
        present: asyncio.Barrier,
        starting: asyncio.Future[float],
        leave: asyncio.Event,
    ) -> None:
        async with AsyncExitStack() as stack:
            planned_s = 0.0
            if comes_s > 0:
                planned_s = await asyncio.shield(starting) + comes_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(planned_s - clock()):
                        await leave.wait()
            if not leave.is_set():
                async with self._gate:
                    await player.connect(stack, planned_s or clock())
            if comes_s == 0:
                await present.wait()
            await leave.wait()
            self._recorder.tally.dropped.update(player.game.statistics().realtime_dropped if player.joined else {})
            await player.leave()

    async def _play(self, start_s: float, publishing: _Publishing) -> None:
        timeline = self.timeline
        ends_s = start_s + timeline.ends_s
        self._recorder.measure(start_s + timeline.measured_from_s, ends_s)
        async with asyncio.TaskGroup() as drivers:
            stopping = drivers.create_task(self._stop.wait())
            # What was planned is sent, however late: its lateness is a result.
            sending = drivers.create_task(_together(self._load(start_s, ends_s, publishing)))
            beside = drivers.create_task(_together(self._beside(start_s)))
            patience_s = self._config.drain_s + ends_s - clock()
            await asyncio.wait((stopping, sending), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            for task in (stopping, sending, beside):
                task.cancel()
        self._recorder.close_interval(clock(), at_least_s=_SHORTEST * interval(self._scenario.duration_s))
        await publishing.settled(self._config.drain_s)

    def _load(self, start_s: float, ends_s: float, publishing: _Publishing) -> Iterator[Coroutine[None, None, None]]:
        """What is sent, each up to the end."""
        yield self._move(start_s, ends_s)
        yield self._chat(start_s, ends_s, publishing)
        if self._scenario.combat:
            yield self._fight(start_s, ends_s, publishing)

    def _beside(self, start_s: float) -> Iterator[Coroutine[None, None, None]]:
        """What goes on beside it, until it is cancelled."""
        scenario, seed = self._scenario, self._config.seed
        measured_s = start_s + self.timeline.measured_from_s
        yield self._close_intervals(measured_s)
        if scenario.reconnects is not None:
            yield storms(scenario.reconnects, self._players, measured_s, f"{seed}/{self._config.part}")
        if scenario.slow_readers is not None:
            yield take_pauses(scenario.slow_readers, self._slow, measured_s)

    async def _move(self, start_s: float, ends_s: float) -> None:
        scenario, players, comes_at_s = self._scenario, self._players, self._comes_at_s
        schedule = Schedule(len(players), rate_hz=scenario.rate_hz, start_s=start_s, pace=Pace(scenario.burst))
        heartbeat_every = max(1, round(scenario.rate_hz * _HEARTBEAT_S))
        while schedule.next_s < ends_s:
            for number, due in enumerate(schedule.due(clock(), until_s=ends_s), 1):
                since_s = due.planned_s - start_s
                player = players[due.bot]
                if since_s < comes_at_s[due.bot] or not player.joined:
                    continue
                player.move(self._arenas[player.room].place(player.name, since_s), due.planned_s)
                if due.cycle % heartbeat_every == due.bot % heartbeat_every:
                    player.heartbeat()
                if number % _BURST == 0:
                    await asyncio.sleep(0)
            # Not a wake-up for each send: what is due within a moment goes out together.
            await asyncio.sleep(max(_MOMENT_S, schedule.next_s - clock()))

    async def _chat(self, start_s: float, ends_s: float, publishing: _Publishing) -> None:
        seed, pace = self._config.seed, Pace(self._scenario.burst)
        chatters = [
            Chatter(self._scenario.chat_hz, Random(f"{seed}/{player.name}"))  # noqa: S311 - a game
            for player in self._players
        ]
        due = [(chatter.pause_s(), index) for index, chatter in enumerate(chatters)]
        heapq.heapify(due)
        while True:
            load, index = due[0]
            since_s = pace.time_s(load)
            if start_s + since_s >= ends_s:
                return
            await sleep_until(start_s + since_s)
            chatter, player = chatters[index], self._players[index]
            heapq.heapreplace(due, (load + chatter.pause_s(), index))
            text = chatter.text()
            if since_s >= self._comes_at_s[index] and player.joined:
                self._recorder.counts["chats"] += 1
                publishing.start(player, player.room, "chat", {"text": text}, start_s + since_s)

    async def _fight(self, start_s: float, ends_s: float, publishing: _Publishing) -> None:
        for number in range(1, ceil((ends_s - start_s) / _FIGHT_CHECK_S)):
            planned_s = start_s + number * _FIGHT_CHECK_S
            await sleep_until(planned_s)
            for room, arena in self._arenas.items():
                for fight in arena.fights(planned_s - start_s):
                    self._recorder.counts["kills"] += 1
                    kill, death = _told(fight)
                    # Tasks start in the order of their creation, so the kill goes out before the death.
                    publishing.start(self._server, room, "kill", kill, planned_s)
                    publishing.start(self._server, room, "death", death, planned_s)

    async def _close_intervals(self, measured_s: float) -> None:
        interval_s = interval(self._scenario.duration_s)
        closes_s = measured_s
        await sleep_until(closes_s)
        self._recorder.open_interval(clock())
        while True:
            closes_s += interval_s
            await sleep_until(closes_s)
            self._recorder.close_interval(clock())

    async def _await_deliveries(self) -> None:
        ledger, watches = self._recorder.ledger, self._recorder.watches
        missing = ledger.gaps()
        now_s = clock()
        deadline_s, positions_s = now_s + self._config.drain_s, now_s + _POSITIONS_S
        while (missing and clock() < deadline_s) or (
            clock() < positions_s and any(True for watch in watches for _ in watch.unseen())
        ):
            await asyncio.sleep(_DELIVERY_CHECK_S)
            missing = [(receiver, event) for receiver, event in missing if receiver.misses(event)]
        # Whoever is not connected now cannot say what it would have got.
        for player in self._players:
            if player.joined and not player.game.connected:
                player.receiver.ended()
                if player.game.closed is None:
                    self._recorder.tally.problem(player.name, "not connected at the end")


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


async def _together(drivers: Iterator[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for driver in drivers:
            tasks.create_task(driver)


def interval(duration_s: float) -> float:
    """Length of an interval of the measured time: a second, or longer where there would be too many."""
    return max(1.0, duration_s / _MAX_INTERVALS)


def _told(fight: Fight) -> tuple[dict[str, object], dict[str, object]]:
    x, y, z = (round(value, 2) for value in fight.place)
    when_and_where: dict[str, object] = {"at_ms": time.time_ns() // 1_000_000, "x": x, "y": y, "z": z}
    kill = {"killer": fight.killer, "victim": fight.victim, "weapon": fight.weapon} | when_and_where
    return kill, {"victim": fight.victim, "cause": fight.weapon} | when_and_where
