"""Faults: what happens to a cluster while people play on it.

Each one is injected, lasts a while, and is healed, also when the run is interrupted in the middle: what it broke passes or runs again.
What dies by itself comes back in its own time; :meth:`Cluster.whole` waits for all of it. Which broker or process a fault meets is drawn
from the run's random numbers, so that a run can be repeated.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from gamebus.verify import client_faults, migration_fault, network_faults, process_faults, redis_faults
from gamebus.verify.cluster import BROKERS, DURABLE, GATEWAYS, REALTIME, Cluster
from gamebus.verify.leadership import active_controller, move_leaders

_COME_AND_GO_S: Final = 2.0

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
        try:
            for name in rng.sample(BROKERS, count):
                cluster.signal(name, signal.SIGKILL)
            yield
        finally:
            await cluster.mend()

    return inject


def _stopped(*names: str) -> Injection:
    """A process that stands still and knows nothing of it: a long pause of its machine."""

    @asynccontextmanager
    async def inject(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
        name = rng.choice(names)
        try:
            cluster.signal(name, signal.SIGSTOP)
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
async def _controller_kill(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    assert cluster.servers is not None, "the servers run"
    controller = await active_controller(cluster.servers.kafka)
    try:
        cluster.signal(f"kafka-{controller}", signal.SIGKILL)
        yield
    finally:
        await cluster.mend()


@asynccontextmanager
async def _leader_move(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """Nothing to heal: the cluster is as whole with its new leaders as with the old ones."""
    assert cluster.servers is not None, "the servers run"
    await move_leaders(cluster.servers.kafka, cluster.topics, rng)
    yield


@asynccontextmanager
async def _rebalance_storm(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    enough = asyncio.Event()

    async def come_and_go(name: str) -> None:
        while not enough.is_set():
            try:
                await cluster.add(name)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_COME_AND_GO_S):
                        await enough.wait()
            finally:
                await cluster.remove(name)

    storm = [asyncio.create_task(come_and_go(name), name=f"storm-{name}") for name in ("realtime-3", "durable-3")]
    try:
        yield
    finally:
        # Not cancelled: a member that has come leaves in order.
        enough.set()
        await asyncio.gather(*storm)


_ALL: Final = (
    FaultKind("broker_kill", 5.0, "one broker crashes", _killed_servers(1)),
    FaultKind("broker_stop_2s", 2.0, "one broker stands still for a moment", _stopped(*BROKERS)),
    FaultKind("broker_stop_15s", 15.0, "one broker stands still, longer than sessions last", _stopped(*BROKERS)),
    FaultKind("rolling_restart", 0.0, "an upgrade: each broker in turn", _rolling_restart),
    FaultKind("controller_kill", 5.0, "the active controller crashes", _controller_kill),
    FaultKind("leader_move", 2.0, "every partition gets another leader", _leader_move),
    FaultKind("min_isr_lost", 5.0, "two brokers crash: no topic takes durable writes", _killed_servers(2)),
    FaultKind("partition_one_way", 8.0, "one direction to a broker is cut", network_faults.partition_one_way),
    FaultKind("partition_two_way", 8.0, "a broker is cut off", network_faults.partition_two_way),
    FaultKind("latency", 8.0, "a broker is far away", network_faults.latency),
    FaultKind("bandwidth", 8.0, "the link to a broker is congested", network_faults.bandwidth),
    FaultKind("reset_mid_batch", 3.0, "connections are cut in the middle of a request", network_faults.reset_mid_batch),
    FaultKind("half_open", 8.0, "one side of a connection forgets it", network_faults.half_open),
    FaultKind("gateway_kill", 3.0, "a gateway crashes", _killed(*GATEWAYS)),
    FaultKind("gateway_stop", 3.0, "a gateway stands still", _stopped(*GATEWAYS)),
    FaultKind("gateway_block", 4.0, "the event loop of a gateway is blocked", process_faults.blocked),
    FaultKind("realtime_kill", 3.0, "a realtime processor crashes", _killed(*REALTIME)),
    FaultKind("durable_kill", 3.0, "a durable processor crashes", _killed(*DURABLE)),
    FaultKind("realtime_stop", 15.0, "a realtime processor stands still past its session", _stopped(*REALTIME)),
    FaultKind("durable_stop", 15.0, "a durable processor stands still past its session", _stopped(*DURABLE)),
    FaultKind("realtime_dies", 0.0, "a realtime processor dies at each step", process_faults.realtime_dies),
    FaultKind("durable_dies", 0.0, "a durable processor dies at each step", process_faults.durable_dies),
    FaultKind("slow_handler", 25.0, "handlers take longer than the poll interval", process_faults.slow_handler),
    FaultKind("clock_step", 6.0, "a process's wall clock jumps by an hour", process_faults.clock_step),
    FaultKind("rebalance_storm", 12.0, "members of both groups come and go every 2 s", _rebalance_storm),
    FaultKind("redis_kill", 2.0, "Redis crashes and comes back with its data", redis_faults.killed),
    FaultKind("redis_stop", 5.0, "Redis stands still", _stopped("redis")),
    FaultKind("redis_older_copy", 3.0, "Redis comes back with an older copy of its data", redis_faults.older_copy),
    FaultKind("redis_full", 5.0, "Redis has no memory left for writes", redis_faults.full),
    FaultKind("redis_loading", 0.0, "Redis crashes and reads its data for seconds", redis_faults.loading),
    FaultKind("client_vanish", 8.0, "clients are gone without a close, and back", client_faults.vanish),
    FaultKind("client_roam", 5.0, "clients come back on another gateway", client_faults.roam),
    FaultKind("migration", 0.0, "a type of events changes its class", migration_fault.migrate),
    FaultKind("poison", 1.0, "records that are no events", client_faults.poison),
)

FAULTS: Final = {fault.name: fault for fault in _ALL}
"""All faults by name."""
