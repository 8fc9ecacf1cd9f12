"""Processor of at-least-once events: consumer, effects, marks, dead letters.

Guarantees: every event of the topics has its effect in Redis exactly once (:mod:`gamebus.state.effects`), or stands in the
dead-letter topic. Kafka and Redis may go away at any time: work waits, and goes on when they are back; a Redis that comes back
older than it was is rebuilt from Kafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.dead_letters import DeadLetters
from gamebus.delivery.durable_consumer import DurableConsumer
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.processors.durable_effects import DurableEffects
from gamebus.processors.noted_dead_letters import NotedDeadLetters
from gamebus.settings import Settings
from gamebus.state.connection import connect
from gamebus.state.dead_letters import DeadLetterState
from gamebus.state.effects import EffectState
from gamebus.state.marks import MarkState
from gamebus.telemetry.metrics import StatisticsCollector
from gamebus.telemetry.tracing import Tracing

_PUBLISHER_DEADLINE_S: Final = 5.0

log = structlog.get_logger(__name__)


class DurableProcessor:
    """Processes at-least-once events until stopped."""

    kind: Final = "durable"

    def __init__(self, settings: Settings, catalog: Catalog, tracing: Tracing | None) -> None:
        servers = settings.kafka.bootstrap_servers
        self._redis = connect(settings.redis)
        state = EffectState(self._redis, catalog)
        self._effects = DurableEffects(state, catalog)
        self._publisher = DurablePublisher(
            bootstrap_servers=servers,
            settings=settings.durable,
            topics=[catalog.dead_letter_topic],
            client_id="gamebus-dead-letters",
        )
        self._consumer = DurableConsumer(
            bootstrap_servers=servers,
            group_id=f"{settings.kafka.group_prefix}{self.kind}",
            topics=_topics(catalog),
            handler=self._effects,
            dead_letters=NotedDeadLetters(
                DeadLetters(self._publisher, catalog.dead_letter_topic), DeadLetterState(self._redis)
            ),
            marks=MarkState(self._redis, on_moved=state.forget),
            settings=settings.consumer,
            tracing=tracing,
        )
        self.ready = self._consumer.ready
        """Set when records are read from now on."""

        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Process until :meth:`stop`; then finish what was read and commit it.

        Raises:
            ConfigurationError: the topics do not exist, or no broker answers at the start.
        """
        try:
            await self._publisher.start()
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._publisher.watch(), name="dead-letter-publisher")
                consuming = tasks.create_task(self._consumer.run(), name="durable-consumer")
                await self._stopping.wait()
                self._consumer.stop()
                await consuming
                watching.cancel()
            consumed, effects = self._consumer.statistics(), self._effects.statistics()
            log.info("consumer.drained", handled=consumed.handled, commits=consumed.commits)
            log.info("processor.stopped", applied=effects.applied_total, duplicates=effects.duplicates_total)
        finally:
            await self._publisher.stop(deadline_s=_PUBLISHER_DEADLINE_S)
            await self._redis.close()

    def stop(self) -> None:
        """Ask :meth:`run` to return."""
        self._stopping.set()

    def follow(self, catalog: Catalog) -> None:
        """Process the topics of another generation of the catalog from now on."""
        self._effects.follow(catalog)
        self._consumer.follow(_topics(catalog))

    def readiness(self) -> Mapping[str, bool]:
        """Conditions of being able to work."""
        return {"durable_assigned": self.ready.is_set(), "redis": self._redis.answering}

    def export(self, collector: StatisticsCollector) -> None:
        """Add the statistics of all parts."""
        collector.add("durable_consumer", self._consumer.statistics)
        collector.add("durable_effects", self._effects.statistics)
        collector.add("dead_letter_publisher", self._publisher.statistics)
        collector.add("redis", self._redis.statistics, processor=self.kind)


def _topics(catalog: Catalog) -> list[str]:
    return [topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)]
