"""Faults of Redis: it crashes, comes back with older data, or takes no writes."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from gamebus.errors import StateError
from gamebus.settings import RedisSettings
from gamebus.state.connection import connect
from gamebus.verify.cluster import Cluster

_HEAL_TIMEOUT_S: Final = 60.0
_RETRY_S: Final = 0.2
# Below what Redis uses when it is empty.
_FULL_BYTES: Final = 1
_NO_LIMIT: Final = 0
_SOURCE: Final = "verify.loading.source"
_COSTLY: Final = "verify.loading"
_COSTLY_BYTES: Final = 8_000_000
_COSTLY_CALLS: Final = 2000
_COSTLY_BATCH: Final = 20


@asynccontextmanager
async def killed(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    """Redis crashes and comes back with its data."""
    try:
        cluster.signal("redis", signal.SIGKILL)
        yield
    finally:
        await cluster.mend()


@asynccontextmanager
async def older_copy(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    """Redis crashes at the end, and comes back with a copy of its data that was taken at the beginning: a restored backup, or a
    replica that lagged when it was promoted."""
    copy = cluster.folder / "redis-copy"
    await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
    # Append-only files: a copy of one that is being written is a state of some moments ago.
    await asyncio.to_thread(shutil.copytree, cluster.redis_data, copy)
    try:
        yield
    finally:
        await cluster.restore_redis(copy)


@asynccontextmanager
async def full(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    """Redis has no memory left: it answers reads, and refuses writes."""
    try:
        await _limit(cluster, _FULL_BYTES)
        yield
    finally:
        await _limit(cluster, _NO_LIMIT)


async def _limit(cluster: Cluster, maxmemory_bytes: int) -> None:
    """Set the limit. Another fault may keep Redis from answering for a while.

    Raises:
        TimeoutError: it kept Redis from answering for too long.
    """
    assert cluster.servers is not None, "the servers run"
    redis = connect(RedisSettings(url=cluster.servers.redis))
    try:
        async with asyncio.timeout(_HEAL_TIMEOUT_S):
            while True:
                try:
                    await redis.execute("CONFIG", "SET", "maxmemory", maxmemory_bytes)
                except StateError:
                    await asyncio.sleep(_RETRY_S)
                else:
                    return
    finally:
        await redis.close()


@asynccontextmanager
async def loading(cluster: Cluster, _rng: Random) -> AsyncIterator[None]:
    """Redis crashes, and takes some seconds to read its data when it comes back: it answers, but only that it is loading."""
    assert cluster.servers is not None, "the servers run"
    settings = RedisSettings(url=cluster.servers.redis)
    try:
        connection = connect(settings)
        try:
            # Cheap to write down and costly to do, again when it is read.
            await connection.execute("SETRANGE", _SOURCE, _COSTLY_BYTES, "x")
            for _ in range(_COSTLY_CALLS // _COSTLY_BATCH):
                await connection.pipeline([("BITOP", "NOT", _COSTLY, _SOURCE)] * _COSTLY_BATCH)
        except StateError:
            # Another fault has it.
            pass
        finally:
            await connection.close()
        cluster.signal("redis", signal.SIGKILL)
        yield
    finally:
        await cluster.mend()
        await _forget(settings)


async def _forget(settings: RedisSettings) -> None:
    connection = connect(settings)
    try:
        await connection.execute("UNLINK", _SOURCE, _COSTLY)
    except StateError:
        # Another fault has it; they harm nobody.
        pass
    finally:
        await connection.close()
