"""Which partition carries a key: Kafka's own choice, so that every Kafka client agrees with gamebus.

Pure. Not safe for several threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka.partitioner import murmur2

MAX_CACHED_KEYS: Final = 65_536
"""Keys whose hash is remembered; past it all are forgotten at once, and the keys in use come back by themselves."""


class Partitioner:
    """Maps keys to partitions as Kafka's default partitioner does: `toPositive(murmur2(key)) % partitions`.

    Guarantees: the same key goes to the same partition for as long as the topic keeps its partition count, in every
    process and in every Kafka client. Memory: bounded by :data:`MAX_CACHED_KEYS`.

    Args:
        partitions: partition count by topic.
    """

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self._partitions = dict(partitions)
        # aiokafka's murmur2 is pure Python: about ten times the cost of the rest of a publish.
        self._hashes: dict[str, int] = {}

    def follow(self, partitions: Mapping[str, int]) -> None:
        """Know these topics from now on, and no others."""
        self._partitions = dict(partitions)

    def partition(self, topic: str, key: str) -> int:
        """Partition of `topic` that carries `key`.

        Raises:
            KeyError: the topic was not given to this partitioner.
        """
        hashed = self._hashes.get(key)
        if hashed is None:
            if len(self._hashes) >= MAX_CACHED_KEYS:
                self._hashes.clear()
            hashed = self._hashes[key] = murmur2(key.encode()) & 0x7FFFFFFF
        return hashed % self._partitions[topic]
