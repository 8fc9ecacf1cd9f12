"""Interest: which partitions hold a room of this gateway, so that its tail reads no others.

So the read cost of a gateway follows its own rooms. A type that is keyed by player may be in any partition of its topic: then all of
them are of interest as soon as there is a room.

Pure: no I/O. Not safe for several threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

Partition = tuple[str, int]
"""Topic and number."""


class Interest:
    """Counts the rooms of each partition.

    Args:
        partitions: partition count of every topic that is tailed.
        scattered: the topics among them whose records of a room may be anywhere.
        partition: `(topic, room) -> partition`, Kafka's own.
        follow: told all partitions of interest, whenever they change.
    """

    def __init__(
        self,
        *,
        partitions: Mapping[str, int],
        scattered: Collection[str],
        partition: Callable[[str, str], int],
        follow: Callable[[Collection[Partition]], None],
    ) -> None:
        self._partitions = partitions
        self._scattered = scattered
        self._partition = partition
        self._follow = follow
        self._rooms: Counter[Partition] = Counter()

    def add(self, room: str) -> None:
        """A room has its first client here."""
        before = len(self._rooms)
        self._rooms.update(self._of(room))
        if len(self._rooms) != before:
            self._follow(self._rooms.keys())

    def remove(self, room: str) -> None:
        """A room has no client here any more."""
        before = len(self._rooms)
        for partition in self._of(room):
            self._rooms[partition] -= 1
            if not self._rooms[partition]:
                del self._rooms[partition]
        if len(self._rooms) != before:
            self._follow(self._rooms.keys())

    def _of(self, room: str) -> list[Partition]:
        return [
            (topic, partition)
            for topic, count in self._partitions.items()
            for partition in (range(count) if topic in self._scattered else (self._partition(topic, room),))
        ]
