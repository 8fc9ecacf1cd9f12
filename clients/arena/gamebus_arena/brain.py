"""How an opponent thinks. Pure: time (milliseconds) and randomness are arguments, what it sees is given.

An opponent wanders between waypoints, notices who is in sight after a moment, keeps its distance while it strafes, and aims with an
error that it does not notice itself. It is meant to be beaten by a person who pays attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import atan2, cos, dist, hypot, pi, sin
from random import Random
from typing import Final

from gamebus_arena.arena_map import Ground, Point
from gamebus_arena.referee import BODY_M, SHOT_SPEED_M_S

SIGHT_M: Final = 19.0
_SHOOTING_M: Final = 16.0
_KEPT_M: Final = 8.0
_NOTICE_MS: Final = 450
_PAUSE_MS: Final = (300, 760)
_AIM_ERROR: Final = 0.16
_ARRIVED_M: Final = 1.2
_STUCK_MS: Final = 4_000
_STRAFE_MS: Final = (500, 1_400)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody else, as known now."""

    place: Point
    velocity: Point


@dataclass(frozen=True, slots=True)
class Order:
    """What an opponent wants to do now. `walk`: a direction, at most 1 long; `fire`: a heading in radians, or None."""

    walk: Point
    heading: float
    fire: float | None = None


class Brain:
    """One opponent's mind.

    Args:
        ground: where it lives.
        rng: its own source of chance, so that what one does cannot shift what another does.
    """

    def __init__(self, ground: Ground, rng: Random) -> None:
        self._ground = ground
        self._rng = rng
        self._heading = rng.uniform(-pi, pi)
        self._goal: Point | None = None
        self._goal_until_ms = 0
        self._before: Point | None = None
        self._target: str | None = None
        self._noticed_ms = 0
        self._next_fire_ms = 0
        self._strafe = 1.0
        self._strafe_until_ms = 0

    def decide(self, now_ms: int, place: Point, others: Mapping[str, Sighting]) -> Order:
        """What to do at `now_ms`, standing at `place`, with these others alive."""
        seen = self._look(now_ms, place, others)
        if seen is None:
            return self._wander(now_ms, place)
        return self._fight(now_ms, place, seen)

    def begin_again(self) -> None:
        """A new life, elsewhere: nothing of the old one counts."""
        self._goal = self._before = self._target = None

    def _look(self, now_ms: int, place: Point, others: Mapping[str, Sighting]) -> Sighting | None:
        visible = {
            name: other
            for name, other in others.items()
            if dist(place, other.place) <= SIGHT_M and self._ground.clear(place, other.place) == 1.0
        }
        if not visible:
            if self._target in others and self._target is not None:
                # Follow to where it was last seen.
                self._goal, self._goal_until_ms = self._nearest_waypoint(place, others[self._target].place), now_ms
                self._goal_until_ms += _STUCK_MS
            self._target = None
            return None
        nearest = min(visible, key=lambda name: dist(place, visible[name].place))
        # Not from one to the other and back: only a much nearer one distracts.
        if self._target not in visible or dist(place, visible[nearest].place) < 0.5 * dist(
            place, visible[self._target].place
        ):
            self._target, self._noticed_ms = nearest, now_ms
            self._next_fire_ms = max(self._next_fire_ms, now_ms + _NOTICE_MS)
        return visible[self._target]

    def _fight(self, now_ms: int, place: Point, target: Sighting) -> Order:
        far = dist(place, target.place)
        towards = atan2(target.place[1] - place[1], target.place[0] - place[0])
        if now_ms >= self._strafe_until_ms:
            self._strafe = self._rng.choice((-1.0, 1.0))
            self._strafe_until_ms = now_ms + self._rng.randint(*_STRAFE_MS)
        nearer = max(-1.0, min(1.0, (far - _KEPT_M) / 3))
        walk = (
            cos(towards) * nearer - sin(towards) * self._strafe * 0.8,
            sin(towards) * nearer + cos(towards) * self._strafe * 0.8,
        )
        fire = None
        if now_ms >= self._next_fire_ms and far <= _SHOOTING_M:
            flight_s = far / SHOT_SPEED_M_S
            lead_x = target.place[0] + target.velocity[0] * flight_s * 0.7
            lead_z = target.place[1] + target.velocity[1] * flight_s * 0.7
            fire = atan2(lead_z - place[1], lead_x - place[0]) + self._rng.gauss(0.0, _AIM_ERROR)
            self._next_fire_ms = now_ms + self._rng.randint(*_PAUSE_MS)
        self._heading = towards if fire is None else fire
        return Order(_unit(walk), self._heading, fire)

    def _wander(self, now_ms: int, place: Point) -> Order:
        if self._goal is None or dist(place, self._goal) <= _ARRIVED_M or now_ms >= self._goal_until_ms:
            self._before, self._goal = self._goal, self._next_goal(place)
            self._goal_until_ms = now_ms + _STUCK_MS
        way = (self._goal[0] - place[0], self._goal[1] - place[1])
        self._heading = atan2(way[1], way[0])
        return Order(_unit(way, 0.8), self._heading)

    def _next_goal(self, place: Point) -> Point:
        reachable = [
            point for point in self._ground.waypoints if point != self._before and self._way_is_free(place, point)
        ]
        fresh = [point for point in reachable if dist(place, point) > 2 * _ARRIVED_M]
        # The nearer ones: through the middle of the ground and back is no patrol.
        fresh.sort(key=lambda point: dist(place, point))
        return self._rng.choice(fresh[:6] or list(self._ground.waypoints))

    def _nearest_waypoint(self, place: Point, wanted: Point) -> Point | None:
        reachable = [point for point in self._ground.waypoints if self._way_is_free(place, point)]
        return min(reachable, key=lambda point: dist(point, wanted), default=None)

    def _way_is_free(self, start: Point, end: Point) -> bool:
        return self._ground.clear(start, end, BODY_M * 0.9) == 1.0


def _unit(way: Point, length: float = 1.0) -> Point:
    size = hypot(*way)
    return (0.0, 0.0) if size == 0 else (way[0] / size * length, way[1] / size * length)
