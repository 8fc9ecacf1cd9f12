"""Where a durable consumer begins, and the order in which its progress becomes permanent.

Progress is stored twice: as a mark in Redis beside the effects, then as Kafka's committed offset. The mark goes back with the
effects when Redis is lost or restored from an older copy; the committed offset does not. So a start is the lower one of the two,
and where Redis went back, which the store of the marks tells, effects may be gone and Kafka must be read again from the mark.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

_log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S: Final = 5.0


class WatermarkStore(Protocol):
    """Keeps the mark of each partition beside the effects: everything below it has had its effect.

    A mark moves by compare-and-set: where effects may be gone that this process has seen, it stays as it is, so that the evidence
    survives whoever found it.
    """

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """The marks; None for a partition without one. Raises StateError."""

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        """Move marks forward (to 0: look only); returns those whose effects may be gone, where they are now. Raises StateError."""


@dataclass(slots=True)
class CommitCounters:
    """Commits to Kafka, across the lives of a consumer."""

    tried: int = 0
    failed: int = 0
    seconds: float = 0.0
    """Time that all of them took."""


class Committer:
    """Stores the progress of the partitions that one consumer owns.

    Guarantees: one commit at a time, and only of what moved forward: neither mark nor committed offset goes back by this class.

    Args:
        consumer: a started consumer of a group.
    """

    def __init__(self, consumer: AIOKafkaConsumer, marks: WatermarkStore, counters: CommitCounters) -> None:
        self._consumer = consumer
        self._marks = marks
        self._counters = counters
        self._lock = asyncio.Lock()
        # What Redis must still hold at least, and what Kafka holds, of the partitions that are owned.
        self._stored: dict[TopicPartition, int | None] = {}
        self._committed: dict[TopicPartition, int | None] = {}

    async def start_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Where to begin partitions that were just assigned: the lower one of mark and commit; None is the beginning.

        Raises:
            StateError, KafkaError: a store did not answer; call again.
        """
        async with self._lock:
            found = await self._marks.load([(tp.topic, tp.partition) for tp in partitions])
            marks = {tp: found[tp.topic, tp.partition] for tp in partitions}
            committed = await asyncio.gather(*(self._consumer.committed(tp) for tp in partitions))
            self._stored = marks
            self._committed = dict(zip(partitions, committed, strict=True))
        return {tp: _start(marks[tp], self._committed[tp]) for tp in partitions}

    async def commit(self, progress: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        """Store how far partitions are done: the mark first, then Kafka's offset.

        A commit that Kafka refuses or leaves unanswered is counted, and made good by the next one.

        Returns:
            Partitions whose effects may be gone above their mark, and where that is; None is the beginning. Nothing was stored
            for these.
        Raises:
            StateError: Redis did not answer; nothing was committed.
        """
        async with self._lock:
            ahead = {tp: offset for tp, offset in progress.items() if offset > _order(self._stored.get(tp))}
            lost = await self._advance(ahead) if ahead else {}
            due = {
                tp: offset
                for tp, offset in progress.items()
                if tp not in lost
                and offset > _order(self._committed.get(tp))
                and offset <= _order(self._stored.get(tp))
            }
            if due:
                await self._commit(due)
            return lost

    async def check(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Look whether Redis went back while nothing was committed; the same result as :meth:`commit`.

        Raises:
            StateError: Redis did not answer.
        """
        async with self._lock:
            return await self._advance(dict.fromkeys(partitions, 0))

    async def _advance(self, marks: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        found = await self._marks.advance({(tp.topic, tp.partition): offset for tp, offset in marks.items()})
        lost = {TopicPartition(*partition): mark or None for partition, mark in found.items()}
        for tp, offset in marks.items():
            self._stored[tp] = lost[tp] if tp in lost else max(offset, _order(self._stored.get(tp)))
        return lost

    async def _commit(self, due: dict[TopicPartition, int]) -> None:
        began = time.monotonic()
        self._counters.tried += 1
        try:
            # aiokafka retries without end, and would carry an old commit into the next generation of the group.
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._consumer.commit(due)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            self._counters.failed += 1
            _log.warning("commit.failed", partitions=len(due), error=str(error))
        else:
            self._committed.update(due)
        finally:
            self._counters.seconds += time.monotonic() - began


def _start(mark: int | None, committed: int | None) -> int | None:
    if mark is None or committed is None:
        # Without a mark nothing of the effects is left. Without a commit the mark alone knows.
        return mark or None
    return min(mark, committed) or None


def _order(offset: int | None) -> int:
    """No offset is below every offset."""
    return -1 if offset is None else offset
