"""Redis for the tests of `gamebus.state`: a server of this run, keys of each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from tests.redis_server import RedisServer, running_redis_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a server that nothing kills: GAMEBUS_TEST_REDIS, or one of this run's own."""
    url = os.environ.get("GAMEBUS_TEST_REDIS")
    if url is not None:
        yield url
    else:
        with running_redis_server() as server:
            yield server.url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """URL of a cluster of one node: it refuses keys of two slots, and undeclared ones, as any cluster does."""
    with running_redis_server(cluster=True) as server:
        yield server.url


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that belongs to one test."""
    with running_redis_server() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test has."""
    return f"test-{uuid.uuid4().hex[:8]}:"


@pytest.fixture(params=["single", "cluster"])
async def connection(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Connection]:
    """A connection to a single server, and the same test again on a cluster."""
    cluster = request.param == "cluster"
    url = request.getfixturevalue("cluster_url" if cluster else "redis_url")
    connection = connect(RedisSettings(url=url, cluster=cluster, key_prefix=prefix))
    yield connection
    await connection.close()
