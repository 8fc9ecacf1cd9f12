"""Faults inside our own processes: a blocked event loop, slow handlers, a wall clock that is wrong, a death at a chosen step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import Final

from gamebus.verify.cluster import DURABLE, GATEWAYS, MAX_POLL_INTERVAL_S, REALTIME, Cluster
from gamebus.verify.orders import Orders, Step

_BLOCK_S: Final = 3.0
_HOUR_S: Final = 3600.0
_STEP_TIMEOUT_S: Final = 20.0
_SLOW_S: Final = MAX_POLL_INTERVAL_S + 2.0
# In the order in which a processor of the class comes to them.
_REALTIME_STEPS: Final = (
    Step.BEFORE_COMMIT,
    Step.DURING_COMMIT,
    Step.AFTER_COMMIT,
    Step.BEFORE_HANDLER,
    Step.AFTER_HANDLER,
)
_DURABLE_STEPS: Final = (
    Step.BEFORE_HANDLER,
    Step.AFTER_HANDLER,
    Step.BEFORE_COMMIT,
    Step.DURING_COMMIT,
    Step.AFTER_COMMIT,
)


@asynccontextmanager
async def _ordered(cluster: Cluster, name: str, orders: Orders) -> AsyncIterator[None]:
    """Until the end of the block; nothing happens while the process does not run, and one that comes back has no orders."""
    try:
        cluster.order(name, orders)
        yield
    finally:
        cluster.order(name, Orders())


def blocked(cluster: Cluster, rng: Random) -> AbstractAsyncContextManager[None]:
    """The event loop of a gateway does nothing for 3 s, while its sockets stay open and its kernel buffers fill."""
    return _ordered(cluster, rng.choice(GATEWAYS), Orders(block_s=_BLOCK_S))


def slow_handler(cluster: Cluster, rng: Random) -> AbstractAsyncContextManager[None]:
    """Each call of a processor's handler takes longer than a member may go without polling."""
    return _ordered(cluster, rng.choice((*REALTIME, *DURABLE)), Orders(slow_s=_SLOW_S))


def clock_step(cluster: Cluster, rng: Random) -> AbstractAsyncContextManager[None]:
    """The wall clock of one process jumps by an hour, ahead or back as is drawn, and returns."""
    return _ordered(
        cluster, rng.choice((*GATEWAYS, *REALTIME, *DURABLE)), Orders(clock_s=rng.choice((-_HOUR_S, _HOUR_S)))
    )


@asynccontextmanager
async def realtime_dies(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """A realtime processor dies at each step of its commits, one after the other."""
    await _die(cluster, rng.choice(REALTIME), _REALTIME_STEPS)
    yield


@asynccontextmanager
async def durable_dies(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """A durable processor dies at each step of its commits, one after the other."""
    await _die(cluster, rng.choice(DURABLE), _DURABLE_STEPS)
    yield


async def _die(cluster: Cluster, name: str, steps: tuple[Step, ...]) -> None:
    for step in steps:
        # A step that it does not come to, because another fault keeps it from working, is passed over.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                await cluster.until_ready(name)
                await cluster.die(name, step)
    cluster.order(name, Orders())
