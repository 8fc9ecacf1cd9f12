"""Topics on the brokers: create them, list them, compare them with the catalog.

The catalog says what a topic must be on a cluster of three brokers; a smaller cluster keeps as many replicas as it has
brokers. Creating is idempotent and never changes a topic that exists: a difference is named together with the command that
mends it, because each of them moves data or shortens its life, which is a person's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from gamebus.catalog import Catalog, DeliveryClass, Topic
from gamebus.errors import ConfigurationError, TopicError

MAX_MESSAGE_BYTES: Final = 1_048_588
"""Largest batch that a topic of gamebus takes: Kafka's own default, stated so that a broker's default cannot shrink it."""

_REQUEST_TIMEOUT_MS: Final = 10_000
_VISIBLE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the brokers have it.

    Attributes:
        replicas: of the partition with the fewest.
        created: whether the call that returned this made the topic.
        in_sync: replicas that are in sync, of the partition with the fewest.
        leaderless: partitions that no broker leads.
    """

    name: str
    partitions: int
    replicas: int
    created: bool = False
    in_sync: int = field(default=0, compare=False)
    leaderless: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of a topic that is not what its delivery class needs."""

    topic: str
    setting: str
    expected: str
    actual: str
    remedy: str
    """The command, or the change, that mends it."""


async def create_topics(bootstrap_servers: str, catalog: Catalog) -> list[TopicState]:
    """Create the topics of the catalog that are missing, and wait until every partition has a leader.

    Returns:
        All topics of the catalog, sorted by name.
    Raises:
        TopicError: a topic exists with another number of partitions, or the brokers refuse to create one.
        ConfigurationError: no broker answers.
    """
    async with _admin(bootstrap_servers) as admin:
        brokers = await _brokers(admin)
        existing = await _describe(admin, catalog.topics)
        for name, state in existing.items():
            _refuse_partition_change(catalog.topics[name], state)
        missing = [topic for name, topic in catalog.topics.items() if name not in existing]
        if missing:
            _raise_refused(await admin.create_topics([_new_topic(topic, brokers) for topic in missing]))
        states = await _wait_for_leaders(admin, catalog.topics)
        return [
            TopicState(name, state.partitions, state.replicas, created=name not in existing)
            for name, state in sorted(states.items())
        ]


async def create_topic(bootstrap_servers: str, topic: Topic) -> bool:
    """Create one topic, and wait until every partition has a leader; false where it was there already.

    Raises:
        TopicError, ConfigurationError: as :func:`create_topics`.
    """
    async with _admin(bootstrap_servers) as admin:
        existing = await _describe(admin, [topic.name])
        if existing:
            _refuse_partition_change(topic, existing[topic.name])
            return False
        _raise_refused(await admin.create_topics([_new_topic(topic, await _brokers(admin))]))
        await _wait_for_leaders(admin, {topic.name: topic})
        return True


async def topic_exists(bootstrap_servers: str, name: str) -> bool:
    """Whether the brokers have a topic.

    Raises:
        ConfigurationError: no broker answers.
    """
    async with _admin(bootstrap_servers) as admin:
        return bool(await _describe(admin, [name]))


async def delete_topic(bootstrap_servers: str, name: str) -> None:
    """Delete a topic with everything in it; returns when no broker lists it. Nothing where it does not exist.

    Raises:
        TopicError: the brokers refuse.
        ConfigurationError: no broker answers.
    """
    async with _admin(bootstrap_servers) as admin:
        answer: Any = await admin.delete_topics([name])
        for _, code in answer.topic_error_codes:
            error = for_code(code)
            if error not in (NoError, UnknownTopicOrPartitionError):
                raise TopicError(f"topic {name} cannot be deleted: {error.description}")
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            while await _describe(admin, [name]):  # noqa: ASYNC110 - Kafka has no event for it
                await asyncio.sleep(0.05)


async def list_topics(bootstrap_servers: str, catalog: Catalog) -> dict[str, TopicState]:
    """Those topics of the catalog that the brokers have."""
    async with _admin(bootstrap_servers) as admin:
        return await _describe(admin, catalog.topics)


async def describe_topics(bootstrap_servers: str, names: Iterable[str]) -> tuple[int, dict[str, TopicState]]:
    """How many brokers there are, and those of the topics that they have.

    Raises:
        ConfigurationError: no broker answers.
    """
    async with _admin(bootstrap_servers) as admin:
        return await _brokers(admin), await _describe(admin, names)


async def check_topics(bootstrap_servers: str, catalog: Catalog) -> list[Difference]:
    """Compare the brokers' topics with the contract of the delivery classes; empty when they agree."""
    async with _admin(bootstrap_servers) as admin:
        brokers = await _brokers(admin)
        existing = await _describe(admin, catalog.topics)
        configs = await _configs(admin, existing)
    differences: list[Difference] = []
    for name, topic in sorted(catalog.topics.items()):
        if name in existing:
            differences += _differences(topic, existing[name], configs[name], brokers, bootstrap_servers)
        else:
            differences.append(Difference(name, "topic", "exists", "missing", "gamebus topics create"))
    return differences


async def partition_counts(bootstrap_servers: str, topics: Iterable[str]) -> dict[str, int]:
    """Partitions of each topic as the brokers have them: what a partitioner and a tail must be built with.

    Raises:
        TopicError: a topic does not exist.
        ConfigurationError: no broker answers.
    """
    wanted = set(topics)
    async with _admin(bootstrap_servers) as admin:
        states = await _describe(admin, wanted)
    require_topics(wanted, states)
    return {name: state.partitions for name, state in sorted(states.items())}


