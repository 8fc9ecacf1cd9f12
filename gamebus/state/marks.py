"""Marks: up to which offset of each topic partition the effects are in Redis.

A mark is moved after the effects and before the commit in Kafka, so in any copy of Redis every event below the mark has had its
effect. When Redis is lost or restored from an older copy, its marks go back with it, and Kafka is read again from there.

The events above a mark are the ones that a mark cannot answer for: a server that crashes may keep the mark and forget what came
after it (an append-only file is forced to disk once a second, a replica that is promoted lags behind). So a mark moves within one
life of the server only, which is its `run_id`; a new life means that Kafka is read again from the mark, as after any other loss.

Moving a mark is a compare-and-set: where the stored mark is lower than what this process has seen, or gone, it is left as it
is and returned. So a process that finds out that Redis went back, and dies before it has rebuilt, leaves the evidence for the
next one.

In a Redis Cluster the marks of a topic are in one slot and the rooms in many: a shard that alone loses acknowledged writes in a
failover is not noticed by its marks. See docs/redis.md for what to set against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from gamebus.state.connection import Connection, Value
from gamebus.state.scripts import load_script

_ADVANCE: Final = load_script("advance_marks")

Partition: TypeAlias = tuple[str, int]


class MarkState:
    """Marks in Redis, as one owner of partitions sees them: a `WatermarkStore` of the durable consumer.

    Every partition that was loaded has a mark, 0 at least, so that Redis being emptied before the first advance is noticed like
    any other loss. A loss is told once, to whoever asks next: also when the call that found it failed afterwards.

    Args:
        on_moved: called with topic and partition when a mark is found that this process has not left there: another one has
            had the partition, or Redis went back in time.
    """

    def __init__(self, connection: Connection, *, on_moved: Callable[[str, int], None] | None = None) -> None:
        self._connection = connection
        self._on_moved = on_moved
        # What Redis must still hold, at least, and in which life of the server: loaded or stored by this process.
        self._seen: dict[Partition, int] = {}
        self._lives: dict[Partition, bytes] = {}
        # Losses that the caller does not know of yet.
        self._untold: dict[Partition, int | None] = {}

    async def load(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """Read the marks of partitions; they are what is expected from now on. None: there was none, and it is 0 now.

        Raises:
            StateError: Redis could not answer.
        """
        marks: dict[Partition, int | None] = {}
        for partition, (life, mark) in (await self._run(dict.fromkeys(partitions, 0))).items():
            marks[partition] = mark
            self._expect(partition, life, mark or 0)
            self._untold.pop(partition, None)
        await self._create(partition for partition, mark in marks.items() if mark is None)
        return marks

    async def advance(self, marks: Mapping[Partition, int]) -> dict[Partition, int | None]:
        """Move marks forward, by 0 to look only; returns where Redis went back, and the mark that is left there, None for none.

        The marks of these were not moved. What is left is what is expected from then on.

        Raises:
            StateError: Redis could not answer; call again.
        """
        known = {partition: mark for partition, mark in marks.items() if partition not in self._untold}
        for partition, (life, mark) in (await self._run(known)).items():
            if mark is None or mark < self._seen.get(partition, 0) or life != self._lives.get(partition, life):
                self._untold[partition] = mark
            self._expect(partition, life, mark or 0)
            if partition not in self._untold:
                self._seen[partition] = max(self._seen[partition], known[partition])
        await self._create(partition for partition, mark in self._untold.items() if mark is None)
        return {partition: self._untold.pop(partition) for partition in marks if partition in self._untold}

    async def _run(self, marks: Mapping[Partition, int]) -> dict[Partition, tuple[bytes, int | None]]:
        """Life and mark of each partition as they were before; a mark that may move has moved."""
        topics: dict[str, list[int]] = {}
        for topic, number in marks:
            topics.setdefault(topic, []).append(number)
        calls = []
        for topic, numbers in topics.items():
            arguments: list[Value] = []
            for number in numbers:
                partition = (topic, number)
                arguments += (number, self._lives.get(partition, b""), self._seen.get(partition, 0), marks[partition])
            calls.append(([self._key(topic)], arguments))
        rows = await self._connection.run_many(_ADVANCE, calls)
        return {
            (topic, number): (life, None if mark is None else int(mark))
            for (topic, numbers), (life, *found) in zip(topics.items(), rows, strict=True)
            for number, mark in zip(numbers, found, strict=True)
        }

    def _expect(self, partition: Partition, life: bytes, mark: int) -> None:
        seen = (self._lives.get(partition, life), self._seen.get(partition, mark))
        if seen != (life, mark) and self._on_moved is not None:
            self._on_moved(*partition)
        self._lives[partition], self._seen[partition] = life, mark

    async def _create(self, partitions: Iterable[Partition]) -> None:
        await self._connection.pipeline([("HSETNX", self._key(topic), number, 0) for topic, number in partitions])

    def _key(self, topic: str) -> str:
        return self._connection.keys.shared("marks", topic)
