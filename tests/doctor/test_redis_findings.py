"""What the doctor says of a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gamebus.doctor.finding import Grade
from gamebus.doctor.redis import examine_redis
from gamebus.settings import RedisSettings
from gamebus.state.connection import connect
from tests.redis_server import RedisServer, running_redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


async def grades(server: RedisServer) -> dict[str, Grade]:
    findings = await examine_redis(RedisSettings(url=server.url, timeout_s=1))
    assert all(bool(finding.fix) == (finding.grade is not Grade.OK) for finding in findings)
    return {finding.name: finding.grade for finding in findings}


class TestExamineRedis:
    async def test_a_good_one_is_ok(self, server: RedisServer) -> None:
        """Version, memory, persistence and clock, a line each."""
        found = await grades(server)
        assert found == dict.fromkeys(("redis", "redis memory", "redis persistence", "clock"), Grade.OK)

    async def test_eviction_is_a_failure(self, server: RedisServer) -> None:
        """A key that is evicted may be the check that keeps an effect single."""
        connection = connect(RedisSettings(url=server.url))
        await connection.execute("CONFIG", "SET", "maxmemory", "1gb")
        await connection.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await connection.close()
        assert (await grades(server))["redis eviction"] is Grade.FAIL

    async def test_what_will_fail_soon_is_a_warning(self, server: RedisServer) -> None:
        """Nearly full, and not written to disk."""
        connection = connect(RedisSettings(url=server.url))
        used = int((await connection.execute("INFO", "memory"))["used_memory"])
        await connection.execute("CONFIG", "SET", "maxmemory", int(used * 1.1))
        await connection.execute("CONFIG", "SET", "appendonly", "no")
        await connection.close()
        found = await grades(server)
        assert found["redis memory"] is Grade.WARN
        assert found["redis persistence"] is Grade.WARN

    async def test_none_is_a_failure(self, server: RedisServer) -> None:
        """With what to do, within the time that one command may take."""
        server.kill()
        assert await grades(server) == {"redis": Grade.FAIL}
        server.start()
