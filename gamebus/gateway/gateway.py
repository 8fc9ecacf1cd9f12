"""A gateway process, put together: publishers, tails, hub, websocket server, ops endpoint.

Guarantees: it listens only when it can do its work, and :func:`run` returns after everything that it accepted was decided: written,
or reported as dropped or unknown.

=====  ==============================================================================================================
start  topics checked, publishers connected, tails caught up, a first report, last generation of the catalog, listen, ready
stop   stop accepting; acks, `bye` and close frames; flush realtime; final report; flush durable; presence; end
=====  ==============================================================================================================

Redis may be away at any time: takeovers and presence across gateways rest, everything else goes on. Kafka must be there at the
start; when it goes away later, durable publishes are answered with `nack`, realtime ones are dropped and counted, and both recover
by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.generation_log import GenerationFollower, current_catalog
from gamebus.delivery.partitioner import Partitioner
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.delivery.reports import Reporter
from gamebus.delivery.tail import Tail
from gamebus.delivery.topics import partition_counts
from gamebus.delivery.tracing import TracedDurablePublisher, TracedRealtimePublisher, tracing_by
from gamebus.errors import ConfigurationError, TopicError, first_error
from gamebus.gateway.auth import TokenVerifier
from gamebus.gateway.directory import Directory
from gamebus.gateway.hub import Hub
from gamebus.gateway.interest import Partition
from gamebus.gateway.operators import Mutes, OperatorCommands
from gamebus.gateway.placement import Placement, advertised_url
from gamebus.gateway.players import PlayerRegistry
from gamebus.gateway.server import Server
from gamebus.gateway.session_driver import Bus
from gamebus.settings import Settings
from gamebus.signals import stopping
from gamebus.state.commands import CommandState
from gamebus.state.connection import connect
from gamebus.state.directory import DirectoryState
from gamebus.state.gateways import GatewayState
from gamebus.state.positions import PositionState
from gamebus.state.presence import PresenceState
from gamebus.state.sessions import SessionState
from gamebus.state.vitals_reporter import VitalsReporter
from gamebus.telemetry.metrics import StatisticsCollector
from gamebus.telemetry.ops import OpsServer

# What a broker collects before it answers the realtime tail: under load a fetch for every few records costs more than it gains.
_REALTIME_FETCH_BYTES: Final = 8192
_REALTIME_FETCH_WAIT_MS: Final = 10
_REPORT_DEADLINE_S: Final = 3.0
_DURABLE_DEADLINE_S: Final = 5.0
_PRESENCE_DEADLINE_S: Final = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a gateway listens.

    Attributes:
        gateway: websocket URL.
        ops: HTTP URL of the ops endpoint.
        boot: names this boot of the process; its streams carry it in the loss accounting.
    """

    gateway: str
    ops: str
    boot: str


Ready = Callable[[Addresses], None]


async def run(settings: Settings, catalog: Catalog, *, ready: Ready | None = None, reuse_port: bool = False) -> None:
    """Run a gateway until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        catalog: of the file; the log of generations is laid over it.
        ready: called once, when clients can connect.
        reuse_port: share the port with other processes (SO_REUSEPORT).
    Raises:
        ConfigurationError: it cannot start as things are; the message says what to do.
    """
    reading = asyncio.ensure_future(current_catalog(settings.kafka.bootstrap_servers, catalog))
    with stopping(reading.cancel):
        await asyncio.wait((reading,))
    if reading.cancelled():
        log.info("gateway.start_given_up")
        return
    gateway = Gateway(settings, catalog, reading.result(), reuse_port=reuse_port)
    with stopping(gateway.stop):
        await gateway.run(ready)


