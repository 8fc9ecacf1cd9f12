"""Opponents: they get around, they fight, and they can be beaten."""

from __future__ import annotations

from math import dist, pi
from random import Random

from gamebus_arena.arena_map import GROUND, Ground, Point, Wall
from gamebus_arena.brain import Brain, Sighting
from gamebus_arena.referee import BODY_M

OPEN = Ground(20, 20, walls=(Wall(-1, 5, 2, 2),), spawns=(), medkits=(), waypoints=((0, 0), (10, 10), (-10, 10)))
STEP_MS, SPEED_M_S = 62, 6.0


class TestBrain:
    def test_an_opponent_alone_gets_around_the_ground(self) -> None:
        """In two minutes without anybody to fight it has been in all quarters and nowhere stands for long."""
        brain, place, now_ms = Brain(GROUND, Random(3)), GROUND.spawns[0], 0
        seen: list[Point] = []
        while now_ms < 120_000:
            order = brain.decide(now_ms, place, {})
            step = SPEED_M_S * STEP_MS / 1_000
            place = GROUND.settle((place[0] + order.walk[0] * step, place[1] + order.walk[1] * step), BODY_M)
            seen.append(place)
            now_ms += STEP_MS

        assert {(x > 0, z > 0) for x, z in seen} == {(a, b) for a in (True, False) for b in (True, False)}
        per_ten_seconds = 10_000 // STEP_MS
        for start in range(0, len(seen) - per_ten_seconds, per_ten_seconds):
            assert max(dist(seen[start], place) for place in seen[start : start + per_ten_seconds]) > 1.0

    def test_it_notices_somebody_and_shoots_roughly_there(self) -> None:
        """Who stands in the open is shot at, after a moment of grace, and near the line."""
        brain = Brain(OPEN, Random(1))
        others = {"ada": Sighting((8.0, 0.0), (0.0, 0.0))}
        shots = [
            (now_ms, order.fire)
            for now_ms in range(0, 6_000, STEP_MS)
            if (order := brain.decide(now_ms, (0.0, 0.0), others)).fire is not None
        ]

        assert shots[0][0] >= 400
        assert len(shots) > 5
        assert all(fire is not None and abs(fire) < pi / 4 for _, fire in shots)

    def test_it_does_not_see_through_walls(self) -> None:
        """Nobody behind a wall is shot at."""
        brain = Brain(OPEN, Random(1))
        others = {"ada": Sighting((0.0, 12.0), (0.0, 0.0))}

        assert {brain.decide(now_ms, (0.0, 0.0), others).fire for now_ms in range(0, 6_000, STEP_MS)} == {None}
