"""When which room ticks.

A tick follows arrival: the first position in a quiet room goes out at once, further ones one period after the tick before. A
room without news is not in here, so it costs nothing; one timer serves all rooms.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from gamebus.gateway.loop import Loop, TimerHandle
from gamebus.gateway.room import Room
from gamebus.telemetry.histogram import Histogram

# Timers of an event loop have a resolution of a millisecond and may come that much too early (libuv rounds).
_TIMER_RESOLUTION_S: Final = 0.001


class TickSchedule:
    """Rooms that have something new, by the time of their next tick. Pure: time is an argument."""

    def __init__(self) -> None:
        # (time, order of arrival, room): rooms do not compare.
        self._heap: list[tuple[float, int, Room]] = []
        self._added = 0

    @property
    def next_at(self) -> float | None:
        """When the next tick is due; None while no room has news."""
        return self._heap[0][0] if self._heap else None

    def add(self, room: Room, now: float) -> None:
        """Enter a room that had no news and has some now."""
        self._added += 1
        heapq.heappush(self._heap, (max(now, room.next_tick_at), self._added, room))

    def due(self, now: float) -> list[Room]:
        """Take out the rooms whose tick is due."""
        rooms: list[Room] = []
        while self._heap and self._heap[0][0] <= now + _TIMER_RESOLUTION_S:
            at, _, room = heapq.heappop(self._heap)
            # From when it was due, not from now: a timer that is late must not lower the rate of a busy room.
            room.next_tick_at = max(at + 1 / room.tick_hz, now)
            rooms.append(room)
        return rooms


class Ticker:
    """Ticks the rooms of a hub when they are due.

    Args:
        loop: for time and the one timer.
        now_ms: Unix milliseconds.
        max_age_s: positions that waited for their tick for longer are not shown any more.
    """

    def __init__(self, loop: Loop, now_ms: Callable[[], int], *, max_age_s: float) -> None:
        self._loop = loop
        self._max_age_s = max_age_s
        self._now_ms = now_ms
        self._schedule = TickSchedule()
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self.stale = 0
        self.ticks = 0
        self.entries = 0
        self.frames = 0
        self.age = Histogram()

    def add(self, room: Room) -> None:
        """Enter a room whose `moved` was empty and is not any more; follow with :meth:`run_due`."""
        self._schedule.add(room, self._loop.time())

    def drop_stale(self) -> None:
        """Pass over what should have been sent long ago, since this process stood still. Before newer positions come in."""
        next_at, before = self._schedule.next_at, self._loop.time() - self._max_age_s
        if next_at is None or next_at > before:
            return
        for room in self._schedule.due(before):
            self.stale += room.pass_over()
            if room.moved:
                self.add(room)

    def run_due(self) -> None:
        """Send every tick that is due, and set the timer for the next one."""
        due = self._schedule.due(self._loop.time())
        if due:
            now_ms = self._now_ms()
            for room in due:
                # Empty when all clients left meanwhile.
                if room.moved:
                    if room.oldest_ms:
                        self.age.observe((now_ms - room.oldest_ms) / 1000)
                        room.oldest_ms = 0
                    entries, frames = room.tick(now_ms)
                    self.ticks += 1
                    self.entries += entries
                    self.frames += frames
        next_at = self._schedule.next_at
        if next_at is not None and (self._timer is None or next_at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = next_at
            self._timer = self._loop.call_at(next_at, self._on_timer)

    def stop(self) -> None:
        """Send no more ticks by timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.drop_stale()
        self.run_due()
