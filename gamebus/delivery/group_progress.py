"""Progress of a consumer group in a topic, as the brokers know it: who reads, how far, how far it could be.

For commands: every answer is asked for anew. Processes know their own progress better.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from gamebus.delivery.tail import close_consumer
from gamebus.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition.

    Attributes:
        beginning: offset of the first record that the log keeps.
        end: offset of the next record that will be written.
        committed: offset up to which the group is done; None when it has never said.
    """

    beginning: int
    end: int
    committed: int | None

    def left(self, end: int) -> int:
        """Records before `end` that the group is not done with."""
        return max(0, end - max(self.beginning, self.committed or 0))


class GroupProgress:
    """Asks the brokers. Build it with :func:`watching`. All methods raise ConfigurationError when no broker answers."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def assigned(self, group_id: str, topic: str) -> set[int]:
        """Partitions of `topic` that members of the group have now; none while it rebalances."""
        partitions: set[int] = set()
        try:
            responses: list[Any] = await self._admin.describe_consumer_groups([group_id])
            for response in responses:
                for _error, _group, state, _type, _protocol, members, *_ in response.groups:
                    if state != "Stable":
                        continue
                    for _member, _client, _host, _metadata, assignment in (member[:5] for member in members):
                        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
                        partitions |= {tp.partition for tp in decoded.partitions() if tp.topic == topic}
        except GroupCoordinatorNotAvailableError:
            # No group has ever committed in this cluster.
            return set()
        except (KafkaError, TimeoutError) as error:
            raise _unanswered(error) from error
        return partitions

    async def progress(self, group_id: str, topic: str, partitions: int) -> dict[int, Progress]:
        """Progress in every partition of `topic`."""
        tps = [TopicPartition(topic, index) for index in range(partitions)]
        try:
            beginnings = await self._consumer.beginning_offsets(tps)
            ends = await self.ends(topic, partitions)
            try:
                committed = await self._admin.list_consumer_group_offsets(group_id, partitions=tps)
            except GroupCoordinatorNotAvailableError:
                committed = {}
        except (KafkaError, TimeoutError) as error:
            raise _unanswered(error) from error
        found: dict[int, Progress] = {}
        for tp in tps:
            offset = committed.get(tp)
            known = None if offset is None or offset.offset < 0 else offset.offset
            found[tp.partition] = Progress(beginnings[tp], ends[tp.partition], known)
        return found

    async def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """Offset of the next record that will be written to every partition of `topic`."""
        try:
            found = await self._consumer.end_offsets([TopicPartition(topic, index) for index in range(partitions)])
        except (KafkaError, TimeoutError) as error:
            raise _unanswered(error) from error
        return {tp.partition: end for tp, end in found.items()}


@asynccontextmanager
async def watching(bootstrap_servers: str) -> AsyncIterator[GroupProgress]:
    """Connect, for as long as the block runs.

    Raises:
        ConfigurationError: no broker answers.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="gamebus-progress")
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, client_id="gamebus-progress")
    try:
        try:
            await admin.start()
            await consumer.start()
        except (KafkaError, TimeoutError) as error:
            raise _unanswered(error) from error
        yield GroupProgress(admin, consumer)
    finally:
        await close_consumer(consumer)
        await admin.close()


def _unanswered(error: Exception) -> ConfigurationError:
    return ConfigurationError(f"Kafka does not answer ({error!r}): start it, or set GAMEBUS_KAFKA__BOOTSTRAP_SERVERS")
