"""Redis for the tests of `gamebus.processors`."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from tests.redis_server import running_redis_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a server that nothing kills: GAMEBUS_TEST_REDIS, or one of this run's own."""
    url = os.environ.get("GAMEBUS_TEST_REDIS")
    if url is not None:
        yield url
    else:
        with running_redis_server() as server:
            yield server.url


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    """A connection with keys that no other test has."""
    connection = connect(RedisSettings(url=redis_url, key_prefix=f"test-{uuid.uuid4().hex[:8]}:"))
    yield connection
    await connection.close()
