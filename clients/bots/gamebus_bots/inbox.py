"""What has come for the connections of a process and was not looked at yet.

A gateway ticks hundreds of rooms at once. A loop that handled all of that where it arrives would send nothing meanwhile, so what
comes is only stamped, and handled in slices; between two of them what is due is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gamebus_bots.clock import clock

# Far below what counts as lag of a send, and far above what a turn of the loop costs.
_SLICE_S: Final = 0.001


class Inbox:
    """Chunks of bytes in the order in which they came, over all connections.

    Bounded: when more than `limit_bytes` wait, all of them are handled at once. The loop reads no further meanwhile, and TCP holds
    the servers back.

    Args:
        waited: told when the oldest chunk came that a slice begins with, and what time it is.
    """

    def __init__(
        self, *, limit_bytes: int = 4 << 20, waited: Callable[[float, float], None] = lambda _came_s, _now_s: None
    ) -> None:
        self._waited = waited
        self._limit_bytes = limit_bytes
        self._chunks: deque[tuple[float, Callable[[bytes], None], bytes]] = deque()
        self._waiting_bytes = 0
        self._scheduled = False
        self.came_s = 0.0
        """When the chunk that is being handled came, by :data:`gamebus_bots.clock.clock`."""

    def put(self, handle: Callable[[bytes], None], chunk: bytes) -> None:
        """Keep what has just come."""
        self._chunks.append((clock(), handle, chunk))
        self._waiting_bytes += len(chunk)
        if self._waiting_bytes > self._limit_bytes:
            self._handle_until(float("inf"))
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        self._scheduled = False
        now_s = clock()
        if self._chunks:
            self._waited(self._chunks[0][0], now_s)
        try:
            self._handle_until(now_s + _SLICE_S)
        finally:
            if self._chunks:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._slice)

    def _handle_until(self, until_s: float) -> None:
        chunks = self._chunks
        while chunks:
            self.came_s, handle, chunk = chunks.popleft()
            self._waiting_bytes -= len(chunk)
            handle(chunk)
            if clock() >= until_s:
                return
