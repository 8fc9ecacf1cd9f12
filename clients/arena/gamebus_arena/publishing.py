"""Durable publishes of the game server: begun in order, waited for beside the game.

Bounded by the client's outbox: past it an event is not taken, and counted. Whoever misses an `arena` event is right again with the
next state, since counts are totals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gamebus_client import GameClientError, OutboxFull


class Publishing:
    """Publishes on their way. Enter it as a context; leaving waits for none."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0
        """Events that are surely or perhaps not written."""
        self.not_taken = 0

    def start(self, publish: Coroutine[Any, Any, Any]) -> None:
        """Begin a publish; tasks take their first step in the order of their creation, so the order of calls is that of the events."""
        task = asyncio.create_task(self._outcome(publish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what still waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _outcome(self, publish: Coroutine[Any, Any, Any]) -> None:
        try:
            await publish
        except OutboxFull:
            self.not_taken += 1
        except GameClientError:
            self.failed += 1
