"""The durable consumer on a real broker: process, then commit; order within a room; nothing stops at a poison record."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

from gamebus.delivery.dead_letters import DeadLetter, read_dead_letters
from gamebus.delivery.durable_consumer import DurableConsumer, SourcedRecord
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.errors import StateError
from gamebus.settings import DurableProducerSettings
from tests.integration.durable_kit import (
    Collector,
    Marks,
    RedisEffects,
    applied,
    chat,
    chat_topic,
    committed,
    consuming,
    created,
    publish_chat,
    publishing,
    redis,
    until,
    until_committed,
)


class TestCommitOrder:
    async def test_a_record_is_not_committed_while_it_is_processed(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """At the moment of processing the broker's committed offset is not past the record: a crash brings it back."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        seen: list[tuple[int, int]] = []

        async def compare(_: str, records: Sequence[SourcedRecord]) -> None:
            offsets = await committed(bootstrap_servers, topic_prefix, topic)
            seen.append((offsets.get(0, 0), records[0].offset))

        handler = Collector(compare)
        ids = [f"{index}" for index in range(60)]
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ids, rooms=("arena", "lobby", "tower"))
            async with consuming(
                bootstrap_servers, catalog, handler, publisher, Marks(), group_id=topic_prefix, max_poll_records=10
            ):
                await until(lambda: len(handler.handled) == 60)
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 60})
        assert len(seen) > 3
        assert all(offset <= first for offset, first in seen)
        assert sorted(handler.ids) == sorted(ids)

    async def test_the_lowest_unfinished_record_holds_the_commit_back(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Rooms finish out of order: what is committed ends before the slow room's record, however far the others are."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        release = asyncio.Event()

        async def hold_the_slow_room(room: str, _: Sequence[SourcedRecord]) -> None:
            if room == "slow":
                await release.wait()

        handler = Collector(hold_the_slow_room)
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ["0", "1"], rooms=("arena",))
            await publish_chat(publisher, topic, ["slow"], rooms=("slow",))
            await publish_chat(publisher, topic, [f"later-{index}" for index in range(30)], rooms=("arena", "lobby"))
            async with consuming(bootstrap_servers, catalog, handler, publisher, Marks(), group_id=topic_prefix):
                await until(lambda: len(handler.handled) == 32)
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 2})
                release.set()
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 33})

    async def test_stopping_commits_what_was_finished(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A graceful stop leaves nothing to be read again."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        handler = Collector()
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ["1", "2", "3"])
            async with consuming(bootstrap_servers, catalog, handler, publisher, Marks(), group_id=topic_prefix):
                await until(lambda: len(handler.handled) == 3)
            assert await committed(bootstrap_servers, topic_prefix, topic) == {0: 3}


class TestOrder:
    async def test_a_room_is_handled_in_order_and_rooms_side_by_side(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Of one room one call after the other, in the order of publishing; of different rooms at the same time."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=2)
        topic = chat_topic(catalog)
        rooms = [f"room-{number}" for number in range(6)]
        running: Counter[str] = Counter()
        most = 0

        async def overlap(room: str, _: Sequence[SourcedRecord]) -> None:
            nonlocal most
            running[room] += 1
            assert running[room] == 1, "two calls of one room at once"
            most = max(most, running.total())
            await asyncio.sleep(0.001)  # let the other rooms in
            running[room] -= 1

        handler = Collector(overlap)
        ids = [f"{index:04}" for index in range(600)]
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ids, rooms=rooms)
            async with consuming(
                bootstrap_servers, catalog, handler, publisher, Marks(), group_id=topic_prefix, max_poll_records=50
            ) as consumer:
                await until(lambda: len(handler.handled) >= 600)
                assert consumer.statistics().dead_letters == 0
        assert most > 1
        for room in rooms:
            of_room = [record.record.id for record in handler.handled if record.record.room == room]
            assert of_room == ids[rooms.index(room) :: 6]

    async def test_a_handler_slower_than_the_poll_interval_keeps_its_partitions(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Polling goes on while a full partition waits for its handler, so the member is not thrown out and nothing repeats."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)

        async def dawdle(_: str, records: Sequence[SourcedRecord]) -> None:
            if records[0].offset == 0:
                await asyncio.sleep(3)  # three intervals

        handler = Collector(dawdle)
        ids = [f"{index:02}" for index in range(40)]
        async with publishing(bootstrap_servers, [topic]) as publisher:
            await publish_chat(publisher, topic, ids)
            async with consuming(
                *(bootstrap_servers, catalog, handler, publisher, Marks()),
                group_id=topic_prefix,
                max_poll_records=5,
                max_poll_interval_ms=1_000,
                session_timeout_ms=3_000,
            ) as consumer:
                await until(lambda: len(handler.handled) >= 40)
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 40})
                assert consumer.statistics().rebalances == 0
        assert handler.ids == ids


