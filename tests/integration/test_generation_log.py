"""The log of generations on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.generation_log import Follow, GenerationFollower, append, current_catalog, read_log
from gamebus.delivery.topics import create_topics
from gamebus.errors import ConfigurationError, TopicError
from gamebus.generations import Generation, Log, Step
from gamebus.migration.plan import begin
from tests.integration.durable_kit import WAIT_S, publishing, until

FILE = '[types.step]\ndelivery = "at-most-once"\ntopic = "g.step"\nrationale = "the next one comes soon"\n'


async def logged(bootstrap_servers: str, topic_prefix: str, text: str = FILE) -> Catalog:
    """A catalog whose log exists."""
    catalog = parse_catalog(text, topic_prefix=topic_prefix)
    only_log = {catalog.log_topic: catalog.topics[catalog.log_topic]}
    await create_topics(bootstrap_servers, replace(catalog, topics=MappingProxyType(only_log)))
    return catalog


def prepare(catalog: Catalog, log: Log, *, now_ms: int = 1) -> Generation:
    return begin(catalog, log, "step", DeliveryClass.AT_LEAST_ONCE, rationale=None, now_ms=now_ms)


async def take(bootstrap_servers: str, catalog: Catalog, log: Log, step: Step) -> Log:
    generation = log.next(log.migrations["step"], step, now_ms=2)
    return await append(bootstrap_servers, catalog.log_topic, generation)


@asynccontextmanager
async def following(bootstrap_servers: str, base: Catalog, follow: Follow) -> AsyncIterator[GenerationFollower]:
    follower = GenerationFollower(bootstrap_servers=bootstrap_servers, base=base, generation=0, follow=follow)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follower.run())
        async with asyncio.timeout(WAIT_S):
            await follower.current.wait()
        yield follower
        running.cancel()


class TestLog:
    async def test_reads_what_was_appended(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Step after step, by any process."""
        catalog = await logged(bootstrap_servers, topic_prefix)
        assert await current_catalog(bootstrap_servers, catalog) == catalog
        log = await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log()))
        log = await take(bootstrap_servers, catalog, log, Step.SWITCH)

        assert await read_log(bootstrap_servers, catalog.log_topic) == log
        assert (await current_catalog(bootstrap_servers, catalog)).types["step"].topic == "g.step.at-least-once"

    async def test_of_two_writers_one_is_told(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The log is as the first one wrote it."""
        catalog = await logged(bootstrap_servers, topic_prefix)
        log = await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log(), now_ms=1))

        with pytest.raises(ConfigurationError, match="somebody else migrates"):
            await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log(), now_ms=2))
        assert await read_log(bootstrap_servers, catalog.log_topic) == log

    async def test_a_log_that_is_missing(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A process does not begin without one; to a command it is empty."""
        catalog = parse_catalog(FILE, topic_prefix=topic_prefix)

        with pytest.raises(TopicError, match="gamebus topics create"):
            await current_catalog(bootstrap_servers, catalog)
        assert await current_catalog(bootstrap_servers, catalog, command=True) == catalog

    async def test_a_log_that_cannot_be_read(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A process that does not know where events go does not begin; one that runs goes on as it is."""
        catalog = await logged(bootstrap_servers, topic_prefix)
        followed: list[int] = []

        async def follow(current: Catalog) -> None:
            followed.append(current.generation)

        log = await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log()))
        async with (
            publishing(bootstrap_servers, [catalog.log_topic]) as publisher,
            following(bootstrap_servers, catalog, follow) as follower,
        ):
            await publisher.publish(catalog.log_topic, b"catalog", b'{"version": 2}')
            with pytest.raises(ConfigurationError, match=r"offset 1: a generation of version 2"):
                await take(bootstrap_servers, catalog, log, Step.SWITCH)
            with pytest.raises(ConfigurationError, match="where events go cannot be known"):
                await current_catalog(bootstrap_servers, catalog)

        assert (followed, follower.generation) == ([1], 1)


class TestFollower:
    async def test_brings_the_process_to_every_generation(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Those that stood in the log before it is current; half-way it is tried again."""
        catalog = await logged(bootstrap_servers, topic_prefix)
        log = await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log()))
        followed: list[tuple[int, str]] = []
        refusals = [ConfigurationError("Kafka is away")]

        async def follow(current: Catalog) -> None:
            if current.generation == 2 and refusals:
                raise refusals.pop()
            followed.append((current.generation, current.types["step"].topic))

        async with following(bootstrap_servers, catalog, follow) as follower:
            assert followed == [(1, "g.step")]
            await take(bootstrap_servers, catalog, log, Step.SWITCH)
            await until(lambda: follower.generation == 2)

        assert followed == [(1, "g.step"), (2, "g.step.at-least-once")]

    async def test_does_not_follow_what_its_file_contradicts(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """It goes on as it is, unheard as a follower, until the log and the file agree again."""
        catalog = await logged(bootstrap_servers, topic_prefix)
        other = parse_catalog(topic_prefix=topic_prefix)
        log = await append(bootstrap_servers, catalog.log_topic, prepare(catalog, Log()))
        followed: list[int] = []

        async def follow(current: Catalog) -> None:
            followed.append(current.generation)

        async with following(bootstrap_servers, other, follow) as follower:
            assert (followed, follower.generation) == ([], 0)
            await take(bootstrap_servers, catalog, log, Step.ROLL_BACK)
            await until(lambda: follower.generation == 2)

        assert followed == [2]
