"""A processor process, put together: consumer, handler, state, ops endpoint.

Guarantees: :meth:`run` returns after what was read is processed and committed. Redis may go away at any time: durable processing waits for
it, realtime batches are lost and counted. Kafka too: the consumers come back by themselves.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final, Literal

import structlog
from prometheus_client import CollectorRegistry

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.dead_letters import DeadLetters
from gamebus.delivery.durable_consumer import DurableConsumer
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.errors import StateError
from gamebus.processors.handlers import DurableStateHandler, RealtimeStateHandler
from gamebus.settings import Settings
from gamebus.state.connection import connect
from gamebus.state.effects import EffectState
from gamebus.state.ledger import LedgerState
from gamebus.state.marks import MarkState
from gamebus.state.positions import PositionState
from gamebus.state.presence import PresenceState
from gamebus.telemetry.metrics import StatisticsCollector
from gamebus.telemetry.ops import OpsServer

Kind = Literal["realtime", "durable", "all"]

_LEDGER_INTERVAL_S: Final = 1.0
_DEAD_LETTER_DEADLINE_S: Final = 5.0

log = structlog.get_logger(__name__)


class Processor:
    """One processor process. Build it within the running loop."""

    def __init__(self, settings: Settings, catalog: Catalog, kind: Kind) -> None:
        self._redis = connect(settings.redis)
        self._stopping = asyncio.Event()
        self._realtime = self._make_realtime(settings, catalog) if kind in ("realtime", "all") else None
        self._ledger = LedgerState(self._redis, catalog)
        self._dead_letters = DurablePublisher(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            settings=settings.durable,
            topics=[catalog.dead_letter_topic],
            client_id="gamebus-dead-letters",
        )
        self._durable = self._make_durable(settings, catalog) if kind in ("durable", "all") else None
        collector = StatisticsCollector()
        for name, component in (("realtime_consumer", self._realtime), ("durable_consumer", self._durable)):
            if component is not None:
                collector.add(name, component.statistics)
        registry = CollectorRegistry()
        registry.register(collector)
        self._ops = OpsServer(host="127.0.0.1", port=0, registry=registry, readiness=self._readiness)

    def stop(self) -> None:
        """Make :meth:`run` return in order."""
        self._stopping.set()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Process until :meth:`stop`; `ready` is called with the ops URL when the first partitions are assigned."""
        consumers = [consumer for consumer in (self._realtime, self._durable) if consumer is not None]
        if self._durable is not None:
            await self._dead_letters.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                ops = tasks.create_task(self._ops.run())
                running = [tasks.create_task(consumer.run()) for consumer in consumers]
                ledger = tasks.create_task(self._keep_ledger())
                announced = tasks.create_task(self._announce(ready))
                await self._stopping.wait()
                announced.cancel()
                for consumer in consumers:
                    consumer.stop()
                await asyncio.wait(running)
                ledger.cancel()
                self._ops.stop()
                await ops
        finally:
            if self._durable is not None:
                await self._dead_letters.stop(deadline_s=_DEAD_LETTER_DEADLINE_S)
            await self._redis.close()
        log.info("processor.stopped")

    async def _announce(self, ready: Callable[[str], None]) -> None:
        for consumer in (self._realtime, self._durable):
            if consumer is not None:
                await consumer.ready.wait()
        log.info("processor.ready", ops=self._ops.url)
        ready(self._ops.url)

    async def _keep_ledger(self) -> None:
        while self._realtime is not None:
            await asyncio.sleep(_LEDGER_INTERVAL_S)
            try:
                await self._ledger.write([dataclasses.asdict(row) for row in self._realtime.ledgers()])
            except StateError as error:
                log.warning("ledger.not_written", error=str(error))

    def _readiness(self) -> dict[str, bool]:
        consumers = {"realtime": self._realtime, "durable": self._durable}
        return {name: consumer.ready.is_set() for name, consumer in consumers.items() if consumer is not None}

    def _make_realtime(self, settings: Settings, catalog: Catalog) -> RealtimeConsumer:
        return RealtimeConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            group_id=f"{settings.kafka.group_prefix}realtime",
            catalog=catalog,
            settings=settings.consumer,
            handler=RealtimeStateHandler(PositionState(self._redis), PresenceState(self._redis)),
            max_age_ms=settings.realtime.max_age_ms,
        )

    def _make_durable(self, settings: Settings, catalog: Catalog) -> DurableConsumer:
        effects = EffectState(self._redis, catalog)
        return DurableConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            group_id=f"{settings.kafka.group_prefix}durable",
            topics=[topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)],
            handler=DurableStateHandler(effects),
            dead_letters=DeadLetters(self._dead_letters, catalog.dead_letter_topic),
            marks=MarkState(self._redis, on_moved=effects.forget),
            settings=settings.consumer,
        )
