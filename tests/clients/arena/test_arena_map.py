"""The ground: walls stop bodies and shots."""

from __future__ import annotations

from math import dist, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus_arena.arena_map import GROUND, Ground, Wall, meets
from gamebus_arena.referee import BODY_M

ONE_WALL = Ground(10, 10, walls=(Wall(2, -1, 2, 2),), spawns=((0, 0),), medkits=(), waypoints=((0, 0),))


def overlap(ground: Ground, place: tuple[float, float], radius: float) -> float:
    """How deep a body at `place` stands in a wall."""

    def near(wall: Wall) -> tuple[float, float]:
        return max(wall.x, min(wall.x + wall.width, place[0])), max(wall.z, min(wall.z + wall.depth, place[1]))

    return max(radius - dist(place, near(wall)) for wall in ground.walls)


class TestSettle:
    @given(st.floats(-40, 40), st.floats(-30, 30))
    def test_nobody_stands_in_a_wall_or_beside_the_ground(self, x: float, z: float) -> None:
        """Wherever a body is put on the real ground, it comes to stand on it and outside of all walls."""
        place = GROUND.settle((x, z), BODY_M)

        assert GROUND.contains(place)
        assert overlap(GROUND, place, BODY_M) < 1e-6

    def test_a_body_slides_along_a_wall(self) -> None:
        """Walking into a wall at an angle keeps the part of the step that runs along it."""
        assert ONE_WALL.settle((1.8, 0.5), 0.8) == pytest.approx((1.2, 0.5))

    def test_who_is_on_free_ground_stays(self) -> None:
        """A free place is its own nearest one."""
        assert ONE_WALL.settle((-3.0, 4.0), 0.8) == (-3.0, 4.0)


class TestClear:
    @pytest.mark.parametrize(
        ("start", "end", "part"),
        [
            ((0, 0), (4, 0), 0.5),
            ((0, 3), (8, 3), 1.0),
            ((0, 0), (0, 8), 1.0),
            ((0, 0), (1.9, 0), 1.0),
            ((8, 0), (0, 0), 0.5),
        ],
    )
    def test_a_wall_stops_a_shot_where_it_begins(
        self, start: tuple[float, float], end: tuple[float, float], part: float
    ) -> None:
        """The free part of a way ends at the first wall on it."""
        assert ONE_WALL.clear(start, end) == pytest.approx(part)


class TestMeets:
    @pytest.mark.parametrize(
        ("centre", "part"), [((5, 0), 0.4), ((5, 2), inf), ((-3, 0), inf), ((0.5, 0), 0.0), ((12, 0), inf)]
    )
    def test_a_disc_is_met_at_its_edge(self, centre: tuple[float, float], part: float) -> None:
        """A way of ten metres meets a disc of radius one where it first touches it, or not at all."""
        assert meets((0, 0), (10, 0), centre, 1.0) == pytest.approx(part)


class TestTheGround:
    def test_is_fair(self) -> None:
        """A half turn maps the ground onto itself, so no side is better."""
        turned = {(-wall.x - wall.width, -wall.z - wall.depth, wall.width, wall.depth) for wall in GROUND.walls}

        assert turned == {(wall.x, wall.z, wall.width, wall.depth) for wall in GROUND.walls}

    @pytest.mark.parametrize("places", [GROUND.spawns, GROUND.medkits, GROUND.waypoints])
    def test_spawns_medkits_and_waypoints_are_free(self, places: tuple[tuple[float, float], ...]) -> None:
        """A body can stand at each of them."""
        assert [place for place in places if GROUND.settle(place, BODY_M) != pytest.approx(place)] == []

    def test_every_waypoint_leads_to_every_other(self) -> None:
        """Opponents that go from waypoint to waypoint in straight lines get everywhere."""
        reached, edge = {GROUND.waypoints[0]}, [GROUND.waypoints[0]]
        while edge:
            here = edge.pop()
            near = {there for there in GROUND.waypoints if GROUND.clear(here, there, BODY_M * 0.9) == 1.0} - reached
            reached |= near
            edge += near

        assert reached == set(GROUND.waypoints)
