"""Which broker leads which partition, as the cluster tells.

aiokafka's own client is not used for this: it dials under one lock, so that one hung broker keeps the others' answer away.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from gamebus.delivery.realtime_connection import DIAL_ERRORS, Broker, RealtimeConnection, dial

_ANSWER_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as one broker saw it."""

    brokers: dict[int, Broker]
    partitions: dict[str, int]
    """Partition count by topic; topics that do not exist are missing."""

    leaders: dict[tuple[str, int], int]
    """Node id by (topic, partition); partitions without a leader are missing."""


class Leaders:
    """Asks the cluster for the leaders of some topics.

    Args:
        bootstrap_servers: `host:port`, comma separated; asked when no known broker answers.
        topics: topics of interest.
    """

    def __init__(self, *, bootstrap_servers: str, topics: Iterable[str], client_id: str) -> None:
        self._bootstrap = [(host, port) for host, port, _ in collect_hosts(bootstrap_servers)]
        self._topics = list(topics)
        self._client_id = client_id
        self._known: list[tuple[str, int]] = []

    def follow(self, topics: Iterable[str]) -> None:
        """Ask for these topics from now on."""
        self._topics = list(topics)

    async def fetch(self, connections: Sequence[RealtimeConnection] = ()) -> ClusterView | None:
        """Ask one broker after the other until one answers; None when none does.

        Connections that stand are asked first, then the brokers of the last answer and of the bootstrap list are dialled.
        """
        # Never create a topic by asking for it: the default of the request is to do so.
        request = MetadataRequest(self._topics, allow_auto_topic_creation=False)
        for connection in random.sample(connections, len(connections)):
            try:
                return self._parse(await connection.ask(request, timeout_s=_ANSWER_TIMEOUT_S))
            except DIAL_ERRORS:
                continue
        addresses = list(dict.fromkeys((*self._known, *self._bootstrap)))
        for host, port in random.sample(addresses, len(addresses)):
            try:
                asked = await dial(host, port, client_id=self._client_id)
                try:
                    async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                        return self._parse(await asked.send(request))
                finally:
                    await _close(asked)
            except DIAL_ERRORS:
                continue
        return None

    def _parse(self, response: Any) -> ClusterView:
        if not response.brokers:
            raise KafkaError("the broker knows no brokers yet")
        brokers = {node: Broker(node, host, port) for node, host, port, _rack in response.brokers}
        partitions: dict[str, int] = {}
        leaders: dict[tuple[str, int], int] = {}
        for error, topic, _internal, of_topic in response.topics:
            if error:
                continue
            partitions[topic] = len(of_topic)
            for _error, partition, leader, *_replicas in of_topic:
                if leader in brokers:
                    leaders[topic, partition] = leader
        self._known = [(broker.host, broker.port) for broker in brokers.values()]
        return ClusterView(brokers=brokers, partitions=partitions, leaders=leaders)


async def _close(connection: AIOKafkaConnection) -> None:
    closed = connection.close()
    if closed is not None:
        await closed
