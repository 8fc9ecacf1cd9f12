"""The bounded queue between the connection and the program that iterates.

Overflow policy: a tick never waits behind another tick of its room; they are merged, newest position per player, so ticks
take at most one place per room. Everything else is kept in order and never dropped: when `limit` of them wait, `put` returns
False, and the client closes the connection and resumes once half of them are taken. So a slow program costs itself freshness
and, past the bound, a reconnect; it never blocks the reading of the socket and loses no durable event silently.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gamebus_client.messages import Joined, Left, Message, Tick


class _PendingTick:
    """Ticks of one room merged while nobody took them."""

    __slots__ = ("_first", "_positions", "_server_ms", "_stamps", "stale")

    def __init__(self, tick: Tick) -> None:
        self._first = tick
        self._server_ms = tick.server_ms
        # Copied only when a second tick comes: most are taken alone.
        self._positions: dict[str, list[float] | None] | None = None
        # Player -> server_ms of the tick that the position came from.
        self._stamps: dict[str, int] = {}
        self.stale = False

    def merge(self, tick: Tick) -> None:
        if self._positions is None:
            self._positions = dict(self._first.positions)
            self._stamps = dict.fromkeys(self._positions, self._server_ms)
        for player, data in tick.positions.items():
            # Wire protocol: a value in a tick of the same server_ms wins over a null.
            if data is None and self._stamps.get(player) == tick.server_ms and self._positions[player] is not None:
                continue
            self._positions[player] = data
            self._stamps[player] = tick.server_ms
        self._server_ms = tick.server_ms

    def take(self) -> Tick:
        return self._first if self._positions is None else Tick(self._first.room, self._server_ms, self._positions)


class Inbox:
    """Messages that wait for the program. Several consumers share them; each message goes to one.

    Args:
        limit: messages other than ticks that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[Message | _PendingTick] = deque()
        self._ticks: dict[str, _PendingTick] = {}
        self._waiting = 0
        self._closed = False
        self._not_empty = asyncio.Event()
        self._drained = asyncio.Event()
        self.ticks_merged = 0

    def __len__(self) -> int:
        """Messages other than ticks that wait."""
        return self._waiting

    def put(self, message: Message, *, force: bool = False) -> bool:
        """Take a message in; False when the bound is reached and it was not taken (`force`: taken in any case)."""
        if type(message) is Tick:
            self._put_tick(message)
        else:
            if self._waiting >= self._limit and not force:
                self._drained.clear()
                return False
            if type(message) is Joined or type(message) is Left:
                # What waits was said before: the room's state begins anew.
                stale = self._ticks.pop(message.room, None)
                if stale is not None:
                    stale.stale = True
            self._waiting += 1
            self._queue.append(message)
        self._not_empty.set()
        return True

    def _put_tick(self, tick: Tick) -> None:
        pending = self._ticks.get(tick.room)
        if pending is not None:
            pending.merge(tick)
            self.ticks_merged += 1
        else:
            pending = self._ticks[tick.room] = _PendingTick(tick)
            self._queue.append(pending)

    async def get(self) -> Message | None:
        """The next message; None when the inbox is closed and empty."""
        while True:
            while self._queue:
                message = self._queue.popleft()
                if not isinstance(message, _PendingTick):
                    self._waiting -= 1
                    if self._waiting <= self._limit // 2:
                        self._drained.set()
                    return message
                if not message.stale:
                    tick = message.take()
                    del self._ticks[tick.room]
                    return tick
            if self._closed:
                return None
            self._not_empty.clear()
            await self._not_empty.wait()

    async def drained(self) -> None:
        """Wait until at most half of the bound waits."""
        if self._waiting > self._limit // 2:
            self._drained.clear()
            await self._drained.wait()

    def close(self) -> None:
        """No message will come any more; what waits can still be taken."""
        self._closed = True
        self._not_empty.set()
