"""Opponents: as many as people are missing, each on a connection of its own like any player."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from random import Random
from typing import Final

from gamebus_arena.arena_map import Ground, Point
from gamebus_arena.brain import Brain, Sighting
from gamebus_arena.config import GameConfig
from gamebus_arena.publishing import Publishing
from gamebus_arena.referee import BODY_M, SHOT_PAUSE_MS
from gamebus_arena.tokens import BOT_SUFFIX, mint
from gamebus_client import GameClient, GameClientError, Message

NAMES: Final = ("Vega", "Orion", "Lyra", "Rigel", "Nova", "Altair", "Mira", "Deneb")
SPEED_M_S: Final = 6.0
"""People walk at 8.5."""

_MOVES_HZ: Final = 16
_COME_BACK_S: Final = 2.0


class Opponent:
    """One opponent: a body, a brain and a connection.

    Args:
        name: player id.
        ground: where it walks.
        config: how to connect.
        rng: its chance.
    """

    def __init__(self, name: str, ground: Ground, config: GameConfig, rng: Random) -> None:
        self.name = name
        self._ground = ground
        self._room = config.room
        self._brain = Brain(ground, rng)
        self._place: Point | None = None
        self._next_shot_ms = 0
        self._publishing = Publishing()

        def token() -> str:
            return mint(config.secret, name, "player", config.room, now_s=time.time())

        # It sees by the referee's eyes: ticks need not be looked at again for each opponent.
        self._game = GameClient(config.gateway, token, handler=_ignore)

    async def live(self, others: Mapping[str, Sighting]) -> None:
        """Play until cancelled.

        Args:
            others: who is alive now, itself included; kept up to date by the caller.
        """
        try:
            async with self._game as game:
                await game.join(self._room)
                loop = asyncio.get_running_loop()
                due = loop.time()
                while game.closed is None:
                    self._act(game, {name: other for name, other in others.items() if name != self.name})
                    due = max(due + 1 / _MOVES_HZ, loop.time())
                    await asyncio.sleep(due - loop.time())
        finally:
            await self._publishing.stop()

    def spawn(self, place: Point) -> None:
        """The referee put it here."""
        self._place = place
        self._brain.begin_again()

    def die(self) -> None:
        """It is out until the next spawn."""
        self._place = None

    def _act(self, game: GameClient, others: Mapping[str, Sighting]) -> None:
        now_ms = game.server_ms()
        if self._place is None or now_ms is None or not game.connected:
            return
        order = self._brain.decide(int(now_ms), self._place, others)
        velocity = order.walk[0] * SPEED_M_S, order.walk[1] * SPEED_M_S
        x, z = self._place
        self._place = x, z = self._ground.settle((x + velocity[0] / _MOVES_HZ, z + velocity[1] / _MOVES_HZ), BODY_M)
        rounded = round(x, 2), round(z, 2)
        game.move(
            self._room,
            rounded[0],
            0.0,
            rounded[1],
            velocity=(round(velocity[0], 2), 0.0, round(velocity[1], 2)),
            heading=round(order.heading, 3),
        )
        if order.fire is not None and now_ms >= self._next_shot_ms:
            self._next_shot_ms = int(now_ms) + SHOT_PAUSE_MS
            shot = {"x": rounded[0], "z": rounded[1], "heading": round(order.fire, 3), "at_ms": int(now_ms)}
            self._publishing.start(game.publish(self._room, "shot", shot, timeout_s=2.0))


class Opponents:
    """All opponents of one arena. Enter it as a context.

    Args:
        ground: where they walk.
        config: how many, and where.
        rng: their chance.
    """

    def __init__(self, ground: Ground, config: GameConfig, rng: Random) -> None:
        self._ground = ground
        self._config = config
        self._rng = rng
        self._lives: dict[str, tuple[Opponent, asyncio.Task[None]]] = {}
        self.sightings: dict[str, Sighting] = {}
        """Who is alive and where: what opponents know. Kept up to date by the game server."""

    def wanted(self, people: int) -> int:
        """How many there should be with so many people."""
        return max(0, min(len(NAMES), self._config.fighters - people)) if people > 0 else 0

    def adjust(self, people: int) -> None:
        """Bring one in, or send one home, towards the number that is wanted."""
        wanted = self.wanted(people)
        for name in list(self._lives):
            if self._lives[name][1].done():
                del self._lives[name]
        while len(self._lives) < wanted:
            name = next(one + BOT_SUFFIX for one in NAMES if one + BOT_SUFFIX not in self._lives)
            opponent = Opponent(name, self._ground, self._config, Random(self._rng.random()))  # noqa: S311 - a game
            self._lives[name] = opponent, asyncio.create_task(self._live(opponent), name=f"opponent {name}")
        while len(self._lives) > wanted:
            _, (_, task) = self._lives.popitem()
            task.cancel()

    def spawned(self, player: str, place: Point) -> None:
        """The referee put a player somewhere."""
        if player in self._lives:
            self._lives[player][0].spawn(place)

    def died(self, player: str) -> None:
        """The referee took a player out."""
        if player in self._lives:
            self._lives[player][0].die()

    async def stop(self) -> None:
        """Send all home."""
        tasks = [task for _, task in self._lives.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, opponent: Opponent) -> None:
        # An opponent whose connection ends for good is missing, and another takes its place.
        with contextlib.suppress(GameClientError):
            await opponent.live(self.sightings)
        await asyncio.sleep(_COME_BACK_S)


def _ignore(_: Message) -> None:
    pass
