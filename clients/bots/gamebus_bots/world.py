"""The game that the bots play: walkers in a square arena who fight when they meet. Pure: time and randomness are arguments.

The same seed and the same times give the same game. Where a walker is depends on the time alone, not on how often it is
asked, until a fight moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import dist, sqrt
from random import Random
from typing import Final, TypeAlias

Place: TypeAlias = tuple[float, float, float]
"""Metres: x, height, z."""

SPEED_M_S: Final = 6.0
REACH_M: Final = 2.0
"""Walkers nearer than this fight."""
SIDE_PER_PLAYER_M: Final = 12.0
"""Side of an arena with one walker; the area grows with their number, so everyone meets equally many."""
SPAWN_PROTECTION_S: Final = 3.0
WEAPONS: Final = ("axe", "bow", "spear", "sword")
PHRASES: Final = ("gg", "well played", "behind you!", "need help here", "on my way", "who has the flag?", "again?")


@dataclass(frozen=True, slots=True)
class Fight:
    """Two walkers met, and one of them died."""

    killer: str
    victim: str
    weapon: str
    place: Place


class _Walker:
    """Walks from one random point to the next in straight lines."""

    __slots__ = ("_from", "_left_s", "_reached_s", "_rng", "_side", "_to", "protected_until_s")

    def __init__(self, side: float, rng: Random) -> None:
        self._side = side
        self._rng = rng
        self._to = self._anywhere()
        self.protected_until_s = 0.0
        self._set_out(0.0)

    def at(self, now_s: float) -> Place:
        while now_s >= self._reached_s:
            self._set_out(self._reached_s)
        part = (now_s - self._left_s) / (self._reached_s - self._left_s)
        (x, z), (to_x, to_z) = self._from, self._to
        return x + (to_x - x) * part, 0.0, z + (to_z - z) * part

    def respawn(self, now_s: float) -> None:
        self._to = self._anywhere()
        self._set_out(now_s)
        self.protected_until_s = now_s + SPAWN_PROTECTION_S

    def _set_out(self, now_s: float) -> None:
        self._from, self._to = self._to, self._anywhere()
        self._left_s = now_s
        # Two equal points would be reached in no time, for ever.
        self._reached_s = now_s + max(0.1, dist(self._from, self._to) / SPEED_M_S)

    def _anywhere(self) -> tuple[float, float]:
        return self._rng.uniform(0.0, self._side), self._rng.uniform(0.0, self._side)


class Arena:
    """One room's world.

    Args:
        players: who walks here.
        seed: everything random comes from it.
    """

    def __init__(self, players: Sequence[str], seed: str) -> None:
        self.side_m = SIDE_PER_PLAYER_M * sqrt(max(1, len(players)))
        # One source per walker, so that what one does cannot shift what another does.
        self._walkers = {player: _Walker(self.side_m, Random(f"{seed}/{player}")) for player in players}  # noqa: S311
        self._rng = Random(seed)  # noqa: S311 - a game

    def place(self, player: str, now_s: float) -> Place:
        """Where a player is. Times must not fall."""
        return self._walkers[player].at(now_s)

    def fights(self, now_s: float) -> list[Fight]:
        """Fights that break out now; the losers start again elsewhere, protected for a while."""
        present = {
            player: walker.at(now_s) for player, walker in self._walkers.items() if walker.protected_until_s <= now_s
        }
        fights = []
        for one, other in combinations(present, 2):
            if one in present and other in present and dist(present[one], present[other]) < REACH_M:
                killer, victim = self._rng.sample((one, other), 2)
                fights.append(Fight(killer, victim, self._rng.choice(WEAPONS), present[victim]))
                self._walkers[victim].respawn(now_s)
                self._walkers[killer].protected_until_s = now_s + SPAWN_PROTECTION_S / 3
                del present[one], present[other]
        return fights


class Chatter:
    """When one player speaks, and what: a Poisson process.

    Args:
        per_second: messages a second in the mean; 0: silent.
    """

    def __init__(self, per_second: float, rng: Random) -> None:
        self._per_second = per_second
        self._rng = rng

    def pause_s(self) -> float:
        """Seconds until the next message; infinite for the silent."""
        return self._rng.expovariate(self._per_second) if self._per_second > 0 else float("inf")

    def text(self) -> str:
        """What is said."""
        return self._rng.choice(PHRASES)
