"""Faults of clients and of what else writes to Kafka: connections that vanish, players who come back elsewhere, poison records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

import msgpack
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gamebus.verify.cluster import FRONTS, GATEWAYS, Cluster
from gamebus.verify.link import Way

_ROOMS: Final = (b"arena", b"lobby", b"tower", b"yard")
_SEND_TIMEOUT_S: Final = 20.0
# None of them is an event of gamebus, each for another reason.
_POISON: Final = (
    None,
    b"",
    b"\xc1",
    b"\x00" * 2000,
    b'{"type": "chat", "room": "arena"}',
    msgpack.packb([]),
    msgpack.packb({"type": "position"}),
    msgpack.packb([1, "chat", "arena", "someone", 0, "someone"]),
    msgpack.packb([1, "chat", "arena", "someone", 0, "someone", "id"])[:-1],
)


@asynccontextmanager
async def vanish(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """The clients of one gateway lose their connections and come back at once; the gateway is told nothing of it."""
    front = cluster.fronts[rng.choice(FRONTS)]
    try:
        await front.half_open(Way.TO_CLIENT)
        yield
    finally:
        await front.restore()


@asynccontextmanager
async def roam(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """The clients of one gateway are cut off and come back through the other one; and back again in the end."""
    index = rng.randrange(len(FRONTS))
    front, home, other = FRONTS[index], GATEWAYS[index], GATEWAYS[1 - index]
    try:
        cluster.route(front, other)
        await cluster.fronts[front].reset()
        yield
    finally:
        cluster.route(front, home)
        await cluster.fronts[front].reset()


@asynccontextmanager
async def poison(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """Another program writes records into our topics, of both classes and among real ones, that are no events."""
    assert cluster.servers is not None, "the servers run"
    producer = AIOKafkaProducer(bootstrap_servers=cluster.servers.kafka, acks=1)
    # Where another fault keeps Kafka from taking them there is no poison.
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(_SEND_TIMEOUT_S), producer:
            for topic in cluster.event_topics:
                for value in rng.sample(_POISON, len(_POISON)):
                    await producer.send_and_wait(topic, value, key=rng.choice(_ROOMS))
    yield
