"""Processors in one process, put together: start, ready, ops endpoint, graceful stop.

=====  ===============================================================================
start  ops endpoint, processors; ready when each has its first assignment
stop   processors finish what they have read, commit, close Kafka and Redis; ops last
=====  ===============================================================================
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import structlog

from gamebus.catalog import Catalog
from gamebus.delivery.generation_log import GenerationFollower
from gamebus.delivery.tracing import tracing_by
from gamebus.errors import ConfigurationError, first_error
from gamebus.processors.durable_processor import DurableProcessor
from gamebus.processors.realtime_processor import RealtimeProcessor
from gamebus.settings import Settings
from gamebus.state.connection import connect
from gamebus.state.vitals_reporter import VitalsReporter
from gamebus.telemetry.metrics import StatisticsCollector
from gamebus.telemetry.ops import OpsServer

Kind = Literal["realtime", "durable", "all"]

log = structlog.get_logger(__name__)


class Processor(Protocol):
    """What runs here."""

    ready: asyncio.Event

    async def run(self) -> None: ...

    def stop(self) -> None: ...

    def follow(self, catalog: Catalog) -> None: ...

    def readiness(self) -> Mapping[str, bool]: ...

    def export(self, collector: StatisticsCollector) -> None: ...


class Runner:
    """The processors of one process. Build it within the running loop.

    Args:
        base: the catalog of the file.
        catalog: the same at the last generation.
        kind: which processors.
        ops_host, ops_port: where the ops endpoint listens; port 0 takes a free one.
    Raises:
        ConfigurationError: settings that cannot work, or a port that is taken.
    """

    def __init__(
        self, settings: Settings, base: Catalog, catalog: Catalog, *, kind: Kind, ops_host: str, ops_port: int
    ) -> None:
        self._kind = kind
        instance = secrets.token_hex(8)
        self._tracing = tracing_by(settings.tracing, service=f"processor-{kind}", instance=instance)
        self._follower = GenerationFollower(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            base=base,
            generation=catalog.generation,
            follow=self._bring_to,
        )
        self._processors: Sequence[Processor] = [
            processor(settings, catalog, self._tracing)
            for processor in (RealtimeProcessor, DurableProcessor)
            if kind in (processor.kind, "all")
        ]
        self._collector = StatisticsCollector()
        self._ops = self._make_ops(ops_host, ops_port)
        self._redis = connect(settings.redis)
        self._vitals = VitalsReporter(
            self._redis,
            id_=instance,
            role=f"processor-{kind}",
            ops=self._ops.url,
            collector=self._collector,
        )
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make :meth:`run` shut down in order."""
        self._stopping.set()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Run until :meth:`stop`.

        Args:
            ready: called once with the URL of the ops endpoint, when every processor reads records.
        Raises:
            ConfigurationError: topics or brokers are not as they must be; the message says what to do.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                ops = tasks.create_task(self._ops.run(), name="ops")
                running = [tasks.create_task(processor.run()) for processor in self._processors]
                announcing = tasks.create_task(self._announce(ready))
                following = tasks.create_task(self._follower.run(), name="generations")
                reporting = tasks.create_task(self._vitals.run(), name="vitals")
                await self._stopping.wait()
                announcing.cancel()
                following.cancel()
                log.info("processor.stopping", processor=self._kind)
                for processor in self._processors:
                    processor.stop()
                await asyncio.wait(running)
                reporting.cancel()
                await self._vitals.forget()
                self._ops.stop()
                await ops
        except* ConfigurationError as group:
            raise first_error(group) from None
        finally:
            await self._redis.close()
            if self._tracing is not None:
                await self._tracing.close()

    async def _bring_to(self, catalog: Catalog) -> None:
        for processor in self._processors:
            processor.follow(catalog)

    async def _announce(self, ready: Callable[[str], None]) -> None:
        for processor in self._processors:
            await processor.ready.wait()
        log.info("processor.ready", processor=self._kind, ops=self._ops.url)
        ready(self._ops.url)

    def _make_ops(self, host: str, port: int) -> OpsServer:
        for processor in self._processors:
            processor.export(self._collector)
        try:
            return OpsServer(host=host, port=port, collector=self._collector, readiness=self._readiness)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --ops-port (0 takes a free one)"
            ) from error

    def _readiness(self) -> Mapping[str, bool]:
        conditions: dict[str, bool] = {}
        for processor in self._processors:
            for name, holds in processor.readiness().items():
                conditions[name] = conditions.get(name, True) and holds
        return conditions
