"""Every fault on a real cluster: it happens, it is healed, and the cluster serves again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from gamebus.errors import StateError
from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.verify.cluster import BROKERS, DURABLE, GATEWAYS, REALTIME, Cluster
from gamebus.verify.faults import FAULTS
from gamebus.verify.leadership import active_controller
from tests.integration.topics_kit import create_topic

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

TOPIC = "verify.probe"
PARTITIONS = 6
SHORT_S = 0.5
SEED = 7

# What is broken in the middle of each fault that leaves something broken: one of these.
BREAKS = {
    "broker_kill": BROKERS,
    "broker_stop_2s": BROKERS,
    "broker_stop_15s": BROKERS,
    "min_isr_lost": BROKERS,
    "partition_one_way": tuple(f"link {name}" for name in BROKERS),
    "partition_two_way": tuple(f"link {name}" for name in BROKERS),
    "latency": tuple(f"link {name}" for name in BROKERS),
    "bandwidth": tuple(f"link {name}" for name in BROKERS),
    "half_open": tuple(f"link {name}" for name in BROKERS),
    "gateway_stop": GATEWAYS,
    "realtime_stop": REALTIME,
    "durable_stop": DURABLE,
    "redis_kill": ("redis",),
    "redis_stop": ("redis",),
}

# Those of our own processes that die for good.
DEATHS = {"gateway_kill": 1, "realtime_kill": 1, "durable_kill": 1}

# These meet processors at work, of which there is none here: only a run of `gamebus verify` has them.
AT_WORK = {"realtime_dies", "durable_dies"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A whole cluster for this module, with a topic of its own."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        await cluster.start()
        await create_topic(cluster.bootstrap_servers, TOPIC, partitions=PARTITIONS, replicas=3)
        yield cluster
    finally:
        await cluster.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def redis(cluster: Cluster) -> AsyncIterator[Connection]:
    """The cluster's Redis."""
    assert cluster.servers is not None
    connection = connect(RedisSettings(url=cluster.servers.redis))
    yield connection
    await connection.close()


async def serves(cluster: Cluster) -> None:
    """Every partition takes a record on a majority, and every broker is reached through its proxy."""
    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, acks="all", request_timeout_ms=20_000)
    await producer.start()
    try:
        assert {broker.port for broker in producer.client.cluster.brokers()} == {
            proxy.port for proxy in cluster.proxies.values()
        }
        await asyncio.gather(*(producer.send_and_wait(TOPIC, b"x", partition=number) for number in range(PARTITIONS)))
    finally:
        await producer.stop()


async def described(cluster: Cluster) -> list[dict[str, Any]]:
    """The partitions of a topic, as the brokers see them."""
    assert cluster.servers is not None
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.servers.kafka)
    await admin.start()
    try:
        (topic,) = await admin.describe_topics(["gamebus.chat"])
    finally:
        await admin.close()
    partitions: list[dict[str, Any]] = topic["partitions"]
    return partitions


async def leaders(cluster: Cluster) -> dict[int, int]:
    return {partition["partition"]: partition["leader"] for partition in await described(cluster)}


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.05)


