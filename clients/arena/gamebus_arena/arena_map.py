"""The ground of the arena: walls, spawn points, medkits, and the two questions a game asks of them. Pure.

Metres; x to the right, z downwards on the screen, the origin in the middle. The page has the same rules in `static/js/ground.js`,
since a player's own movement is predicted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, inf
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Wall:
    """A rectangle that stops bodies and shots; `x`, `z` is its corner with the lowest coordinates."""

    x: float
    z: float
    width: float
    depth: float


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the game is played.

    Attributes:
        half_width: the ground reaches from -half_width to half_width in x.
        half_depth: the same in z.
        waypoints: open places from which opponents find their way.
    """

    half_width: float
    half_depth: float
    walls: tuple[Wall, ...]
    spawns: tuple[Point, ...]
    medkits: tuple[Point, ...]
    waypoints: tuple[Point, ...]

    def settle(self, place: Point, radius: float) -> Point:
        """The place nearest to `place` where a body of `radius` neither stands in a wall nor leaves the ground.

        Not guaranteed in a corner between walls that stand closer than the body is wide: there are none.
        """
        x, z = place
        # Twice, because out of one wall may be into the next.
        for wall in self.walls * 2:
            x, z = _pushed_out(wall, x, z, radius)
        limit_x, limit_z = self.half_width - radius, self.half_depth - radius
        return max(-limit_x, min(limit_x, x)), max(-limit_z, min(limit_z, z))

    def clear(self, start: Point, end: Point, margin: float = 0.0) -> float:
        """The part (0..1) of the way from `start` to `end` that is free of walls, each grown by `margin`; 1: all of it."""
        return min((_entry(wall, start, end, margin) for wall in self.walls), default=1.0)

    def contains(self, place: Point) -> bool:
        """Whether `place` is on the ground (walls count as ground)."""
        return abs(place[0]) <= self.half_width and abs(place[1]) <= self.half_depth

    def as_data(self) -> dict[str, object]:
        """What a page needs to draw the ground and to walk on it."""
        return {
            "half": [self.half_width, self.half_depth],
            "walls": [[wall.x, wall.z, wall.width, wall.depth] for wall in self.walls],
        }


def _pushed_out(wall: Wall, x: float, z: float, radius: float) -> Point:
    right, lower = wall.x + wall.width, wall.z + wall.depth
    near_x, near_z = max(wall.x, min(right, x)), max(wall.z, min(lower, z))
    away_x, away_z = x - near_x, z - near_z
    distance = hypot(away_x, away_z)
    if distance >= radius:
        return x, z
    if distance > 0:
        return near_x + away_x / distance * radius, near_z + away_z / distance * radius
    # The middle is inside: out by the nearest side.
    exits: tuple[tuple[float, Point], ...] = (
        (x - wall.x, (wall.x - radius, z)),
        (right - x, (right + radius, z)),
        (z - wall.z, (x, wall.z - radius)),
        (lower - z, (x, lower + radius)),
    )
    return min(exits)[1]


def _entry(wall: Wall, start: Point, end: Point, margin: float) -> float:
    """Where the segment enters the grown wall (slab method); 1 when it does not."""
    enter, leave = 0.0, 1.0
    sides = ((start[0], end[0], wall.x, wall.width), (start[1], end[1], wall.z, wall.depth))
    for from_, to, low, size in sides:
        lowest, highest, way = low - margin, low + size + margin, to - from_
        if way == 0:
            if not lowest < from_ < highest:
                return 1.0
            continue
        first, second = sorted(((lowest - from_) / way, (highest - from_) / way))
        enter, leave = max(enter, first), min(leave, second)
    return enter if enter < leave else 1.0


def meets(start: Point, end: Point, centre: Point, radius: float) -> float:
    """The part (0..1) of the way from `start` to `end` at which a disc is first touched; infinite when it is not."""
    way_x, way_z = end[0] - start[0], end[1] - start[1]
    from_x, from_z = start[0] - centre[0], start[1] - centre[1]
    inside = from_x**2 + from_z**2 - radius**2
    if inside <= 0:
        return 0.0
    # |start + part * way - centre| = radius, a quadratic equation in part.
    square, half = way_x**2 + way_z**2, from_x * way_x + from_z * way_z
    under_root = half**2 - square * inside
    if square == 0 or half >= 0 or under_root < 0:
        return inf
    part = (-half - under_root**0.5) / square
    return part if part <= 1 else inf


def _mirrored(*walls: Wall) -> tuple[Wall, ...]:
    """The walls and their images under a half turn: a fair ground is the same from both sides."""
    return walls + tuple(Wall(-wall.x - wall.width, -wall.z - wall.depth, wall.width, wall.depth) for wall in walls)


def _turned(*points: Point) -> tuple[Point, ...]:
    return points + tuple((-x, -z) for x, z in points)


GROUND: Final = Ground(
    half_width=30.0,
    half_depth=20.0,
    walls=(
        *_mirrored(
            Wall(-22, -13, 8, 2),
            Wall(-22, -11, 2, 5),
            Wall(-8, -15, 2, 7),
            Wall(2, -12, 7, 2),
            Wall(16, -15, 2, 6),
            Wall(20, -5, 6, 2),
            Wall(-15, -3, 2, 6),
            Wall(-7.5, -5, 3, 3),
        ),
        Wall(-1.5, -1.5, 3, 3),
    ),
    spawns=_turned((-27, -17), (0, -17), (27, -17), (-27, 0), (-10, -18), (10, -6)),
    medkits=_turned((-18, -8.5), (5.5, -15)),
    waypoints=_turned(
        *((-27, -17), (-18, -16), (-11, -17), (-2, -17), (8, -17), (13, -13), (22, -17), (27, -10)),
        *((-25, -8), (-17, -8), (-11, -8), (-3, -8), (5, -7), (13, -6), (18, -7), (28, -2)),
        *((-26, 0), (-18, 0), (-10, 0), (-4, 1), (10, -2)),
    ),
)
"""The one map there is."""
