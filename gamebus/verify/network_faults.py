"""Faults of the network between our processes and one broker, made by the proxy in front of it.

Each heals by restoring the link, which also ends what another network fault does to the same link at that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Final

from gamebus.verify.cluster import BROKERS, Cluster
from gamebus.verify.link import Way
from gamebus.verify.proxy import Proxy

_LATENCY_MS: Final = (100.0, 400.0)
_BANDWIDTH_BYTES_PER_S: Final = (10_000.0, 50_000.0)
_CUTS: Final = (0.1, 0.5)


@asynccontextmanager
async def _link(cluster: Cluster, rng: Random) -> AsyncIterator[Proxy]:
    """The link to a broker that is drawn; restored at the end."""
    proxy = cluster.proxies[rng.choice(BROKERS)]
    try:
        yield proxy
    finally:
        await proxy.restore()


@asynccontextmanager
async def partition_one_way(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """One direction carries nothing: what is sent is taken and never arrives, or it waits and arrives late, as is drawn."""
    async with _link(cluster, rng) as proxy:
        proxy.partition(rng.choice(list(Way)), lose=rng.random() < 0.5)
        yield


@asynccontextmanager
async def partition_two_way(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """Nothing arrives on either side, and connections stay open; new ones are refused or get no answer, as is drawn."""
    async with _link(cluster, rng) as proxy:
        proxy.partition(lose=rng.random() < 0.5, refuse=rng.random() < 0.5)
        yield


@asynccontextmanager
async def latency(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """A broker is far away all at once: 0.1 to 0.4 s one way."""
    async with _link(cluster, rng) as proxy:
        proxy.slow(latency_ms=rng.uniform(*_LATENCY_MS))
        yield


@asynccontextmanager
async def bandwidth(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """A broker's link is congested: 10 to 50 KB/s for all processes together."""
    async with _link(cluster, rng) as proxy:
        proxy.slow(bandwidth_bytes_per_s=rng.uniform(*_BANDWIDTH_BYTES_PER_S))
        yield


@asynccontextmanager
async def reset_mid_batch(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """Every few tenths of a second connections are cut while a request (or an answer, as is drawn) is half through."""
    async with _link(cluster, rng) as proxy:
        with _again_and_again(proxy, rng):
            yield


@contextmanager
def _again_and_again(proxy: Proxy, rng: Random) -> Iterator[None]:
    async def cut() -> None:
        while True:
            proxy.reset_mid_chunk(rng.choice(list(Way)))
            await asyncio.sleep(rng.uniform(*_CUTS))

    # Drawn from numbers of its own: how often it comes to draw depends on the machine, and nothing else shall.
    rng = Random(rng.random())  # noqa: S311 - a schedule, no secret
    cutting = asyncio.create_task(cut(), name="reset-mid-batch")
    try:
        yield
    finally:
        cutting.cancel()


@asynccontextmanager
async def half_open(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """One side of each connection, as is drawn, forgets it and the other one is told nothing: a NAT or a host that restarted."""
    async with _link(cluster, rng) as proxy:
        await proxy.half_open(rng.choice(list(Way)))
        yield