class Gateway:
    """One gateway. Build it within the running loop.

    Args:
        base: the catalog of the file.
        catalog: the same at the last generation.
    Raises:
        ConfigurationError: settings that cannot work, or a port that is taken.
    """

    def __init__(self, settings: Settings, base: Catalog, catalog: Catalog, *, reuse_port: bool = False) -> None:
        self.boot = secrets.token_hex(8)
        self._settings = settings
        self._catalog = catalog
        self._reported_generation = catalog.generation
        self._stop = asyncio.Event()
        # The task of `run` while it starts, so that a signal need not wait for Kafka.
        self._starting: asyncio.Task[None] | None = None
        servers = settings.kafka.bootstrap_servers
        verify = TokenVerifier(settings.auth)
        self._tracing = tracing_by(settings.tracing, service="gateway", instance=self.boot)
        self._redis = connect(settings.redis)
        self._realtime = RealtimePublisher(
            bootstrap_servers=servers, catalog=catalog, settings=settings.realtime, boot=self.boot
        )
        self._durable = DurablePublisher(
            bootstrap_servers=servers,
            settings=settings.durable,
            topics=_durable_topics(catalog),
            client_id=f"gamebus-durable-{self.boot}",
            tracing=self._tracing,
        )
        self._reporter = Reporter(
            self._realtime,
            self._durable,
            topic=catalog.reports_topic,
            boot=self.boot,
            generation=self._decided_generation,
        )
        self._follower = GenerationFollower(
            bootstrap_servers=servers, base=base, generation=catalog.generation, follow=self._bring_to
        )
        self._partitions = {name: topic.partitions for name, topic in catalog.topics.items()}
        self._partitioner = Partitioner(self._partitions)
        self._players = PlayerRegistry(SessionState(self._redis))
        self._hub = Hub(
            catalog=catalog,
            partition=self._partitioner.partition,
            settings=settings.gateway,
            presence=PresenceState(self._redis),
            positions=PositionState(self._redis),
            replaced=self._players.missed,
            follow=self._follow,
            max_age_ms=settings.realtime.max_age_ms,
        )
        self._realtime_tail, self._durable_tail = self._make_tails()
        self._placement = Placement(
            GatewayState(self._redis),
            partition=lambda room: self._partitioner.partition(self._hub.realtime_topics[0], room),
        )
        mutes = Mutes()
        self._operators = OperatorCommands(
            CommandState(self._redis), gateway=self.boot, mutes=mutes, kick=self._players.kick, drain=self.stop
        )
        self._server = Server(
            settings=settings.gateway,
            auth=settings.auth,
            catalog=catalog,
            verify=verify,
            bus=Bus(
                hub=self._hub,
                realtime=self._realtime
                if self._tracing is None
                else TracedRealtimePublisher(self._realtime, self._tracing),
                durable=self._durable
                if self._tracing is None
                else TracedDurablePublisher(self._durable, self._tracing),
                players=self._players,
                event_type=lambda name: self._catalog.types[name],
                mutes=mutes,
            ),
            place=self._placement.place,
            reuse_port=reuse_port,
        )
        self._collector = StatisticsCollector()
        self._ops = self._make_ops()
        self._directory = Directory(DirectoryState(self._redis), gateway=self.boot, census=self._hub.census)
        self._vitals = VitalsReporter(
            self._redis, id_=self.boot, role="gateway", ops=self._ops.url, collector=self._collector
        )

    def stop(self) -> None:
        """Make :meth:`run` shut down in order; a start that is under way is given up."""
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    async def run(self, ready: Ready | None = None) -> None:
        """Start, serve until :meth:`stop`, shut down.

        Raises:
            ConfigurationError: topics or brokers are not as they must be; the message says what to do.
        """
        self._starting = asyncio.current_task()
        try:
            counts = await self._check_topics(self._catalog)
            await self._realtime.start()
            await self._durable.start()
            # A catalog that is prepared has topics that take nothing yet.
            await self._durable.follow(_published(self._catalog), known=_durable_topics(self._catalog))
            await self._serve(counts, ready)
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            log.info("gateway.start_given_up")
        finally:
            self._server.close()
            await self._realtime.stop()
            await self._durable.stop(deadline_s=_DURABLE_DEADLINE_S)
            await self._redis.close()
            if self._tracing is not None:
                await self._tracing.close()
        log.info("gateway.stopped", boot=self.boot)

    async def _serve(self, counts: Mapping[str, int], ready: Ready | None) -> None:
        try:
            await self._serve_until_stopped(counts, ready)
        except* ConfigurationError as group:
            raise first_error(group) from None

    async def _serve_until_stopped(self, counts: Mapping[str, int], ready: Ready | None) -> None:
        realtime_tail, durable_tail = self._realtime_tail, self._durable_tail
        async with asyncio.TaskGroup() as tasks:
            ops = tasks.create_task(self._ops.run(), name="ops")
            background = [
                tasks.create_task(_for_ever(name, component.run()), name=name)
                for name, component in (
                    ("realtime-tail", realtime_tail),
                    ("durable-tail", durable_tail),
                    ("hub", self._hub),
                    ("players", self._players),
                    ("server", self._server),
                    ("reporter", self._reporter),
                    ("directory", self._directory),
                    ("vitals", self._vitals),
                    ("operators", self._operators),
                )
            ]
            for publisher in (self._realtime, self._durable):
                tasks.create_task(publisher.watch(), name="publisher")
            await realtime_tail.caught_up.wait()
            await durable_tail.caught_up.wait()
            self._hub.go_live(_positions(durable_tail, self._hub.durable_topics, counts))
            # Before the log is read: a migrator then waits for this gateway, or this gateway reads what the migrator wrote.
            await self._reporter.announced.wait()
            following = tasks.create_task(self._follower.run(), name="generations")
            await self._follower.current.wait()
            url = await self._server.listen()
            self._vitals.url = advertised_url(self._settings.gateway, url)
            tasks.create_task(self._placement.run(self._vitals.url), name="placement")
            self._starting = None
            log.info("gateway.ready", url=url, ops=self._ops.url, boot=self.boot)
            if ready is not None:
                ready(Addresses(gateway=url, ops=self._ops.url, boot=self.boot))
            await self._stop.wait()
            following.cancel()
            # Clients that are sent away now are placed elsewhere.
            self._placement.stop()
            await self._shut_down()
            for task in background:
                task.cancel()
            await self._directory.forget()
            await self._vitals.forget()
            self._ops.stop()
            await ops

    async def _shut_down(self) -> None:
        await self._server.drain()
        await self._realtime.stop()
        realtime = self._realtime.statistics()
        log.info("realtime.flushed", attempted=realtime.attempted, written=realtime.written, dropped=realtime.dropped)
        log.info("report.finished", acknowledged=await self._reporter.finish(deadline_s=_REPORT_DEADLINE_S))
        await self._durable.stop(deadline_s=_DURABLE_DEADLINE_S)
        durable = self._durable.statistics()
        log.info("durable.flushed", acked=durable.acked, failed=durable.failed, unknown=durable.unknown)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PRESENCE_DEADLINE_S):
                await self._hub.flush()

    async def _check_topics(self, catalog: Catalog) -> Mapping[str, int]:
        """Partition counts of the catalog's topics, which the brokers must have as the catalog says.

        Raises:
            ConfigurationError: they do not.
        """
        counts = await partition_counts(self._settings.kafka.bootstrap_servers, catalog.topics)
        for name, count in counts.items():
            expected = catalog.topics[name].partitions
            if count != expected:
                raise TopicError(
                    f"topic {name} has {count} partitions, the catalog says {expected}: rooms would be looked for in the "
                    f'wrong one; set partitions = {count} in [topics."{name}"] of the catalog'
                )
        return counts

    async def _bring_to(self, catalog: Catalog) -> None:
        """Go on with another generation of the catalog.

        Readers first, so that nothing is written that nobody here reads; the switch itself lies between two awaits, so that a
        connection's events of one type go to one topic and then to the other.

        Raises:
            ConfigurationError: Kafka does not answer, or does not have the topics.
        """
        counts = await self._check_topics(catalog)
        # Rooms that are remembered may still ask for the partition of a topic that is gone.
        self._partitions.update(counts)
        self._partitioner.follow(self._partitions)
        self._hub.follow(catalog)
        self._durable_tail.cover({topic: counts[topic] for topic in self._hub.durable_topics})
        await self._durable.prepare({topic: counts[topic] for topic in _durable_topics(catalog)})
        await self._realtime.prepare(catalog)
        self._catalog = catalog
        self._realtime.follow(catalog)
        self._server.follow(catalog)
        await self._durable.follow(_published(catalog), known=_durable_topics(catalog))

    def _decided_generation(self) -> int:
        """The last generation before which nothing that was taken is undecided."""
        catalog = self._catalog
        if all(
            self._realtime.decided(place.topic) and self._durable.decided(place.topic)
            for place in catalog.also.values()
        ):
            self._reported_generation = catalog.generation
        return self._reported_generation

    def _make_tails(self) -> tuple[Tail, Tail]:
        topics = self._catalog.topics
        servers = self._settings.kafka.bootstrap_servers
        realtime = Tail(
            bootstrap_servers=servers,
            partitions={topic: topics[topic].partitions for topic in self._hub.realtime_topics},
            on_records=self._hub.on_realtime,
            # As far back as a position may be on its way to Redis, where the hub looks up what was before.
            follow_back_ms=self._settings.realtime.max_age_ms,
            fetch_min_bytes=_REALTIME_FETCH_BYTES,
            fetch_max_wait_ms=_REALTIME_FETCH_WAIT_MS,
            client_id=f"gamebus-tail-realtime-{self.boot}",
        )
        durable = Tail(
            bootstrap_servers=servers,
            partitions={topic: topics[topic].partitions for topic in self._hub.durable_topics},
            on_records=self._hub.on_durable,
            start_back_ms=self._settings.gateway.history_ms,
            client_id=f"gamebus-tail-durable-{self.boot}",
        )
        # Until somebody joins a room.
        realtime.follow(())
        return realtime, durable

    def _follow(self, partitions: Collection[Partition]) -> None:
        self._realtime_tail.follow(partitions)

    def _make_ops(self) -> OpsServer:
        self._collector.add("tail", self._realtime_tail.statistics, delivery=str(DeliveryClass.AT_MOST_ONCE))
        self._collector.add("tail", self._durable_tail.statistics, delivery=str(DeliveryClass.AT_LEAST_ONCE))
        self._collector.add("gateway", self._server.statistics)
        self._collector.add("hub", self._hub.statistics)
        self._collector.add("realtime_publisher", self._realtime.statistics)
        self._collector.add("durable_publisher", self._durable.statistics)
        self._collector.add("redis", self._redis.statistics)
        settings = self._settings.gateway
        try:
            return OpsServer(
                host=settings.host, port=settings.ops_port, collector=self._collector, readiness=self._readiness
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.host}:{settings.ops_port}: {error.strerror or error}; set "
                "GAMEBUS_GATEWAY__OPS_PORT (0 takes a free port)"
            ) from error

    def _readiness(self) -> Mapping[str, bool]:
        realtime = self._realtime.statistics()
        return {"accepting": self._server.accepting, "kafka": realtime.connected == realtime.brokers > 0}


async def _for_ever(name: str, running: Awaitable[None]) -> None:
    """Await what a gateway cannot be without until this is cancelled; its end is an error, however it comes."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await running
    except asyncio.CancelledError:
        if task.cancelling():
            raise
    raise RuntimeError(f"{name} has ended, and the gateway cannot go on without it")


def _published(catalog: Catalog) -> set[str]:
    """Topics that the durable publisher takes records for."""
    return {event_type.topic for event_type in catalog.types.values() if event_type.durable} | {catalog.reports_topic}


def _durable_topics(catalog: Catalog) -> list[str]:
    """The same, and those that are or were written before or after a migration."""
    return [topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)] + [catalog.reports_topic]


def _positions(tail: Tail, topics: tuple[str, ...], counts: Mapping[str, int]) -> dict[tuple[str, int], int]:
    positions: dict[tuple[str, int], int] = {}
    for topic in topics:
        for partition in range(counts[topic]):
            position = tail.position(topic, partition)
            assert position is not None, "the tail has caught up"
            positions[topic, partition] = position
    return positions
