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

from collections.abc import Mapping, Sequence
from typing import Final

from gamebus.state.connection import Command, Connection, Value
from gamebus.state.scripts import load_script

_ADVANCE: Final = load_script("advance_marks")


class MarkState:
    """Marks in Redis, as one owner of partitions sees them: a `WatermarkStore` of the durable consumer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # What Redis must still hold, at least: loaded or stored by this process.
        self._seen: dict[tuple[str, int], int | None] = {}

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """Read the marks of partitions, at their assignment or after Redis went back; they are what is expected from now on.

        A partition without a mark gets the mark 0 (read from the beginning), so that Redis being emptied before the first
        advance is noticed like any other loss.

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
            marks |= {(topic, number): int(mark) for number, mark in zip(numbers, next(answers), strict=True)}
        self._seen.update(marks)
        return marks

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        """Move marks forward and return what they were before.

        A value lower than this process last loaded or stored, or None, means that Redis went back in time and the mark was not
        moved (None: it is 0 now); it is what is expected from then on.

        Raises:
            StateError: Redis could not answer; call again.
        """
        topics = _by_topic(list(marks))
        calls = []
        for topic, numbers in topics.items():
            arguments: list[Value] = []
            for number in numbers:
                expected = self._seen.get((topic, number))
                arguments += (number, "" if expected is None else expected, marks[topic, number])
            calls.append(([self._key(topic)], arguments))
        rows = await self._connection.run_many(_ADVANCE, calls)
        before = {
            (topic, number): None if mark is None else int(mark)
            for (topic, numbers), row in zip(topics.items(), rows, strict=True)
            for number, mark in zip(numbers, row, strict=True)
        }
        gone = [partition for partition, mark in before.items() if mark is None]
        if gone:
            await self.load(gone)
        for partition, mark in before.items():
            if mark is not None:
                expected = self._seen.get(partition) or 0
                self._seen[partition] = mark if mark < expected else max(mark, marks[partition])
        return before

    def _key(self, topic: str) -> str:
        return self._connection.keys.shared("marks", topic)


def _by_topic(partitions: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    return topics
