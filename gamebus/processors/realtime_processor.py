"""Processor of at-most-once events: consumer, effects, loss ledger.

Guarantees: what :class:`~gamebus.delivery.realtime_consumer.RealtimeConsumer` guarantees; the ledger in Redis is a second old at
most while Redis answers. Kafka and Redis may go away at any time: what
cannot be processed meanwhile is lost and counted, and work goes on when they are back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from gamebus.catalog import Catalog
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.stream_ledger import StreamLedger
from gamebus.errors import StateError
from gamebus.processors.loss_account import LossAccount
from gamebus.processors.realtime_effects import RealtimeEffects
from gamebus.settings import Settings
from gamebus.state.connection import connect
from gamebus.state.ledger import LedgerState, LossRow, ledger_topics
from gamebus.state.positions import PositionState
from gamebus.state.presence import EXPIRY_MS, PresenceState
from gamebus.telemetry.metrics import StatisticsCollector
from gamebus.telemetry.tracing import Tracing

_LEDGER_INTERVAL_S: Final = 1.0
_PRUNE_INTERVAL_S: Final = 60.0
# What is older says nothing of a player any more: without a word for so long he is not present.
_MAX_AGE_MS: Final = EXPIRY_MS

log = structlog.get_logger(__name__)


class RealtimeProcessor:
    """Processes at-most-once events until stopped."""

    kind: Final = "realtime"

    def __init__(self, settings: Settings, catalog: Catalog, tracing: Tracing | None) -> None:
        self._redis = connect(settings.redis)
        self._positions = PositionState(self._redis)
        self._ledger = LedgerState(self._redis)
        self._topics = ledger_topics(catalog)
        self._account = LossAccount()
        self._effects = RealtimeEffects(self._positions, PresenceState(self._redis))
        self._consumer = RealtimeConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            group_id=f"{settings.kafka.group_prefix}{self.kind}",
            catalog=catalog,
            settings=settings.consumer,
            tracing=tracing,
            handler=self._effects,
            max_age_ms=_MAX_AGE_MS,
        )
        self.ready = self._consumer.ready
        """Set when records are read from now on."""

        self._stopping = asyncio.Event()
        self._ledger_current = True

    async def run(self) -> None:
        """Process until :meth:`stop`; then write the ledger, finish the batch at hand and say so in a last commit.

        Raises:
            ConfigurationError: the topics do not exist, or Kafka refuses the consumer.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                consuming = tasks.create_task(self._consumer.run(), name="realtime-consumer")
                background = [tasks.create_task(self._keep_ledger()), tasks.create_task(self._keep_pruning())]
                await self._stopping.wait()
                await self._write_ledger()
                self._consumer.stop()
                await consuming
                for task in background:
                    task.cancel()
            consumed, effects = self._consumer.statistics(), self._effects.statistics()
            log.info(
                "consumer.drained", processed=consumed.processed, skipped=consumed.skipped, invalid=consumed.invalid
            )
            log.info("processor.stopped", positions=effects.positions_total, heartbeats=effects.heartbeats_total)
        finally:
            await self._redis.close()

    def stop(self) -> None:
        """Ask :meth:`run` to return."""
        self._stopping.set()

    def follow(self, catalog: Catalog) -> None:
        """Process the topics of another generation of the catalog from now on."""
        self._topics = ledger_topics(catalog)
        self._consumer.follow(catalog)

    def readiness(self) -> Mapping[str, bool]:
        """Conditions of being able to work."""
        return {"realtime_assigned": self.ready.is_set(), "redis": self._redis.answering}

    def export(self, collector: StatisticsCollector) -> None:
        """Add the statistics of all parts."""
        collector.add("realtime_consumer", self._consumer.statistics)
        collector.add("realtime_effects", self._effects.statistics)
        collector.add("realtime_account", self._account.statistics)
        collector.add("redis", self._redis.statistics, processor=self.kind)

    async def _keep_ledger(self) -> None:
        while True:
            await asyncio.sleep(_LEDGER_INTERVAL_S)
            await self._write_ledger()

    async def _write_ledger(self) -> None:
        now_ms = _now_ms()
        rows = [_row(ledger, now_ms) for ledger in self._consumer.ledgers()]
        try:
            await self._ledger.announce(self._topics)
            await self._write(rows)
        except StateError as error:
            if self._ledger_current:
                log.warning("ledger.delayed", error=str(error))
            self._ledger_current = False
        else:
            self._ledger_current = True

    async def _write(self, rows: list[LossRow]) -> None:
        taken_over = self._account.unknown(rows)
        if taken_over:
            # Before they are written over.
            self._account.begin(taken_over, await self._ledger.read_partitions(taken_over))
        await self._ledger.write(rows)
        self._account.take(rows)

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_INTERVAL_S)
            rooms = self._effects.take_rooms()
            try:
                forgotten = await self._positions.prune(rooms, _now_ms())
            except StateError as error:
                log.warning("prune.skipped", rooms=len(rooms), error=str(error))
            else:
                log.debug("positions.pruned", rooms=len(rooms), forgotten=forgotten)


def _row(ledger: StreamLedger, now_ms: int) -> LossRow:
    return LossRow(
        written_ms=now_ms,
        boot=ledger.boot,
        topic=ledger.topic,
        partition=ledger.partition,
        attempted=ledger.attempted,
        processed=ledger.processed,
        dropped=ledger.dropped,
        lost_on_wire=ledger.lost_on_wire,
        dropped_on_failed_commit=ledger.dropped_on_failed_commit,
        lost_in_crash=ledger.lost_in_crash,
        skipped=ledger.skipped,
        unknown=ledger.unknown,
        duplicates=ledger.duplicates,
        reordered=ledger.reordered,
        ended=ledger.ended,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