async def require_readable(bootstrap_servers: str, topics: Iterable[str]) -> None:
    """Refuse to consume topics that do not exist: aiokafka would wait for them, and make a broker that may create topics do so.

    Raises:
        TopicError: a topic does not exist.
        KafkaConnectionError: no broker answers.
    """
    try:
        await partition_counts(bootstrap_servers, topics)
    except TopicError:
        raise
    except ConfigurationError as error:
        raise KafkaConnectionError(str(error)) from error


def require_topics(wanted: Iterable[str], existing: Iterable[str]) -> None:
    """Refuse to go on without a topic.

    Raises:
        TopicError: names the missing topics and the command that creates them.
    """
    missing = sorted(set(wanted) - set(existing))
    if missing:
        raise TopicError(f"topics {', '.join(missing)} do not exist: create them with `gamebus topics create`")


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, client_id="gamebus-admin", request_timeout_ms=_REQUEST_TIMEOUT_MS
    )
    try:
        await admin.start()
        yield admin
    except (KafkaError, TimeoutError) as error:
        raise ConfigurationError(
            f"Kafka at {bootstrap_servers} does not answer ({error}): start it, or set GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"
        ) from error
    finally:
        await admin.close()


async def _brokers(admin: AIOKafkaAdminClient) -> int:
    return len((await admin.describe_cluster())["brokers"])


async def _describe(admin: AIOKafkaAdminClient, wanted: Iterable[str]) -> dict[str, TopicState]:
    # All topics, filtered here: asking for a topic by name makes a broker with auto.create.topics.enable create it.
    names = set(wanted)
    return {
        topic["topic"]: TopicState(
            name=topic["topic"],
            partitions=len(topic["partitions"]),
            replicas=min((len(partition["replicas"]) for partition in topic["partitions"]), default=0),
            in_sync=min((len(partition["isr"]) for partition in topic["partitions"]), default=0),
            leaderless=sum(partition["leader"] < 0 for partition in topic["partitions"]),
        )
        for topic in await admin.describe_topics()
        if topic["topic"] in names and topic["error_code"] == NoError.errno
    }


async def _wait_for_leaders(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic]) -> dict[str, TopicState]:
    try:
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            while True:
                led = {
                    topic["topic"]
                    for topic in await admin.describe_topics()
                    if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
                }
                if led.issuperset(topics):
                    return await _describe(admin, topics)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TopicError(
            f"topics {', '.join(sorted(topics.keys() - led))} have no leader {_VISIBLE_TIMEOUT_S:.0f} s after their "
            "creation: see the brokers' logs"
        ) from None


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
        }
        for response in await admin.describe_configs(resources)
        for resource in response.to_object()["resources"]
    }


def _new_topic(topic: Topic, brokers: int) -> NewTopic:
    replicas = min(topic.replicas, brokers)
    return NewTopic(topic.name, topic.partitions, replicas, topic_configs=_wanted_configs(topic, replicas))


def _wanted_configs(topic: Topic, replicas: int) -> dict[str, str]:
    return {
        "min.insync.replicas": str(min(topic.min_insync_replicas, replicas)),
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": "delete",
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        # A gateway begins to read where the last second began, by the time in the log: one record from a clock that is ahead would
        # stand for everything behind it. Durable records keep the time that their publisher was told.
        "message.timestamp.type": "LogAppendTime" if topic.delivery is DeliveryClass.AT_MOST_ONCE else "CreateTime",
    }


def _raise_refused(response: Any) -> None:
    for refused in response.to_object()["topic_errors"]:
        error = for_code(refused["error_code"])
        # Another process may have created it since we looked.
        if error not in (NoError, TopicAlreadyExistsError):
            raise TopicError(
                f"topic {refused['topic']} cannot be created: {refused['error_message'] or error.description}"
            )


def _refuse_partition_change(topic: Topic, state: TopicState) -> None:
    if state.partitions != topic.partitions:
        raise TopicError(
            f"topic {topic.name} has {state.partitions} partitions, the catalog says {topic.partitions}: "
            f"{_keep_partitions(topic, state)}"
        )


def _keep_partitions(topic: Topic, state: TopicState) -> str:
    return (
        "changing the number moves rooms to other partitions, which is refused while the old records are undrained; set "
        f'partitions = {state.partitions} under [topics."{topic.name}"] of the catalog'
    )


def _differences(
    topic: Topic, state: TopicState, configs: Mapping[str, str], brokers: int, bootstrap_servers: str
) -> list[Difference]:
    found: list[Difference] = []
    if state.partitions != topic.partitions:
        remedy = _keep_partitions(topic, state)
        found.append(Difference(topic.name, "partitions", str(topic.partitions), str(state.partitions), remedy))
    # More replicas than brokers that answer is a broker that is down, not a difference.
    if state.replicas < min(topic.replicas, brokers):
        found.append(
            Difference(
                topic.name,
                "replicas",
                str(min(topic.replicas, brokers)),
                str(state.replicas),
                f"kafka-reassign-partitions.sh --bootstrap-server {bootstrap_servers} --execute with a plan for {topic.name}",
            )
        )
    for setting, expected in _wanted_configs(topic, state.replicas).items():
        actual = configs.get(setting, "unset")
        if actual != expected and not _better(setting, expected, actual):
            found.append(
                Difference(
                    topic.name,
                    setting,
                    expected,
                    actual,
                    f"kafka-configs.sh --bootstrap-server {bootstrap_servers} --alter --entity-type topics "
                    f"--entity-name {topic.name} --add-config {setting}={expected}",
                )
            )
    return found


def _better(setting: str, expected: str, actual: str) -> bool:
    return setting == "max.message.bytes" and actual.isdigit() and int(actual) > int(expected)
