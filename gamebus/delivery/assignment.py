"""The partitions that one durable consumer owns: their positions, their unfinished work, their commits.

It lives as long as its aiokafka consumer and goes through the rebalances of the group: what was assigned gets its position from
the stores, what is revoked is finished and committed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from gamebus.delivery.committer import Committer
from gamebus.delivery.partition_work import KafkaRecord, PartitionWork, Unit
from gamebus.errors import StateError

_log = structlog.get_logger(__name__)

_COMMIT_INTERVAL_S: Final = 0.1
_CHECK_INTERVAL_S: Final = 1.0
_RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)


@dataclass(slots=True)
class Counters:
    """What assignments count, across the lives of a consumer."""

    records: int = 0
    skipped: int = 0
    rebalances: int = 0
    rewinds: int = 0


class Assignment(ConsumerRebalanceListener):
    """The listener of a consumer's rebalances and the owner of what they bring.

    Args:
        drain_timeout_s: how long a rebalance waits for the work that was read.
        ready: set when an assignment has its positions.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        committer: Committer,
        counters: Counters,
        *,
        drain_timeout_s: float,
        ready: asyncio.Event,
    ) -> None:
        self.works: dict[TopicPartition, PartitionWork] = {}
        """Partitions that are owned and have their position."""

        self._consumer = consumer
        self._committer = committer
        self._counters = counters
        self._drain_timeout_s = drain_timeout_s
        self._ready = ready
        # Partitions assigned and not positioned yet; None between a revocation and the next assignment.
        self._unpositioned: frozenset[TopicPartition] | None = None
        self._assigned = asyncio.Event()
        # A unit finished: drains and the intake wait for it.
        self._finished = asyncio.Event()
        # Dropped while handlers still ran; a partition is not taken up again before they have ended.
        self._ending: list[PartitionWork] = []

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The group rebalances: called before this member joins again, while its commits still count."""
        self._counters.rebalances += bool(revoked)
        self._unpositioned = None
        self._assigned.clear()
        await self.finish_and_commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The group has settled. Nothing is waited for here: aiokafka sends no heartbeat before this returns."""
        self._unpositioned = frozenset(assigned)
        self._assigned.set()

    def take(self, tp: TopicPartition, records: Sequence[KafkaRecord], now: float) -> list[Unit]:
        """Take in what was fetched of a partition; returns the units that can run now."""
        work = self.works.get(tp)
        if work is None or work.dropped or records[0].offset < work.next:
            # Fetched before the partition was positioned, or while it is rewound: it comes again from its position.
            return []
        self._counters.records += len(records)
        self._counters.skipped += records[0].offset - work.next
        return work.take(records, now)

    def finish(self, unit: Unit) -> Unit | None:
        """A unit is done; returns the next one of its room."""
        following = unit.work.finish(unit)
        self._finished.set()
        return following

    def full(self, limit: int) -> list[TopicPartition]:
        """Partitions with at least `limit` unfinished records."""
        return [tp for tp, work in self.works.items() if work.in_flight >= limit]

    async def work_finished(self) -> None:
        """Wait until any unit is done."""
        self._finished.clear()
        await self._finished.wait()

    async def position(self) -> None:
        """Task: give assigned partitions their position. Waits out stores that do not answer, while the group goes on."""
        failures = 0
        while True:
            await self._assigned.wait()
            try:
                await self._position()
            except (StateError, KafkaError) as error:
                _log.warning("assignment.blocked", error=str(error))
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
            else:
                failures = 0

    async def commit_progress(self) -> None:
        """Task: commit what is done, and look whether Redis went back."""
        loop = asyncio.get_running_loop()
        next_check = loop.time() + _CHECK_INTERVAL_S
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            try:
                await self._rewind(await self._committer.commit(self._progress()))
                if loop.time() >= next_check and self.works:
                    await self._rewind(await self._committer.check(list(self.works)))
                    next_check = loop.time() + _CHECK_INTERVAL_S
            except StateError as error:
                _log.warning("commit.blocked", error=str(error))
                await asyncio.sleep(_RETRY_S[1])

    async def restart_at_beginning(self, out_of_range: Mapping[TopicPartition, int]) -> None:
        """Retention took records before they were read: go on where the log begins now."""
        for tp, beginning in (await self._consumer.beginning_offsets(list(out_of_range))).items():
            work = self.works.get(tp)
            if work is not None:
                _log.error("position.out_of_range", topic=tp.topic, partition=tp.partition, position=work.next)
                self._counters.skipped += max(0, beginning - work.next)
                await self._restart_at(tp, beginning)

    async def finish_and_commit(self) -> None:
        """Finish what was read, as far as the deadline allows, and commit it once; everything is dropped then."""
        works = list(self.works.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout_s):
                await self._until_idle(works)
        try:
            await self._committer.commit(self._progress())
        except StateError as error:
            _log.warning("commit.blocked", error=str(error))
        if works:
            _log.info("assignment.dropped", partitions=len(works), unfinished=sum(work.in_flight for work in works))
        self.drop()

    def drop(self) -> None:
        """Own nothing any more; what still runs has no effect on any commit."""
        for work in self.works.values():
            work.drop()
            if not work.idle:
                self._ending.append(work)
        self.works.clear()

    async def _position(self) -> None:
        wanted = self._unpositioned
        await self._until_idle(self._ending)
        self._ending.clear()
        starts = await self._committer.start_offsets(list(wanted or ()))
        unknown = [tp for tp, start in starts.items() if start is None]
        beginnings = await self._consumer.beginning_offsets(unknown) if unknown else {}
        if wanted is None or wanted is not self._unpositioned:
            # Revoked meanwhile; the next assignment wakes us again.
            return
        for tp, start in starts.items():
            self._begin(tp, beginnings[tp] if start is None else start)
        self._assigned.clear()
        self._ready.set()
        _log.info("assignment.positioned", partitions=len(wanted))

    def _begin(self, tp: TopicPartition, offset: int) -> None:
        self._consumer.seek(tp, offset)
        self.works[tp] = PartitionWork(tp.topic, tp.partition, offset)

    def _progress(self) -> dict[TopicPartition, int]:
        return {tp: work.committable for tp, work in self.works.items() if not work.dropped}

    async def _rewind(self, lost: Mapping[TopicPartition, int | None]) -> None:
        """Redis may have gone back in time: read again what it may have lost."""
        unknown = [tp for tp, mark in lost.items() if mark is None]
        beginnings = await self._consumer.beginning_offsets(unknown) if unknown else {}
        for tp, mark in lost.items():
            self._counters.rewinds += 1
            _log.error("redis.went_back", topic=tp.topic, partition=tp.partition, mark=mark)
            await self._restart_at(tp, beginnings[tp] if mark is None else mark)

    async def _restart_at(self, tp: TopicPartition, offset: int) -> None:
        work = self.works.get(tp)
        if work is None:
            return
        work.drop()
        # A room is never handled by two calls at once, so what runs of the old position ends first.
        await self._until_idle([work])
        if self.works.get(tp) is work:
            self._begin(tp, offset)

    async def _until_idle(self, works: Sequence[PartitionWork]) -> None:
        while not all(work.idle for work in works):
            await self.work_finished()
