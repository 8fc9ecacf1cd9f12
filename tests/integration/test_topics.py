"""Topics on real brokers."""

from __future__ import annotations

import time
from dataclasses import replace
from types import MappingProxyType

import pytest
from aiokafka import AIOKafkaProducer

from gamebus.catalog import DeliveryClass, with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import Difference, check_topics, create_topics, list_topics, partition_counts
from gamebus.errors import ConfigurationError, TopicError
from tests.integration.durable_kit import chat_catalog, chat_topic
from tests.integration.topics_kit import create_topic


class TestCreate:
    async def test_is_idempotent_and_keeps_the_contract(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The first call creates, the second changes nothing, and the check then finds no difference."""
        catalog = chat_catalog(topic_prefix)

        first = await create_topics(bootstrap_servers, catalog)
        second = await create_topics(bootstrap_servers, catalog)

        assert [state.created for state in first] == [True, True]
        assert second == [replace(state, created=False) for state in first]
        assert await check_topics(bootstrap_servers, catalog) == []

    async def test_at_most_once_records_carry_the_time_of_the_broker(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """A gateway that begins to read a partition asks the log where the last second began: a record of a publisher whose clock is
        an hour ahead must not answer for all that stand behind it."""
        catalog = parse_catalog(topic_prefix=topic_prefix)
        await create_topics(bootstrap_servers, catalog)
        ahead_ms = time.time_ns() // 1_000_000 + 3_600_000
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
        async with producer:
            for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE):
                written = await producer.send_and_wait(topic.name, b"x", partition=0, timestamp_ms=ahead_ms)
                assert (written.timestamp_type, written.timestamp < ahead_ms) == (1, True)
            for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE):
                written = await producer.send_and_wait(topic.name, b"x", partition=0, timestamp_ms=ahead_ms)
                assert (written.timestamp_type, written.timestamp) == (0, ahead_ms)

    async def test_keeps_as_many_replicas_as_there_are_brokers(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The catalog speaks of three brokers; one broker keeps one replica, and says so."""
        catalog = chat_catalog(topic_prefix)

        states = await create_topics(bootstrap_servers, catalog)

        assert {catalog.topics[state.name].replicas for state in states} == {3}
        assert {state.replicas for state in states} == {1}

    async def test_refuses_another_number_of_partitions(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """More partitions would move rooms away from their undrained records; nothing is created either."""
        catalog = chat_catalog(topic_prefix, partitions=3)
        await create_topics(bootstrap_servers, catalog)

        with pytest.raises(TopicError, match=r"has 3 partitions, the catalog says 5.*moves rooms.*partitions = 3"):
            await create_topics(bootstrap_servers, with_partitions(catalog, 5))

    async def test_says_which_brokers_do_not_answer(self, topic_prefix: str) -> None:
        """A wrong address is the user's to mend: the message names it and the setting."""
        with pytest.raises(
            ConfigurationError, match=r"127\.0\.0\.1:1 does not answer.*GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"
        ):
            await create_topics("127.0.0.1:1", chat_catalog(topic_prefix))


class TestCheck:
    async def test_names_a_missing_topic_and_the_command(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Nothing there yet: every topic is a difference that `gamebus topics create` mends."""
        catalog = chat_catalog(topic_prefix)

        assert await check_topics(bootstrap_servers, catalog) == [
            Difference(name, "topic", "exists", "missing", "gamebus topics create") for name in sorted(catalog.topics)
        ]

    async def test_names_each_setting_that_breaks_the_contract(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A topic that somebody made by hand: what is wrong, what it must be, and the command for each."""
        catalog = chat_catalog(topic_prefix)
        topic = catalog.topics[chat_topic(catalog)]
        wrong = {
            "cleanup.policy": "compact",
            "retention.ms": "1000",
            "unclean.leader.election.enable": "true",
            "max.message.bytes": "1000",
        }
        await create_topic(bootstrap_servers, topic.name, partitions=2, config=wrong)
        only_chat = replace(catalog, topics=MappingProxyType({topic.name: topic}))

        differences = await check_topics(bootstrap_servers, only_chat)

        assert {(found.setting, found.actual, found.expected) for found in differences} == {
            ("partitions", "2", "3"),
            ("cleanup.policy", "compact", "delete"),
            ("retention.ms", "1000", str(topic.retention_ms)),
            ("unclean.leader.election.enable", "true", "false"),
            ("max.message.bytes", "1000", "1048588"),
        }
        remedies = {found.setting: found.remedy for found in differences}
        assert f"--entity-name {topic.name} --add-config cleanup.policy=delete" in remedies["cleanup.policy"]
        assert "partitions = 2" in remedies["partitions"]

    async def test_larger_messages_are_no_difference(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A topic may take more than gamebus needs."""
        catalog = chat_catalog(topic_prefix)
        topic = catalog.topics[chat_topic(catalog)]
        config = {
            "retention.ms": str(topic.retention_ms),
            "max.message.bytes": "2000000",
            "unclean.leader.election.enable": "false",
        }
        await create_topic(bootstrap_servers, topic.name, partitions=3, config=config)

        only_chat = replace(catalog, topics=MappingProxyType({topic.name: topic}))
        assert await check_topics(bootstrap_servers, only_chat) == []


class TestPartitionCounts:
    async def test_are_the_brokers(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Partitioners and tails are built with what exists."""
        catalog = chat_catalog(topic_prefix, partitions=3)
        await create_topics(bootstrap_servers, catalog)

        assert await partition_counts(bootstrap_servers, [chat_topic(catalog)]) == {chat_topic(catalog): 3}
        assert set(await list_topics(bootstrap_servers, catalog)) == set(catalog.topics)

    async def test_missing_topics_stop_a_start(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The message names every missing topic and the command that creates them."""
        catalog = chat_catalog(topic_prefix)

        with pytest.raises(TopicError, match=rf"{chat_topic(catalog)} do not exist.*gamebus topics create"):
            await partition_counts(bootstrap_servers, [chat_topic(catalog)])
