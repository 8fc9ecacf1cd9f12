"""Faults: what happens to a cluster while people play on it.

Each one is injected, lasts a while, and is healed: afterwards everything runs again. Which broker or process it meets is drawn from
the run's random numbers, so that a run can be repeated.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from gamebus.verify.cluster import BROKERS, DURABLE, GATEWAYS, REALTIME, Cluster

Injection = Callable[[Cluster, Random], AbstractAsyncContextManager[None]]
"""Injects at the beginning of the block, heals at its end."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault by name.

    Attributes:
        duration_s: between injection and healing.
        imitates: what it stands for, for a person.
    """

    name: str
    duration_s: float
    imitates: str
    inject: Injection


def _killed_servers(count: int) -> Injection:
    @asynccontextmanager
    async def inject(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
        for name in rng.sample(BROKERS, count):
            cluster.signal(name, signal.SIGKILL)
        try:
            yield
        finally:
            await cluster.mend()

    return inject


def _stopped(*names: str) -> Injection:
    """A process that stands still and knows nothing of it: a long pause of its machine."""

    @asynccontextmanager
    async def inject(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
        name = rng.choice(names)
        cluster.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            cluster.signal(name, signal.SIGCONT)

    return inject


def _killed(*names: str) -> Injection:
    """A process that is gone at once; it is started again at once."""

    @asynccontextmanager
    async def inject(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
        cluster.signal(rng.choice(names), signal.SIGKILL)
        yield

    return inject


@asynccontextmanager
async def _rolling_restart(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    for name in rng.sample(BROKERS, len(BROKERS)):
        await cluster.restart_server(name)
    yield


@asynccontextmanager
async def _rebalance_storm(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    async def come_and_go(name: str) -> None:
        for _ in range(3):
            await cluster.add(name)
            await asyncio.sleep(2.0)
            await cluster.remove(name)

    await asyncio.gather(come_and_go("realtime-3"), come_and_go("durable-3"))
    yield


@asynccontextmanager
async def _redis_killed(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    cluster.signal("redis", signal.SIGKILL)
    try:
        yield
    finally:
        await cluster.mend()


_ALL: Final = (
    FaultKind("broker_kill", 5.0, "one broker crashes", _killed_servers(1)),
    FaultKind("broker_stop_2s", 2.0, "one broker stands still for a moment", _stopped(*BROKERS)),
    FaultKind("broker_stop_15s", 15.0, "one broker stands still, longer than sessions last", _stopped(*BROKERS)),
    FaultKind("rolling_restart", 0.0, "an upgrade: each broker in turn", _rolling_restart),
    FaultKind("min_isr_lost", 5.0, "two brokers crash: no topic takes durable writes", _killed_servers(2)),
    FaultKind("gateway_kill", 3.0, "a gateway crashes", _killed(*GATEWAYS)),
    FaultKind("gateway_stop", 3.0, "the event loop of a gateway is blocked", _stopped(*GATEWAYS)),
    FaultKind("realtime_kill", 3.0, "a realtime processor crashes, at any step of its commits", _killed(*REALTIME)),
    FaultKind("durable_kill", 3.0, "a durable processor crashes, at any step of its commits", _killed(*DURABLE)),
    FaultKind("realtime_stop", 15.0, "a realtime processor stands still past its session", _stopped(*REALTIME)),
    FaultKind("durable_stop", 15.0, "a durable processor stands still past its session", _stopped(*DURABLE)),
    FaultKind("rebalance_storm", 0.0, "members of both groups come and go every 2 s", _rebalance_storm),
    FaultKind("redis_kill", 2.0, "Redis crashes and comes back with its data", _redis_killed),
    FaultKind("redis_stop", 5.0, "Redis stands still", _stopped("redis")),
)

FAULTS: Final = {fault.name: fault for fault in _ALL}
"""All faults by name."""
