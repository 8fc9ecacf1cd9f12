"""Progress of a durable consumer, in the order in which it becomes permanent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from gamebus.delivery.committer import CommitCounters, Committer

CHAT = TopicPartition("chat", 0)


class Marks:
    """Keeps marks as Redis does; those that a test takes away are told once."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, int], int] = {}

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        found = {partition: self.marks.get(partition) for partition in partitions}
        self.marks |= {partition: mark or 0 for partition, mark in found.items()}
        return found

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        lost: dict[tuple[str, int], int | None] = {
            partition: None for partition in marks if partition not in self.marks
        }
        for partition, mark in marks.items():
            self.marks[partition] = 0 if partition in lost else max(mark, self.marks[partition])
        return lost


class Offsets:
    """Keeps committed offsets, in the place of a consumer."""

    def __init__(self) -> None:
        self.offsets: dict[TopicPartition, int] = {}

    async def committed(self, tp: TopicPartition) -> int | None:
        return self.offsets.get(tp)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.offsets |= offsets


class RefusedOffsets(Offsets):
    """Takes a while, and refuses until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.refusing = True

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await asyncio.sleep(0.001)
        if self.refusing:
            raise KafkaError("not now")
        await super().commit(offsets)


class TestCommit:
    async def test_is_counted_and_timed_also_when_it_fails(self) -> None:
        """Mean latency is time by commits, and a broker that refuses is slow and not absent from it."""
        offsets, counters = RefusedOffsets(), CommitCounters()
        committer = Committer(cast("AIOKafkaConsumer", offsets), Marks(), counters)
        await committer.start_offsets([CHAT])

        await committer.commit({CHAT: 1})
        refused_s = counters.seconds
        offsets.refusing = False
        await committer.commit({CHAT: 2})

        assert (counters.tried, counters.failed) == (2, 1)
        assert 0 < refused_s < counters.seconds

    async def test_a_partition_that_begins_at_0_has_lost_nothing(self) -> None:
        """The first commit of a new partition is 0; a store that then has no mark has not gone back, and the next one counts."""
        offsets, marks = Offsets(), Marks()
        committer = Committer(cast("AIOKafkaConsumer", offsets), marks, CommitCounters())
        assert await committer.start_offsets([CHAT]) == {CHAT: None}

        assert await committer.commit({CHAT: 0}) == {}
        assert await committer.check([CHAT]) == {}
        assert await committer.commit({CHAT: 90}) == {}
        assert offsets.offsets == {CHAT: 90}
        assert marks.marks == {("chat", 0): 90}

    async def test_a_mark_that_is_gone_is_told_and_nothing_is_committed(self) -> None:
        """Effects that Redis has lost are read again, so Kafka must not be told that they are done."""
        offsets, marks = Offsets(), Marks()
        committer = Committer(cast("AIOKafkaConsumer", offsets), marks, CommitCounters())
        await committer.start_offsets([CHAT])
        await committer.commit({CHAT: 50})
        marks.marks.clear()

        assert await committer.commit({CHAT: 90}) == {CHAT: None}
        assert offsets.offsets == {CHAT: 50}

    async def test_a_mark_that_was_found_gone_is_read_from_the_beginning(self) -> None:
        """A mark of 0 is the beginning of the log, wherever that is now."""
        offsets, marks = Offsets(), Marks()
        committer = Committer(cast("AIOKafkaConsumer", offsets), marks, CommitCounters())
        await committer.start_offsets([CHAT])
        marks.marks.clear()

        assert await committer.check([CHAT]) == {CHAT: None}
        assert await committer.start_offsets([CHAT]) == {CHAT: None}

    async def test_what_is_read_again_is_committed_again(self) -> None:
        """After a loss the marks move from where they are; Kafka's offset stays until they have passed it."""
        offsets, marks = Offsets(), Marks()
        committer = Committer(cast("AIOKafkaConsumer", offsets), marks, CommitCounters())
        await committer.start_offsets([CHAT])
        await committer.commit({CHAT: 50})
        marks.marks.clear()
        assert await committer.commit({CHAT: 60}) == {CHAT: None}

        assert await committer.commit({CHAT: 20}) == {}
        assert (marks.marks, offsets.offsets) == ({("chat", 0): 20}, {CHAT: 50})
        assert await committer.commit({CHAT: 70}) == {}
        assert (marks.marks, offsets.offsets) == ({("chat", 0): 70}, {CHAT: 70})
