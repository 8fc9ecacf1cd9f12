"""Marks: up to which offset of each topic partition the effects are in Redis.

A mark is moved after the effects and before the commit in Kafka, so in any copy of Redis every event below the mark has had its
effect. When Redis is lost or restored from an older copy, its marks go back with it, and Kafka is read again from there.

Moving a mark is a compare-and-set: where the stored mark is lower than what this process has seen, or gone, it is left as it
is and returned. So a process that finds out that Redis went back, and dies before it has rebuilt, leaves the evidence for the
next one.

In a Redis Cluster the marks of a topic are in one slot and the rooms in many: a shard that alone loses acknowledged writes in a
failover is not noticed by its marks. See docs/redis.md for what to set against that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gamebus.state.connection import Command, Connection, Value
from gamebus.state.scripts import load_script

_ADVANCE: Final = load_script("advance_marks")


class MarkState:
    """Marks in Redis, as one owner of partitions sees them: a `WatermarkStore` of the durable consumer.

    A partition that is read from its beginning has no mark for callers (None) and the mark 0 in Redis, so that Redis being
    emptied before the first advance is noticed like any other loss.

    Args:
        on_moved: called with topic and partition when a mark is found that this process has not left there: another one has
            had the partition, or Redis went back in time.
    """

    def __init__(self, connection: Connection, *, on_moved: Callable[[str, int], None] | None = None) -> None:
        self._connection = connection
        self._on_moved = on_moved
        # What Redis must still hold, at least: loaded or stored by this process.
        self._seen: dict[tuple[str, int], int] = {}

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """Read the marks of partitions; they are what is expected from now on. None: read from the beginning.

        Raises:
            StateError: Redis could not answer.
        """
        topics = _by_topic(partitions)
        commands: list[Command] = []
        for topic, numbers in topics.items():
            commands += (("HSETNX", self._key(topic), number, 0) for number in numbers)
            commands.append(("HMGET", self._key(topic), *numbers))
        answers = iter(await self._connection.pipeline(commands))
        marks: dict[tuple[str, int], int | None] = {}
        for topic, numbers in topics.items():
            for _ in numbers:
                next(answers)
            for number, mark in zip(numbers, map(int, next(answers)), strict=True):
                marks[topic, number] = mark or None
                self._expect(topic, number, mark)
        return marks

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        """Move marks forward and return what they were before.

        A value lower than this process last loaded or stored means that Redis went back in time and the mark was not moved;
        it is what is expected from then on.

        Raises:
            StateError: Redis could not answer; call again.
        """
        topics = _by_topic(list(marks))
        calls = []
        for topic, numbers in topics.items():
            arguments: list[Value] = []
            for number in numbers:
                arguments += (number, self._seen.get((topic, number), 0), marks[topic, number])
            calls.append(([self._key(topic)], arguments))
        rows = await self._connection.run_many(_ADVANCE, calls)
        before: dict[tuple[str, int], int | None] = {}
        gone = []
        for (topic, numbers), row in zip(topics.items(), rows, strict=True):
            for number, found in zip(numbers, row, strict=True):
                partition, mark = (topic, number), int(found or 0)
                expected = self._seen.get(partition, 0)
                before[partition] = mark or None
                self._expect(topic, number, mark)
                if found is not None and mark >= expected:
                    self._seen[partition] = max(mark, marks[partition])
                elif found is None and expected:
                    gone.append(partition)
                elif found is None:
                    # A caller who began without a mark cannot tell that it is gone, and takes it for moved. What is found there the
                    # next time is lower, and must not be moved over.
                    self._seen[partition] = marks[partition]
        if gone:
            await self.load(gone)
        return before

    def _expect(self, topic: str, number: int, mark: int) -> None:
        if self._seen.get((topic, number), mark) != mark and self._on_moved is not None:
            self._on_moved(topic, number)
        self._seen[topic, number] = mark

    def _key(self, topic: str) -> str:
        return self._connection.keys.shared("marks", topic)


def _by_topic(partitions: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    return topics
