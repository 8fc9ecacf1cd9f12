"""What the referee decides, and the data in which it is told. Pure.

Every outcome but :class:`Killed` travels as an event of the arena's own type `arena`: a map whose `kind` names the outcome.
:class:`Killed` travels as gamebus's `kill` and `death`, which feed the processors' scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from gamebus_arena.arena_map import Point

WEAPON = "blaster"


@dataclass(frozen=True, slots=True)
class Hit:
    """A shot met a player. `health` is what is left; the counts are set when the hit killed, and are totals of the round."""

    victim: str
    by: str
    health: int
    place: Point
    kills: int | None = None
    deaths: int | None = None
    healed_to: int | None = None
    """Health of the killer, who takes some from a kill."""

    def as_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": "hit", "victim": self.victim, "by": self.by, "health": self.health}
        data["x"], data["z"] = _rounded(self.place)
        if self.kills is not None:
            data |= {"kills": self.kills, "deaths": self.deaths, "healed_to": self.healed_to}
        return data


@dataclass(frozen=True, slots=True)
class Killed:
    """A player died of a shot."""

    killer: str
    victim: str
    place: Point
    assists: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """A player begins, or begins again, here; shots pass through until `protected_until_ms`."""

    player: str
    place: Point
    health: int
    protected_until_ms: int

    def as_data(self) -> dict[str, Any]:
        x, z = _rounded(self.place)
        data = {"kind": "spawn", "player": self.player, "x": x, "z": z, "health": self.health}
        return data | {"protected_until_ms": self.protected_until_ms}


@dataclass(frozen=True, slots=True)
class MedkitTaken:
    """A player took a medkit, which lies there again at `back_ms`."""

    index: int
    player: str
    health: int
    back_ms: int

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "medkit",
            "index": self.index,
            "player": self.player,
            "health": self.health,
            "back_ms": self.back_ms,
        }


@dataclass(frozen=True, slots=True)
class RoundWon:
    """A player reached the kills of a round; all counts begin anew in round `next_round`."""

    winner: str
    kills: int
    next_round: int

    def as_data(self) -> dict[str, Any]:
        return {"kind": "round", "winner": self.winner, "kills": self.kills, "next_round": self.next_round}


Told: TypeAlias = Hit | Spawned | MedkitTaken | RoundWon
"""Outcomes that travel as `arena` events."""

Outcome: TypeAlias = Told | Killed


def _rounded(place: Point) -> Point:
    return round(place[0], 2), round(place[1], 2)
