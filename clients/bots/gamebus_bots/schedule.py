"""When positions are due: an open model on an absolute schedule. Pure.

Send number `i` of bot `k` of `n` is planned at `start + (i + k / n) / rate`: equal phases, so the whole is one even stream of
`n * rate` sends a second (bursts run that time faster, see :class:`~gamebus_bots.timeline.Pace`). A late send is not skipped and
delays no later one, and latency counts from the planned time: a stall of anything, the bots included, shows in the figures
instead of pausing the load (no coordinated omission).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from gamebus_bots.timeline import Pace


@dataclass(frozen=True, slots=True)
class Due:
    """One planned send.

    Attributes:
        bot: which bot, from 0.
        cycle: its send number, from 0.
        planned_s: when it should go out.
    """

    bot: int
    cycle: int
    planned_s: float


class Schedule:
    """Sends of all bots in the order of their planned times.

    Args:
        bots: how many send.
        rate_hz: sends a second of each.
        start_s: planned time of the first.
        pace: how time runs for the load.
    """

    def __init__(self, bots: int, *, rate_hz: float, start_s: float, pace: Pace | None = None) -> None:
        self._bots = bots
        self._per_s = bots * rate_hz
        self._start_s = start_s
        self._pace = pace or Pace(None)
        self._next = 0
        self.next_s = start_s
        """Planned time of the next send."""

    def due(self, now_s: float, *, until_s: float = inf) -> Iterator[Due]:
        """Sends planned up to now, and before `until_s`, that were not given out yet."""
        while (planned_s := self.next_s) <= now_s and planned_s < until_s:
            cycle, bot = divmod(self._next, self._bots)
            self._next += 1
            self.next_s = self._start_s + self._pace.time_s(self._next / self._per_s)
            yield Due(bot, cycle, planned_s)