class TestPoison:
    async def test_poison_goes_to_the_dead_letters_and_everything_else_is_handled(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """Bytes that cannot be decoded and an event whose handler always raises: kept with source, error and event id, while
        later records of the room and other partitions are handled."""
        catalog = await created(bootstrap_servers, topic_prefix)
        topic = chat_topic(catalog)
        calls: Counter[str] = Counter()

        async def choke(_: str, records: Sequence[SourcedRecord]) -> None:
            for record in records:
                if record.record.id == "bad":
                    calls["alone" if len(records) == 1 else "together"] += 1
                    raise ArithmeticError("it cannot be handled")

        handler = Collector(choke)
        rooms = [f"room-{number}" for number in range(8)]
        async with publishing(bootstrap_servers, [topic, catalog.dead_letter_topic]) as publisher:
            await publish_chat(publisher, topic, [f"before-{room}" for room in rooms], rooms=rooms)
            (bad,) = await publish_chat(publisher, topic, ["bad"], rooms=rooms[:1])
            garbage = await publisher.publish(topic, rooms[0].encode(), b"\xc1 not msgpack")
            await publish_chat(publisher, topic, [f"after-{room}" for room in rooms], rooms=rooms)
            async with consuming(
                *(bootstrap_servers, catalog, handler, publisher, Marks()),
                group_id=topic_prefix,
                max_attempts=3,
                retry_backoff_ms=1,
            ) as consumer:
                await until(lambda: len(handler.handled) == 16 and consumer.statistics().dead_letters == 2)

        letters = await read_dead_letters(bootstrap_servers, catalog.dead_letter_topic)
        assert _sources(letters) == {(topic, bad.partition, bad.offset), (topic, garbage.partition, garbage.offset)}
        by_event = {letter.event: letter for letter in letters}
        assert by_event["ann/bad"].error == "ArithmeticError: it cannot be handled"
        assert by_event["ann/bad"].value == chat(rooms[0], "bad")
        assert by_event["ann/bad"].key == rooms[0].encode()
        assert "not msgpack" in by_event[None].error
        assert by_event[None].value == b"\xc1 not msgpack"
        assert calls["alone"] == 3
        assert sum((await committed(bootstrap_servers, topic_prefix, topic)).values()) == 18

    async def test_a_dead_letter_is_written_before_its_offset_is_committed(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """While the dead letter cannot be written the watermark stays below the record, and the other rooms go on."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        handler = Collector()
        async with publishing(bootstrap_servers, [topic, catalog.dead_letter_topic]) as publisher:
            await publish_chat(publisher, topic, ["0"])
            await publisher.publish(topic, b"arena", b"poison")
            await publish_chat(publisher, topic, ["2"])
            stopped = DurablePublisher(
                bootstrap_servers=bootstrap_servers,
                settings=DurableProducerSettings(),
                topics=[catalog.dead_letter_topic],
            )
            async with consuming(bootstrap_servers, catalog, handler, stopped, Marks(), group_id=topic_prefix):
                await until(lambda: handler.ids == ["0", "2"])
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 1})
                await stopped.start()
                await until_committed(bootstrap_servers, topic_prefix, topic, {0: 3})
            await stopped.stop(deadline_s=1.0)
        assert len(await read_dead_letters(bootstrap_servers, catalog.dead_letter_topic)) == 1

    async def test_a_passing_error_is_tried_again(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """An error that goes away within the attempts costs a retry; an outage costs as many as it lasts, and no dead letter."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        left = {"hiccup": 2, "outage": 7}

        async def fail_for_a_while(room: str, _: Sequence[SourcedRecord]) -> None:
            if left.get(room):
                left[room] -= 1
                raise StateError("Redis is away") if room == "outage" else RuntimeError("once more")

        handler = Collector(fail_for_a_while)
        async with publishing(bootstrap_servers, [topic, catalog.dead_letter_topic]) as publisher:
            await publish_chat(publisher, topic, ["1", "2"], rooms=("hiccup", "outage"))
            async with consuming(
                *(bootstrap_servers, catalog, handler, publisher, Marks()),
                group_id=topic_prefix,
                max_attempts=3,
                retry_backoff_ms=1,
            ) as consumer:
                await until(lambda: len(handler.handled) == 2)
                assert (consumer.statistics().retries, consumer.statistics().dead_letters) == (9, 0)


def _sources(letters: Sequence[DeadLetter]) -> set[tuple[str, int, int]]:
    return {(letter.source_topic, letter.source_partition, letter.source_offset) for letter in letters}


class TestRebalance:
    async def test_partitions_change_hands_without_loss_or_double_effect(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str
    ) -> None:
        """Members come and go while events flow: every event has its effect once, and all offsets are committed in the end."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=6)
        topic = chat_topic(catalog)
        rooms = [f"room-{number}" for number in range(11)]
        ids: list[str] = []
        done = asyncio.Event()

        async def publish_until_done(publisher: DurablePublisher) -> None:
            while not done.is_set():
                more = [f"{len(ids) + index:06}" for index in range(len(rooms))]
                ids.extend(more)
                await publish_chat(publisher, topic, more, rooms=rooms)
                await asyncio.sleep(0.005)

        async with redis(redis_url, topic_prefix) as connection, publishing(bootstrap_servers, [topic]) as publisher:
            members = [RedisEffects(connection, catalog) for _ in range(3)]

            def joined(member: RedisEffects) -> contextlib.AbstractAsyncContextManager[DurableConsumer]:
                return consuming(
                    *(bootstrap_servers, catalog, member, publisher, member.marks),
                    group_id=topic_prefix,
                    session_timeout_ms=3_000,
                )

            async with joined(members[0]) as stays, asyncio.TaskGroup() as tasks:
                tasks.create_task(publish_until_done(publisher))
                for member in members[1:]:
                    async with joined(member) as comes_and_goes:
                        await _applies(member, 100)
                        assert 0 < comes_and_goes.statistics().partitions < 6
                    await until(lambda: stays.statistics().partitions == 6)
                    await _applies(members[0], 100)
                done.set()
            async with joined(members[0]):
                await until(lambda: sum(member.applied for member in members) >= len(ids))
            assert await applied(connection, catalog, rooms) == ids
        assert sum(member.applied for member in members) == len(ids)
        assert sum((await committed(bootstrap_servers, topic_prefix, topic)).values()) == len(ids)


async def _applies(member: RedisEffects, more: int) -> None:
    wanted = member.applied + more
    await until(lambda: member.applied >= wanted)
