"""Where to draw the others: a buffer of positions that is shown a little late, so that there is always a next one to move
towards ("Source Multiplayer Networking", entity interpolation). Pure: the gateway's time is an argument.

Guarantee: a drawn position lies on the line between two received ones, or, when none newer came in time, is the newest one
moved on by its velocity for at most `max_extrapolation_ms`. Memory is bounded by `buffer_ms` of ticks for each player.

Not guaranteed: smoothness. A player who is out of view or who jumped is drawn as such.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, sin
from typing import Final

from gamebus_client.messages import Joined, Positions, Tick

__all__ = ["Interpolator", "Pose"]

# A tick may be skipped (conflation, a late position) without that the player stood still.
_INTERPOLATED_TICKS: Final = 3


@dataclass(frozen=True, slots=True)
class Pose:
    """Where one player is drawn.

    Attributes:
        heading: radians; None where the player sends none.
        extrapolated: no newer position had come, so this one is guessed.
    """

    x: float
    y: float
    z: float
    heading: float | None
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class _Sample:
    at_ms: float
    data: Sequence[float] | None


class Interpolator:
    """The players of one room. Feed it with `Joined` and `Tick`; ask it once a frame.

    Args:
        delay_ms: how late players are drawn: two ticks, and at least what the network's jitter needs.
        buffer_ms: how long positions are kept.
        max_extrapolation_ms: how long a player runs on without news.
    """

    def __init__(self, *, delay_ms: float = 100, buffer_ms: float = 1_000, max_extrapolation_ms: float = 250) -> None:
        self._delay_ms = delay_ms
        self._buffer_ms = max(buffer_ms, 2 * delay_ms)
        self._max_extrapolation_ms = max_extrapolation_ms
        self._tick_ms = 50.0
        self._samples: dict[str, deque[_Sample]] = {}

    def joined(self, joined: Joined, server_ms: float | None) -> None:
        """The room was entered (again): its state begins anew at the gateway's time `server_ms` (`GameClient.server_ms()`)."""
        self._samples.clear()
        if joined.tick_hz > 0:
            self._tick_ms = 1_000 / joined.tick_hz
        self._add(joined.positions, (server_ms or 0) - self._delay_ms)

    def tick(self, tick: Tick) -> None:
        """Positions came."""
        self._add(tick.positions, tick.server_ms)

    def forget(self, player: str) -> None:
        """Draw a player no longer, until a newer position comes: he left the room, or died."""
        self._samples.pop(player, None)

    def sample(self, server_ms: float | None) -> Mapping[str, Pose]:
        """All players that are to be seen at the gateway's time `server_ms`; nobody while that is not known (None)."""
        if server_ms is None:
            return {}
        at_ms = server_ms - self._delay_ms
        poses: dict[str, Pose] = {}
        for player, samples in list(self._samples.items()):
            pose = self._pose(samples, at_ms)
            if pose is not None:
                poses[player] = pose
            elif samples[-1].data is None and samples[-1].at_ms <= at_ms:
                # Gone for longer than it is drawn late.
                del self._samples[player]
        return poses

    def _add(self, positions: Positions, at_ms: float) -> None:
        for player, data in positions.items():
            samples = self._samples.setdefault(player, deque())
            last = samples[-1] if samples else None
            if last is not None and at_ms < last.at_ms:
                continue
            if last is not None and at_ms == last.at_ms:
                # Wire protocol: a value in a tick of the same server_ms wins over a null.
                if data is not None or last.data is None:
                    samples[-1] = _Sample(at_ms, data)
                continue
            samples.append(_Sample(at_ms, data))
            # The newest one before the buffer begins is where the player stood then.
            while len(samples) > 2 and samples[1].at_ms < at_ms - self._buffer_ms:
                samples.popleft()

    def _pose(self, samples: deque[_Sample], at_ms: float) -> Pose | None:
        if samples[0].at_ms > at_ms:
            # Not there yet.
            return None
        before = next((older for older, newer in pairwise(samples) if newer.at_ms > at_ms), samples[-1])
        if before.data is None:
            # Not there any more.
            return None
        while samples[0] is not before:
            samples.popleft()
        if len(samples) == 1:
            return self._extrapolated(before.data, at_ms - before.at_ms)
        after = samples[1]
        if after.data is None:
            return _between(before.data, before.data, 0)
        # Who does not move is in no tick, so a player stood still until some ticks before the next position.
        start_ms = max(before.at_ms, after.at_ms - _INTERPOLATED_TICKS * self._tick_ms)
        return _between(before.data, after.data, max(0.0, (at_ms - start_ms) / (after.at_ms - start_ms)))

    def _extrapolated(self, data: Sequence[float], age_ms: float) -> Pose:
        _, x, y, z, *rest = data
        velocity = rest[:3] if len(rest) >= 3 else (0.0, 0.0, 0.0)
        seconds = min(age_ms, self._max_extrapolation_ms) / 1_000
        x, y, z = (at + speed * seconds for at, speed in zip((x, y, z), velocity, strict=True))
        return Pose(x, y, z, _heading(data), extrapolated=age_ms > 0)


def _between(start: Sequence[float], end: Sequence[float], part: float) -> Pose:
    x, y, z = (start[index] + (end[index] - start[index]) * part for index in (1, 2, 3))
    return Pose(x, y, z, _turned(_heading(start), _heading(end), part), extrapolated=False)


def _heading(data: Sequence[float]) -> float | None:
    return data[7] if len(data) > 7 else None


def _turned(start: float | None, end: float | None, part: float) -> float | None:
    """Between two headings the shorter way round."""
    if start is None or end is None:
        return end if start is None else start
    difference = end - start
    return start + atan2(sin(difference), cos(difference)) * part