class TestFaults:
    @pytest.mark.parametrize("name", sorted(FAULTS.keys() - AT_WORK))
    async def test_heals(self, cluster: Cluster, name: str) -> None:
        """A fault breaks what it says, and leaves a cluster in which everything runs, passes and serves."""
        assert cluster.servers is not None
        kind, breaks = FAULTS[name], BREAKS.get(name, ())
        if name == "controller_kill":
            # Other brokers may die without an election.
            breaks = (f"kafka-{await active_controller(cluster.servers.kafka)}",)
        if name == "half_open":
            # Whom the fault before this one had cut off may not be back at every broker, and only what is connected can be forgotten.
            await until(lambda: _all_connected(cluster))
        deaths = len(cluster.deaths)

        async with kind.inject(cluster, Random(SEED)):
            if breaks:
                # A killed process is there for a moment longer.
                await until(lambda: _any_broken(cluster, breaks))
            await asyncio.sleep(min(kind.duration_s, SHORT_S))
        await cluster.whole()

        await serves(cluster)
        # Those that die for good are written down: what they had in flight is unknown.
        assert len(cluster.deaths) - deaths == DEATHS.get(name, 0)

    @pytest.mark.parametrize("name", ["partition_two_way", "gateway_stop", "redis_full"])
    async def test_heals_when_it_is_interrupted(self, cluster: Cluster, redis: Connection, name: str) -> None:
        """A run that is interrupted (Ctrl-C, a deadline) in the middle of a fault leaves nothing broken either."""

        async def play() -> None:
            async with FAULTS[name].inject(cluster, Random(SEED)):
                await asyncio.Event().wait()

        async def injected() -> bool:
            return not await _writes(redis) if name == "redis_full" else bool(cluster.broken())

        playing = asyncio.create_task(play())
        await until(injected)
        playing.cancel()
        await asyncio.wait([playing])

        assert playing.cancelled()
        await cluster.whole()
        assert await _writes(redis)
        await serves(cluster)

    async def test_a_restart_that_is_interrupted_is_completed(self, cluster: Cluster) -> None:
        """A server that was only being stopped is running when the interruption is through."""
        before = cluster.pid("redis")

        restarting = asyncio.create_task(cluster.restart_server("redis"))
        await until(lambda: _any_broken(cluster, ("redis",)))
        restarting.cancel()
        await asyncio.wait([restarting])

        assert restarting.cancelled()
        assert cluster.pid("redis") not in {None, before}
        await cluster.whole()

    async def test_connections_are_cut_while_they_carry(self, cluster: Cluster) -> None:
        """Whoever asks a broker again and again is cut off in the middle of a request or an answer before long."""

        def resets() -> int:
            return sum(proxy.statistics().resets for proxy in cluster.proxies.values())

        async def ask(port: int) -> None:
            # A broker that leads nothing is asked by nobody else.
            client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}")
            try:
                await client.bootstrap()
            except KafkaConnectionError:
                pass
            finally:
                await client.close()

        before = resets()
        async with FAULTS["reset_mid_batch"].inject(cluster, Random(SEED)), asyncio.timeout(60):
            while resets() == before:
                await asyncio.gather(*(ask(proxy.port) for proxy in cluster.proxies.values()))
        await cluster.whole()
        await serves(cluster)

    async def test_every_partition_gets_another_leader(self, cluster: Cluster) -> None:
        """Leadership moves while every broker lives."""
        # After a kill some broker may not be in sync yet, and could not lead.
        await until(lambda: _in_sync(cluster))
        before = await leaders(cluster)

        async with FAULTS["leader_move"].inject(cluster, Random(SEED)):

            async def moved() -> bool:
                after = await leaders(cluster)
                return all(after[number] != leader for number, leader in before.items())

            await until(moved)
        await serves(cluster)

    async def test_redis_forgets_what_came_after_the_copy(self, cluster: Cluster, redis: Connection) -> None:
        """The data are those of the beginning of the fault, whole."""
        await redis.execute("SET", "verify.old", "kept")
        # Redis writes its file before it answers, and forces it to disk once a second.
        async with FAULTS["redis_older_copy"].inject(cluster, Random(SEED)):
            await redis.execute("SET", "verify.new", "lost")
        await cluster.whole()

        assert await redis.execute("GET", "verify.old") == b"kept"
        assert await redis.execute("GET", "verify.new") is None

    async def test_a_full_redis_reads_and_does_not_write(self, cluster: Cluster, redis: Connection) -> None:
        """Out of memory is an answer, not an outage."""
        await redis.execute("SET", "verify.full", "there")
        async with FAULTS["redis_full"].inject(cluster, Random(SEED)):
            assert not await _writes(redis)
            assert await redis.execute("GET", "verify.full") == b"there"
        assert await _writes(redis)

    async def test_the_same_numbers_meet_the_same_broker(self, cluster: Cluster) -> None:
        """A seed repeats a run: what is met comes from the random numbers alone."""
        met = []
        for seed in (1, 1, *range(2, 20)):
            async with FAULTS["latency"].inject(cluster, Random(seed)):
                met.append(cluster.broken())

        assert met[0] == met[1]
        assert len({tuple(names) for names in met}) > 1


async def _any_broken(cluster: Cluster, names: tuple[str, ...]) -> bool:
    return not set(names).isdisjoint(cluster.broken())


async def _all_connected(cluster: Cluster) -> bool:
    return all(proxy.statistics().connections for proxy in cluster.proxies.values())


async def _writes(redis: Connection) -> bool:
    try:
        await redis.execute("SET", "verify.write", time.monotonic())
    except StateError:
        return False
    return True


async def _in_sync(cluster: Cluster) -> bool:
    return all(len(partition["isr"]) == len(BROKERS) for partition in await described(cluster))
