"""The state of the link in front of one broker: what it lets through, how fast, and how it takes new connections.

One object that a fault changes while connections stand; everything that waits on the link wakes at each change and looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum


class Way(StrEnum):
    """A direction of bytes."""

    TO_BROKER = "to_broker"
    TO_CLIENT = "to_client"

    @property
    def back(self) -> Way:
        """The other direction."""
        return Way.TO_CLIENT if self is Way.TO_BROKER else Way.TO_BROKER


class Flow(StrEnum):
    """What becomes of bytes in one direction.

    HOLD: they are not read any more, so they wait with the sender, as unacknowledged bytes do, and arrive late.
    DROP: they are taken and lost, as by a middlebox that forgot the connection. TCP never delivers a stream with a hole, so a connection
    that lost bytes is reset when the link passes again.
    """

    PASS = "pass"  # noqa: S105 - no password
    HOLD = "hold"
    DROP = "drop"


class Arrivals(StrEnum):
    """What becomes of new connections: served, left without any answer, or refused by the kernel."""

    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


class Link:
    """What the faults of one link are at this moment.

    Guarantees: each wait ends when what it waits for is true; a wait for time ends at the next change at the latest.
    """

    def __init__(self) -> None:
        self.flows = dict.fromkeys(Way, Flow.PASS)
        self.arrivals = Arrivals.ACCEPT
        self.latency_s = 0.0
        self.bandwidth_bytes_per_s: float | None = None
        # When the line is free again, by direction: all connections of a link share its bandwidth.
        self._free_at = dict.fromkeys(Way, 0.0)
        self._changed = asyncio.Event()

    @property
    def passing(self) -> bool:
        """Whether the link is as if it were not there."""
        whole = all(flow is Flow.PASS for flow in self.flows.values()) and self.arrivals is Arrivals.ACCEPT
        return whole and not self.latency_s and self.bandwidth_bytes_per_s is None

    def restrict(self, ways: Iterable[Way], flow: Flow, arrivals: Arrivals) -> None:
        """Set the flow of some directions, and what becomes of new connections."""
        self.flows |= dict.fromkeys(ways, flow)
        self.arrivals = arrivals
        self._wake()

    def slow(self, latency_s: float, bandwidth_bytes_per_s: float | None) -> None:
        """Delay each byte by so much in each direction, and let no more of them through per second and direction."""
        self.latency_s = latency_s
        self.bandwidth_bytes_per_s = bandwidth_bytes_per_s
        self._free_at = dict.fromkeys(Way, 0.0)
        self._wake()

    async def until_unheld(self, way: Way) -> bool:
        """Wait while the direction holds its bytes; whether there was anything to wait for."""
        waited = False
        while self.flows[way] is Flow.HOLD:
            waited = True
            await self._changed.wait()
        return waited

    async def until_passing(self, way: Way) -> None:
        """Wait until the direction passes: until then the other end cannot learn of anything."""
        while self.flows[way] is not Flow.PASS:
            await self._changed.wait()

    async def until_accepting(self) -> None:
        """Wait until new connections are served."""
        while self.arrivals is not Arrivals.ACCEPT:
            await self._changed.wait()

    async def until_arrived(self, read_at: float) -> None:
        """Wait for the latency of bytes that were read at `read_at` (the loop's clock)."""
        loop = asyncio.get_running_loop()
        while (wait_s := read_at + self.latency_s - loop.time()) > 0:
            await self._pause(wait_s)

    async def until_through(self, way: Way, size_bytes: int) -> None:
        """Wait until so many bytes fit through the bandwidth, behind those that came before."""
        rate = self.bandwidth_bytes_per_s
        if rate is None:
            return
        loop = asyncio.get_running_loop()
        self._free_at[way] = free_at = max(loop.time(), self._free_at[way]) + size_bytes / rate
        while self.bandwidth_bytes_per_s == rate and (wait_s := free_at - loop.time()) > 0:
            await self._pause(wait_s)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
