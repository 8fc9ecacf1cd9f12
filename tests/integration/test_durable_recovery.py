"""The durable consumer through crashes of itself, of brokers and of Redis: every event has its effect once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gamebus.delivery.durable_consumer import SourcedRecord
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.errors import DeliveryError
from gamebus.localstack.stack import Stack
from tests.integration.children import running, said
from tests.integration.durable_kit import (
    WAIT_S,
    RedisEffects,
    applied,
    chat_topic,
    committed,
    consuming,
    created,
    eventually,
    kafka_of,
    publish_chat,
    publishing,
    redis,
    until,
    until_committed,
)
from tests.redis_server import running_redis_server

ROOMS = ("arena", "lobby", "tower")


async def _publish_until_acked(publisher: DurablePublisher, topic: str, ids: Sequence[str]) -> None:
    """What a publisher does in an outage: the same event under the same id, until it is acked."""
    async with asyncio.timeout(WAIT_S):
        for index, id_ in enumerate(ids):
            while True:
                try:
                    await publish_chat(publisher, topic, [id_], rooms=[ROOMS[index % len(ROOMS)]])
                except DeliveryError:
                    await asyncio.sleep(0.1)  # the back-off of a publisher
                else:
                    break


class TestCrash:
    async def test_killed_between_process_and_commit(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str
    ) -> None:
        """The records are delivered again to the next owner, and their effects are in Redis once."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        ids = ["1", "2", "3", "4", "5"]
        async with redis(redis_url, topic_prefix) as connection, publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ids)
            async with running(
                *("durable_process", "consume"), kafka=bootstrap_servers, redis=redis_url, topic_prefix=topic_prefix
            ) as process:
                await said(process, "applied", at_least=5)
                process.kill()
                await process.wait()
            assert await applied(connection, catalog, ["arena"]) == ids
            assert await committed(bootstrap_servers, topic_prefix, topic) == {}

            next_owner = RedisEffects(connection, catalog)
            async with consuming(
                *(bootstrap_servers, catalog, next_owner, publisher, next_owner.marks), group_id=topic_prefix
            ):
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 5})
            assert (next_owner.applied, next_owner.duplicates) == (0, 5)
            assert await applied(connection, catalog, ["arena"]) == ids


class TestBroker:
    async def test_killed_and_back(self, fault_stack: Stack, redis_url: str, topic_prefix: str) -> None:
        """Work that finishes while no broker answers is committed when one does; nothing is lost, nothing has two effects."""
        kafka, broker = kafka_of(fault_stack)
        catalog = await created(kafka, topic_prefix, partitions=2)
        topic = chat_topic(catalog)
        release = asyncio.Event()

        async def hold(_: str, __: Sequence[SourcedRecord]) -> None:
            await release.wait()

        before = [f"before-{index:02}" for index in range(30)]
        after = [f"after-{index:02}" for index in range(30)]
        async with redis(redis_url, topic_prefix) as connection, publishing(kafka, [topic]) as publisher:
            effects = RedisEffects(connection, catalog, after=hold)
            await _publish_until_acked(publisher, topic, before)
            async with consuming(
                *(kafka, catalog, effects, publisher, effects.marks), group_id=topic_prefix, session_timeout_ms=3_000
            ) as consumer:
                await until(lambda: effects.applied == 30)
                broker.kill()
                await asyncio.to_thread(broker.wait_stopped)
                release.set()
                await until(lambda: consumer.statistics().in_flight == 0)
                await asyncio.to_thread(broker.restart)
                await _publish_until_acked(publisher, topic, after)
                await until(lambda: effects.applied == 60)
            assert await applied(connection, catalog, ROOMS) == sorted(before + after)
            assert sum((await committed(kafka, topic_prefix, topic)).values()) >= 60


@pytest.mark.parametrize("copy", ["older", "empty"])
class TestRedisWentBack:
    """Redis comes back with an older copy of its data, or with none: committed offsets are ahead of the effects then."""

    async def test_while_the_consumer_runs(
        self, bootstrap_servers: str, topic_prefix: str, tmp_path: Path, copy: str
    ) -> None:
        """The consumer notices by the marks, reads again what was lost and rebuilds it; new events go on."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=2)
        topic = chat_topic(catalog)
        kept, lost, later = ([f"{word}-{index:02}" for index in range(30)] for word in ("kept", "lost", "later"))
        with running_redis_server() as server:
            server.copy_to(tmp_path / "empty")
            async with (
                redis(server.url, topic_prefix) as connection,
                publishing(bootstrap_servers, [topic]) as publisher,
            ):
                effects = RedisEffects(connection, catalog)
                async with consuming(
                    *(bootstrap_servers, catalog, effects, publisher, effects.marks), group_id=topic_prefix
                ) as consumer:
                    await publish_chat(publisher, topic, kept, rooms=ROOMS)
                    await _until_all_committed(bootstrap_servers, topic_prefix, topic, 30)
                    server.copy_to(tmp_path / "older")
                    await publish_chat(publisher, topic, lost, rooms=ROOMS)
                    await _until_all_committed(bootstrap_servers, topic_prefix, topic, 60)
                    server.kill()
                    server.restore_from(tmp_path / copy)
                    server.start()
                    # Before anybody has noticed: new events are applied on top of a hole.
                    await publish_chat(publisher, topic, later, rooms=ROOMS)
                    await until(lambda: consumer.statistics().rewinds > 0)
                    await _until_all_committed(bootstrap_servers, topic_prefix, topic, 90)
                assert await applied(connection, catalog, ROOMS) == sorted(kept + lost + later)

    async def test_while_no_consumer_runs(
        self, bootstrap_servers: str, topic_prefix: str, tmp_path: Path, copy: str
    ) -> None:
        """The next consumer begins at the lower one of mark and committed offset."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=2)
        topic = chat_topic(catalog)
        kept, lost = ([f"{word}-{index:02}" for index in range(30)] for word in ("kept", "lost"))
        with running_redis_server() as server:
            server.copy_to(tmp_path / "empty")
            async with (
                redis(server.url, topic_prefix) as connection,
                publishing(bootstrap_servers, [topic]) as publisher,
            ):
                effects = RedisEffects(connection, catalog)
                async with consuming(
                    *(bootstrap_servers, catalog, effects, publisher, effects.marks), group_id=topic_prefix
                ):
                    await publish_chat(publisher, topic, kept, rooms=ROOMS)
                    await _until_all_committed(bootstrap_servers, topic_prefix, topic, 30)
                    server.copy_to(tmp_path / "older")
                    await publish_chat(publisher, topic, lost, rooms=ROOMS)
                    await _until_all_committed(bootstrap_servers, topic_prefix, topic, 60)
            server.kill()
            server.restore_from(tmp_path / copy)
            server.start()
            async with (
                redis(server.url, topic_prefix) as connection,
                publishing(bootstrap_servers, [topic]) as publisher,
            ):
                rebuilder = RedisEffects(connection, catalog)
                async with consuming(
                    *(bootstrap_servers, catalog, rebuilder, publisher, rebuilder.marks), group_id=topic_prefix
                ):
                    expected = 60 if copy == "empty" else 30
                    await until(lambda: rebuilder.applied >= expected)
                assert await applied(connection, catalog, ROOMS) == sorted(kept + lost)
                assert rebuilder.applied == expected


async def _until_all_committed(bootstrap_servers: str, group_id: str, topic: str, count: int) -> None:
    async def all_are() -> bool:
        return sum((await committed(bootstrap_servers, group_id, topic)).values()) >= count

    await eventually(all_are)
