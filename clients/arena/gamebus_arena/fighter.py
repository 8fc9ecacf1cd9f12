"""One player as the referee sees it: health, counts, and where it was. Pure: times are the gateway's, in milliseconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from gamebus_arena.arena_map import Point

FULL_HEALTH: Final = 100
_KEPT_MS: Final = 1_500
# As far as a page lets a player run on without news (`Interpolator`, maxExtrapolationMs).
_EXTRAPOLATED_MS: Final = 250


@dataclass(frozen=True, slots=True)
class _Sample:
    at_ms: int
    place: Point
    velocity: Point


class Track:
    """Where a player was in the last second and a half. Bounded by that time; the rest is forgotten."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def clear(self) -> None:
        """The player jumped: nothing of before counts."""
        self._samples.clear()

    def add(self, at_ms: int, place: Point, velocity: Point) -> None:
        """A newer position."""
        if self._samples and at_ms <= self._samples[-1].at_ms:
            return
        self._samples.append(_Sample(at_ms, place, velocity))
        # The newest one before the window is where the player stood when it began.
        while len(self._samples) > 2 and self._samples[1].at_ms < at_ms - _KEPT_MS:
            self._samples.popleft()

    def at(self, at_ms: float) -> Point | None:
        """Where the player was at `at_ms`: between two positions, or moved on by its velocity for a moment; None: not there yet."""
        before = after = None
        for sample in self._samples:
            if sample.at_ms > at_ms:
                after = sample
                break
            before = sample
        if before is None:
            return None
        if after is None:
            seconds = min(at_ms - before.at_ms, _EXTRAPOLATED_MS) / 1_000
            return before.place[0] + before.velocity[0] * seconds, before.place[1] + before.velocity[1] * seconds
        part = (at_ms - before.at_ms) / (after.at_ms - before.at_ms)
        (x, z), (to_x, to_z) = before.place, after.place
        return x + (to_x - x) * part, z + (to_z - z) * part


@dataclass(slots=True)
class Fighter:
    """A player in the arena.

    Attributes:
        respawn_ms: when a dead player begins again; None while it lives.
        hurt_by: who hurt it in this life, and when last.
    """

    name: str
    bot: bool = False
    health: int = 0
    kills: int = 0
    deaths: int = 0
    respawn_ms: int | None = 0
    protected_until_ms: int = 0
    next_shot_ms: int = 0
    hurt_by: dict[str, int] = field(default_factory=dict)
    track: Track = field(default_factory=Track)

    @property
    def alive(self) -> bool:
        """Whether it is in the game."""
        return self.respawn_ms is None

    def as_data(self) -> dict[str, Any]:
        """One line of the state that a page gets when it comes in."""
        return {"health": self.health, "kills": self.kills, "deaths": self.deaths, "bot": self.bot}
