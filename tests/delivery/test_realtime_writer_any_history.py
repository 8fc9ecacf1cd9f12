"""Whatever brokers and the network do, the realtime writer writes a record at most once and accounts for every one.

Two scripted brokers stop reading, cut connections at any byte, end them, fall silent and lead partitions in turn, in histories that
Hypothesis makes up. Both keep every byte that reaches them, so a record that came twice, or in part and again, is seen.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gamebus.catalog import with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.realtime_connection import ProducedBatch, RealtimeConnection
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.settings import RealtimeProducerSettings
from tests.delivery.scripted_broker import ScriptedBroker

PARTITIONS = 2
TOPICS = {"gamebus.position": PARTITIONS, "gamebus.heartbeat": PARTITIONS}
LED = [(topic, partition) for topic in TOPICS for partition in range(PARTITIONS)]
# The room of a record is its key, which stands (behind its length, as a zigzag varint) at the very beginning of its bytes; its player stands
# in its value.
ROOM = re.compile(rb"\x16room-(\d{6})")
PLAYER = re.compile(rb"player-(\d{6})")

Step = tuple[Any, ...]

_node = st.integers(0, 1)
_PUBLISH = st.tuples(st.just("publish"), st.integers(1, 40), st.sampled_from([0, 200, 5_000, 60_000]))
_STEP = st.one_of(
    _PUBLISH,
    _PUBLISH,
    st.tuples(st.just("cut"), _node, st.integers(0, 20_000)),
    st.tuples(st.sampled_from(["hold", "read", "mute", "answer", "reset", "finish"]), _node),
    st.tuples(st.just("lead"), st.integers(0, len(LED) - 1), st.one_of(st.none(), _node)),
    st.tuples(st.just("pass_time"), st.sampled_from([0.0, 0.01, 0.1])),
)


@dataclass
class World:
    """Two brokers of one cluster, a publisher, and what it was asked to publish."""

    brokers: list[ScriptedBroker]
    publisher: RealtimePublisher
    accepted: set[int] = field(default_factory=set)
    refused: Counter[DropReason] = field(default_factory=Counter)
    number: int = 0

    def publish(self, *, padding: int = 0) -> int:
        """Publish one record, which is told from all others by its room and its player."""
        self.number += 1
        room, player = f"room-{self.number:06}", f"player-{self.number:06}"
        reason = self.publisher.publish("position", room, player, self.number, [self.number, bytes(padding)])
        if reason is None:
            self.accepted.add(self.number)
        else:
            self.refused[reason] += 1
        return self.number

    async def step(self, name: str, *arguments: Any) -> None:
        """One step of a history."""
        if name == "publish":
            for _ in range(arguments[0]):
                self.publish(padding=arguments[1])
            await asyncio.sleep(0)
        elif name == "pass_time":
            await asyncio.sleep(arguments[0])  # time is what this step is about: stalls and staleness come of it
        elif name == "lead":
            node = arguments[1]
            for broker in self.brokers:
                broker.leaders[LED[arguments[0]]] = None if node is None else self.brokers[node].node
        else:
            self.fault(name, self.brokers[arguments[0]], *arguments[1:])

    @staticmethod
    def fault(name: str, broker: ScriptedBroker, after_bytes: int = 0) -> None:
        if name == "cut":
            broker.cut_after_bytes = after_bytes
        elif name in ("hold", "read"):
            (broker.reads.clear if name == "hold" else broker.reads.set)()
        elif name in ("mute", "answer"):
            broker.answers = name == "answer"
        else:
            (broker.reset if name == "reset" else broker.finish)()

    async def heal(self) -> None:
        """Let everything pass, and wait until a record that is published from now on arrives."""
        for broker in self.brokers:
            broker.reads.set()
            broker.answers = True
            broker.cut_after_bytes = None
            for led, leader in broker.leaders.items():
                broker.leaders[led] = leader or self.brokers[0].node
        healed = self.number
        async with asyncio.timeout(60):
            while not any(number > healed for number in self.whole()):
                self.publish()
                await asyncio.sleep(0.005)

    def whole(self) -> list[int]:
        """Records that came in whole requests."""
        return [record.data[0] for broker in self.brokers for record in broker.records]

    def seen(self, token: re.Pattern[bytes]) -> Counter[int]:
        """How often the token of each record reached a broker, in whole requests and in parts of some."""
        streams = [bytes(stream) for broker in self.brokers for stream in broker.streams]
        return Counter(int(found) for stream in streams for found in token.findall(stream))


@asynccontextmanager
async def _world(*, max_age_ms: int = 40, stall_timeout_ms: int = 50) -> AsyncIterator[World]:
    brokers = [ScriptedBroker(TOPICS, node=node) for node in (7, 8)]
    for broker in brokers:
        broker.peers = brokers
        broker.leaders = {led: brokers[index % 2].node for index, led in enumerate(LED)}
    async with AsyncExitStack() as stack:
        for broker in brokers:
            await stack.enter_async_context(broker.running())
        publisher = RealtimePublisher(
            bootstrap_servers=",".join(broker.address for broker in brokers),
            catalog=with_partitions(parse_catalog(), PARTITIONS),
            # Small bounds, so that a short history meets all of them.
            settings=RealtimeProducerSettings(
                batch_bytes=4_096,
                buffer_bytes=400_000,
                max_in_flight=4,
                max_age_ms=max_age_ms,
                stall_timeout_ms=stall_timeout_ms,
            ),
            boot="boot",
        )
        await publisher.start()
        try:
            yield World(brokers, publisher)
        finally:
            await publisher.stop(deadline_s=0.2)


async def _live(steps: list[Step]) -> World:
    async with _world() as world:
        for step in steps:
            await world.step(*step)
        await world.heal()
        await world.publisher.stop(deadline_s=5.0)
        # What is in the kernel when the publisher has ended is on its way.
        for broker in world.brokers:
            broker.finish()
    return world


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - statistics have no events
            await asyncio.sleep(0.005)


def _assert_at_most_once(world: World) -> None:
    for token in (ROOM, PLAYER):
        # Each stands once in the bytes of its record.
        assert {number: count for number, count in world.seen(token).items() if count > 1} == {}
    whole = Counter(world.whole())
    assert max(whole.values()) == 1
    assert set(whole) | set(world.seen(ROOM)) <= world.accepted


def _assert_accounted(world: World) -> None:
    statistics = world.publisher.statistics()
    assert statistics.attempted == world.number == len(world.accepted) + sum(world.refused.values())
    assert statistics.written + sum(statistics.dropped.values()) == statistics.attempted
    assert all(statistics.dropped.get(reason, 0) >= count for reason, count in world.refused.items())
    assert len(world.seen(ROOM)) <= statistics.written
    assert sum(map(len, (stream for broker in world.brokers for stream in broker.streams))) > 0
    assert statistics.buffered_bytes == 0


class TestAnyHistory:
    @given(steps=st.lists(_STEP, min_size=4, max_size=30))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_record_is_written_twice_and_each_is_accounted_for(
        self, monkeypatch: pytest.MonkeyPatch, steps: list[Step]
    ) -> None:
        """Each record's bytes reach the brokers at most once; each attempt was written or dropped for a reason; and the writer
        works again when they do."""
        # So that the kernel gives connections up (ETIMEDOUT) within a history, as it does after two seconds otherwise.
        monkeypatch.setattr("gamebus.delivery.realtime_connection._UNACKED_TIMEOUT_MS", 60)
        # And a broker that does not answer is dialled again before two seconds have passed.
        monkeypatch.setattr("gamebus.delivery.realtime_connection._DIAL_TIMEOUT_S", 0.3)
        world = asyncio.run(_live(steps))

        _assert_at_most_once(world)
        _assert_accounted(world)
        event("reconnected" if world.publisher.statistics().connects > 2 else "never reconnected")
        for reason in world.publisher.statistics().dropped:
            event(f"dropped: {reason}")
        event("written and not arrived" if len(world.whole()) < world.publisher.statistics().written else "all arrived")

    async def test_a_peaceful_history_loses_nothing(self) -> None:
        """What the property above lets be lost is lost to faults: without any, every accepted record arrives."""
        # Nor is a busy machine a fault: nothing grows old here.
        async with _world(max_age_ms=60_000, stall_timeout_ms=60_000) as world:
            for _ in range(20):
                for _ in range(20):
                    world.publish(padding=100)
                await asyncio.sleep(0)
            await world.publisher.stop(deadline_s=5.0)

        assert sorted(world.whole()) == sorted(world.accepted)
        assert len(world.accepted) == 400
        _assert_at_most_once(world)
        _assert_accounted(world)

    async def test_a_writer_that_sends_again_would_be_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A retry, be it of what a connection held when it was cut, is what the property above is there to find."""
        last: dict[int, tuple[int, list[ProducedBatch]]] = {}
        write = RealtimeConnection.write

        def write_again(connection: RealtimeConnection, batches: list[ProducedBatch]) -> None:
            connects, before = last.get(connection.broker.node_id, (connection.connects, []))
            last[connection.broker.node_id] = connection.connects, batches
            write(connection, batches if connects == connection.connects else [*before, *batches])

        monkeypatch.setattr(RealtimeConnection, "write", write_again)
        async with _world(max_age_ms=60_000, stall_timeout_ms=60_000) as world:
            for _ in range(20):
                world.publish(padding=200)
            await _until(lambda: len(world.whole()) == 20)
            for broker in world.brokers:
                broker.reset()
            await _until(lambda: world.publisher.statistics().connects == 4)
            await world.heal()

        with pytest.raises(AssertionError):
            _assert_at_most_once(world)
