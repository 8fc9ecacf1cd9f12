"""The game server: a client with the role `server` that sees everything, asks the referee, and publishes what it decides.

Guarantees: `kill` and `death` are published durably under ids of their own, so each counts once whatever breaks in between; after a
lost connection the client resumes, and shots whose moment has passed are not judged.
Not guaranteed: a round that outlives this process. A new one begins with round 1, and tells everybody so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final

from gamebus_arena.arena_map import GROUND
from gamebus_arena.brain import Sighting
from gamebus_arena.config import GameConfig
from gamebus_arena.events import WEAPON, Hit, Killed, MedkitTaken, Outcome, RoundWon, Spawned
from gamebus_arena.opponents import Opponents
from gamebus_arena.publishing import Publishing
from gamebus_arena.referee import Referee
from gamebus_arena.tokens import BOT_SUFFIX, mint
from gamebus_client import Event, GameClient, GameClientError, Joined, Message, Presence, Tick

_STEPS_HZ: Final = 40
_SECOND: Final = 1.0
# A state is told to everybody, so one is enough for all who come in at the same time. It is told again and again for a page that came
# back so fast that nobody saw it leave.
_STATE_AFTER_S: Final = 0.15
_STATE_EVERY_S: Final = 3.0
_COMBAT_TIMEOUT_S: Final = 120.0


class GameServer:
    """One arena's game server.

    Args:
        config: where to play.
        on_ready: called once the arena is open.
    """

    def __init__(self, config: GameConfig, *, on_ready: Callable[[], None] = lambda: None) -> None:
        rng = Random(config.seed)  # noqa: S311 - a game
        self._config = config
        self._room = config.room
        self._on_ready = on_ready
        self._referee = Referee(GROUND, rng)
        self._opponents = Opponents(GROUND, config, rng)
        self._publishing = Publishing()
        self._state_due_s: float | None = None

        def token() -> str:
            return mint(config.secret, f"{config.room}.referee"[:64], "server", config.room, now_s=time.time())

        self._game = GameClient(config.gateway, token, connect_timeout_s=30.0)

    async def run(self) -> None:
        """Play until cancelled.

        Raises:
            gamebus_client.GameClientError: the gateway does not let the game server in, or its connection ended for good.
        """
        try:
            async with self._game as game:
                await game.join(self._room)
                self._on_ready()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive())
                    tasks.create_task(self._play())
                    tasks.create_task(self._look_after())
        except* GameClientError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._opponents.stop()
            await self._publishing.stop()

    async def _receive(self) -> None:
        async for message in self._game:
            self._take(message)
        closed = self._game.closed
        raise GameClientError(f"the connection ended for good: {closed}")

    def _take(self, message: Message) -> None:
        match message:
            case Tick(server_ms=server_ms, positions=positions):
                self._moved(server_ms, positions)
            case Event(type="shot") as shot:
                now_ms = self._game.server_ms()
                if now_ms is not None:
                    self._referee.shot(shot.player, shot.server_ms, shot.data, now_ms)
            case Presence(joined=joined, left=left):
                for player in left:
                    self._leave(player)
                for player in joined:
                    self._enter(player)
            case Joined(players=players):
                for player in set(self._referee.fighters) - set(players):
                    self._leave(player)
                for player in players:
                    self._enter(player)
                self._tell_state_soon()
            case _:
                pass

    def _moved(self, server_ms: int, positions: Mapping[str, Any]) -> None:
        for player, data in positions.items():
            if data is not None:
                velocity = (data[4], data[6]) if len(data) >= 7 else (0.0, 0.0)
                self._referee.moved(player, server_ms, (data[1], data[3]), velocity)

    def _enter(self, player: str) -> None:
        self._referee.enter(player, bot=player.endswith(BOT_SUFFIX))
        self._tell_state_soon()

    def _leave(self, player: str) -> None:
        self._referee.leave(player)
        self._opponents.sightings.pop(player, None)

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            now_ms = self._game.server_ms()
            # Without a gateway nobody moves, so nobody is hit.
            if now_ms is not None and self._game.connected:
                for outcome in self._referee.step(now_ms):
                    self._tell(outcome)
                self._see(now_ms)
                if self._state_due_s is not None and loop.time() >= self._state_due_s:
                    people = any(not fighter.bot for fighter in self._referee.fighters.values())
                    self._state_due_s = loop.time() + _STATE_EVERY_S if people else None
                    self._publish("arena", self._referee.state(now_ms))
            due = max(due + 1 / _STEPS_HZ, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _look_after(self) -> None:
        """Once a second: the clock of the gateway, and the number of opponents."""
        while True:
            if self._game.connected:
                people = sum(not fighter.bot for fighter in self._referee.fighters.values())
                self._opponents.adjust(people)
                with suppress(GameClientError):  # it reconnects by itself
                    await self._game.ping()
            await asyncio.sleep(_SECOND)

    def _see(self, now_ms: float) -> None:
        sightings = self._opponents.sightings
        for name, fighter in self._referee.fighters.items():
            place = fighter.track.at(now_ms) if fighter.alive else None
            if place is None:
                sightings.pop(name, None)
                continue
            before = fighter.track.at(now_ms - 100) or place
            sightings[name] = Sighting(place, ((place[0] - before[0]) * 10, (place[1] - before[1]) * 10))

    def _tell(self, outcome: Outcome) -> None:
        match outcome:
            case Killed():
                self._tell_killed(outcome)
            case Spawned(player=player, place=place):
                self._opponents.spawned(player, place)
                self._publish("arena", outcome.as_data())
            case Hit(victim=victim, health=health):
                if health == 0:
                    self._opponents.died(victim)
                self._publish("arena", outcome.as_data())
            case MedkitTaken():
                self._publish("arena", outcome.as_data())
            case RoundWon():
                self._publish("arena", outcome.as_data())
                self._tell_state_soon()

    def _tell_killed(self, killed: Killed) -> None:
        x, z = round(killed.place[0], 2), round(killed.place[1], 2)
        where: dict[str, Any] = {"at_ms": killed.at_ms, "x": x, "y": 0, "z": z}
        kill: dict[str, Any] = {"killer": killed.killer, "victim": killed.victim, "weapon": WEAPON} | where
        if killed.assists:
            kill["assists"] = list(killed.assists[:16])
        self._publish("kill", kill, timeout_s=_COMBAT_TIMEOUT_S)
        self._publish("death", {"victim": killed.victim, "cause": WEAPON} | where, timeout_s=_COMBAT_TIMEOUT_S)

    def _tell_state_soon(self) -> None:
        soon = asyncio.get_running_loop().time() + _STATE_AFTER_S
        self._state_due_s = soon if self._state_due_s is None else min(soon, self._state_due_s)

    def _publish(self, event_type: str, data: Mapping[str, Any], *, timeout_s: float = 10.0) -> None:
        self._publishing.start(self._game.publish(self._room, event_type, data, timeout_s=timeout_s))
