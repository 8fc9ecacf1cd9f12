"""The rules: who is hit, who dies, who wins. Pure: times are the gateway's clock in milliseconds, randomness is an argument.

Guarantees: the same calls give the same outcomes; every death is told once, as a hit that leaves no health and a kill; counts in
outcomes are totals, so whoever misses one is right again with the next. A shot is judged by what its shooter saw: the others where
they were drawn on its screen, at most :data:`MAX_REWIND_MS` ago (lag compensation as in "Source Multiplayer Networking").
Not guaranteed: fair movement. Where a player is, its own page says; a shot is only refused when it comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, dist, inf, isfinite, sin
from random import Random
from typing import Any, Final

from gamebus_arena.arena_map import Ground, Point, meets
from gamebus_arena.events import Hit, Killed, MedkitTaken, Outcome, RoundWon, Spawned
from gamebus_arena.fighter import FULL_HEALTH, Fighter

BODY_M: Final = 0.8
SHOT_SPEED_M_S: Final = 32.0
SHOT_RANGE_M: Final = 26.0
DAMAGE: Final = 25
SHOT_PAUSE_MS: Final = 180
HEALED_BY_KILL: Final = 25
HEALED_BY_MEDKIT: Final = 50
MEDKIT_REACH_M: Final = 1.5
MEDKIT_BACK_MS: Final = 12_000
RESPAWN_MS: Final = 2_500
PROTECTED_MS: Final = 1_500
ROUND_KILLS: Final = 15
MAX_REWIND_MS: Final = 400
MAX_SHOT_AGE_MS: Final = 1_000
"""Older shots are those of a reconnect: their moment is over."""

_ASSIST_MS: Final = 8_000
_AWAY_KEPT: Final = 256
# Shots come by another topic than positions, so the shooter may be known a little behind.
_MUZZLE_TOLERANCE_M: Final = 4.0
# Publishes come in bursts after a stall; the trigger may be that much early.
_SHOT_TOLERANCE_MS: Final = 60


@dataclass(slots=True)
class _Shot:
    by: str
    place: Point
    direction: Point
    at_ms: float
    left_m: float
    rewind_ms: float


class Referee:
    """One arena.

    Args:
        ground: where it is.
        rng: picks among spawn points.
    """

    def __init__(self, ground: Ground, rng: Random) -> None:
        self.ground = ground
        self.round = 1
        self._rng = rng
        self._fighters: dict[str, Fighter] = {}
        self._shots: list[_Shot] = []
        self._medkits_back_ms = [0] * len(ground.medkits)
        # Kills and deaths of who left in this round, the newest last: a lost connection costs a life, not the score.
        self._away: dict[str, tuple[int, int]] = {}

    @property
    def fighters(self) -> Mapping[str, Fighter]:
        """Everybody in the arena, dead or alive."""
        return self._fighters

    def enter(self, player: str, *, bot: bool = False) -> None:
        """A player came in, or came back with its counts of this round; it spawns with the next step."""
        if player not in self._fighters:
            kills, deaths = self._away.pop(player, (0, 0))
            self._fighters[player] = Fighter(player, bot=bot, kills=kills, deaths=deaths)

    def leave(self, player: str) -> None:
        """A player left; its shots fly on."""
        fighter = self._fighters.pop(player, None)
        if fighter is not None and not fighter.bot and (fighter.kills or fighter.deaths):
            self._away[player] = (fighter.kills, fighter.deaths)
            while len(self._away) > _AWAY_KEPT:
                del self._away[next(iter(self._away))]

    def moved(self, player: str, at_ms: int, place: Point, velocity: Point) -> None:
        """A position came; those of the dead do not count."""
        fighter = self._fighters.get(player)
        if fighter is not None and fighter.alive and self.ground.contains(place):
            fighter.track.add(at_ms, place, velocity)

    def shot(self, player: str, at_ms: int, data: Any, now_ms: float) -> bool:
        """A shot was published at `at_ms`; whether it flies.

        Args:
            data: as the shooter published it: `x`, `z`, `heading` (radians, 0 along x) and `at_ms`, the time it saw the others at.
        """
        fighter = self._fighters.get(player)
        aim = _aim(data)
        if fighter is None or not fighter.alive or aim is None or now_ms - at_ms > MAX_SHOT_AGE_MS:
            return False
        (x, z), heading, seen_ms = aim
        known = fighter.track.at(at_ms)
        if known is None or dist(known, (x, z)) > _MUZZLE_TOLERANCE_M or at_ms < fighter.next_shot_ms:
            return False
        fighter.next_shot_ms = at_ms + SHOT_PAUSE_MS - _SHOT_TOLERANCE_MS
        # Who shoots shows itself.
        fighter.protected_until_ms = min(fighter.protected_until_ms, at_ms)
        rewind_ms = max(0.0, min(float(MAX_REWIND_MS), at_ms - seen_ms))
        direction = (cos(heading), sin(heading))
        self._shots.append(_Shot(player, (x, z), direction, float(at_ms), SHOT_RANGE_M, rewind_ms))
        return True

    def step(self, now_ms: float) -> list[Outcome]:
        """Let time pass until `now_ms`; what happened, in order."""
        outcomes: list[Outcome] = []
        for shot in list(self._shots):
            outcomes += self._fly(shot, now_ms)
        self._shots = [shot for shot in self._shots if shot.left_m > 0]
        outcomes += self._medkits(now_ms)
        for fighter in self._fighters.values():
            if fighter.respawn_ms is not None and fighter.respawn_ms <= now_ms:
                outcomes.append(self._spawn(fighter, now_ms))
        return outcomes

    def state(self, now_ms: float) -> dict[str, Any]:
        """Everything that a page needs when it comes in: data of an `arena` event."""
        return {
            "kind": "state",
            "round": self.round,
            "round_kills": ROUND_KILLS,
            "ground": self.ground.as_data(),
            "medkits": [
                [x, z, back_ms] for (x, z), back_ms in zip(self.ground.medkits, self._medkits_back_ms, strict=True)
            ],
            "players": {name: fighter.as_data() | self._place(fighter, now_ms) for name, fighter in self._by_name()},
        }

    def _by_name(self) -> Iterable[tuple[str, Fighter]]:
        return sorted(self._fighters.items())

    def _place(self, fighter: Fighter, now_ms: float) -> dict[str, float]:
        place = fighter.track.at(now_ms) if fighter.alive else None
        return {} if place is None else {"x": round(place[0], 2), "z": round(place[1], 2)}

    def _fly(self, shot: _Shot, now_ms: float) -> list[Outcome]:
        way_m = min(shot.left_m, SHOT_SPEED_M_S * (now_ms - shot.at_ms) / 1_000)
        if way_m <= 0:
            return []
        end = (shot.place[0] + shot.direction[0] * way_m, shot.place[1] + shot.direction[1] * way_m)
        wall = self.ground.clear(shot.place, end)
        victim, part = self._first_met(shot, end)
        place = _between(shot.place, end, min(part, wall, 1.0))
        # Of equal ways the wall is nearer: nobody is hit through its edge.
        if victim is not None and part < wall:
            shot.left_m = 0
            return self._hit(victim, shot, place, now_ms)
        shot.left_m = 0 if wall < 1 or not self.ground.contains(end) else shot.left_m - way_m
        shot.place, shot.at_ms = end, now_ms
        return []

    def _first_met(self, shot: _Shot, end: Point) -> tuple[Fighter | None, float]:
        victim, first = None, inf
        for fighter in self._fighters.values():
            if fighter.name == shot.by or not fighter.alive or fighter.protected_until_ms > shot.at_ms:
                continue
            # Where the shooter saw it when the shot was here; within one step of the referee nobody gets far.
            place = fighter.track.at(shot.at_ms - shot.rewind_ms)
            part = inf if place is None else meets(shot.place, end, place, BODY_M)
            if part < first:
                victim, first = fighter, part
        return victim, first

    def _hit(self, victim: Fighter, shot: _Shot, place: Point, now_ms: float) -> list[Outcome]:
        at_ms = int(now_ms)
        victim.health = max(0, victim.health - DAMAGE)
        victim.hurt_by[shot.by] = at_ms
        if victim.health > 0:
            return [Hit(victim.name, shot.by, victim.health, place)]
        victim.deaths += 1
        victim.respawn_ms = at_ms + RESPAWN_MS
        assists = tuple(
            name
            for name, last_ms in victim.hurt_by.items()
            if name != shot.by and name in self._fighters and at_ms - last_ms <= _ASSIST_MS
        )
        killer = self._fighters.get(shot.by)
        # Who left before its shot arrived still gets the kill; nobody counts it.
        kills = healed_to = None
        if killer is not None:
            killer.kills += 1
            kills = killer.kills
            if killer.alive:
                killer.health = healed_to = min(FULL_HEALTH, killer.health + HEALED_BY_KILL)
        outcomes: list[Outcome] = [
            Hit(victim.name, shot.by, 0, place, kills=kills or 0, deaths=victim.deaths, healed_to=healed_to),
            Killed(shot.by, victim.name, place, assists, at_ms),
        ]
        if kills is not None and kills >= ROUND_KILLS:
            outcomes.append(self._end_round(shot.by, kills))
        return outcomes

    def _end_round(self, winner: str, kills: int) -> RoundWon:
        self.round += 1
        self._away.clear()
        for fighter in self._fighters.values():
            fighter.kills = fighter.deaths = 0
        return RoundWon(winner, kills, self.round)

    def _medkits(self, now_ms: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for index, medkit in enumerate(self.ground.medkits):
            if self._medkits_back_ms[index] > now_ms:
                continue
            for fighter in self._fighters.values():
                place = fighter.track.at(now_ms) if fighter.alive and fighter.health < FULL_HEALTH else None
                if place is not None and dist(place, medkit) <= MEDKIT_REACH_M:
                    fighter.health = min(FULL_HEALTH, fighter.health + HEALED_BY_MEDKIT)
                    self._medkits_back_ms[index] = int(now_ms) + MEDKIT_BACK_MS
                    outcomes.append(MedkitTaken(index, fighter.name, fighter.health, self._medkits_back_ms[index]))
                    break
        return outcomes

    def _spawn(self, fighter: Fighter, now_ms: float) -> Spawned:
        at_ms = int(now_ms)
        place = self._spawn_place(now_ms)
        fighter.health, fighter.respawn_ms = FULL_HEALTH, None
        fighter.protected_until_ms = at_ms + PROTECTED_MS
        fighter.hurt_by.clear()
        fighter.track.clear()
        fighter.track.add(at_ms, place, (0.0, 0.0))
        return Spawned(fighter.name, place, FULL_HEALTH, fighter.protected_until_ms)

    def _spawn_place(self, now_ms: float) -> Point:
        """One of the three places that are farthest from everybody."""
        others = [place for one in self._fighters.values() if one.alive and (place := one.track.at(now_ms)) is not None]
        spawns: Sequence[Point] = sorted(
            self.ground.spawns, key=lambda spawn: -min((dist(spawn, other) for other in others), default=0.0)
        )
        return self._rng.choice(spawns[:3] if others else spawns)


def _aim(data: Any) -> tuple[Point, float, float] | None:
    """Muzzle, heading and time of a shot; None when the data is not one. Any client may publish any value of the type."""
    if not isinstance(data, dict):
        return None
    values = [data.get(key) for key in ("x", "z", "heading", "at_ms")]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    x, z, heading, seen_ms = (float(value) for value in values if value is not None)
    return ((x, z), heading, seen_ms) if all(map(isfinite, (x, z, heading, seen_ms))) else None


def _between(start: Point, end: Point, part: float) -> Point:
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
