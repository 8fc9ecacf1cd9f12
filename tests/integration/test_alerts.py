"""Alerts on a real fleet: each fires because something is really broken, and is over once that is mended.

One story for all of them, in a fleet of its own: what needs time to be told is broken side by side, and every test waits for its alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gamebus.alerts.rules import ALERTS
from gamebus.catalog import Catalog, DeliveryClass, Role
from gamebus.catalog_file import parse_catalog
from gamebus.dashboard.alerts import AlertWatch
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.reports import Report, StreamReport, encode_report
from gamebus.delivery.topics import create_topics
from gamebus.localstack.process import ServerProcess
from gamebus.localstack.stack import Stack
from gamebus.record import DurableRecord, encode_durable, encode_realtime
from gamebus.settings import DurableProducerSettings, RedisSettings
from gamebus.state.connection import Connection
from gamebus.state.connection import connect as connect_redis
from gamebus.state.directory import DirectoryState
from gamebus.state.vitals import VitalsState
from gamebus.verify.proxy import Proxy
from tests.integration import durable_kit
from tests.integration.gateway_kit import MSGPACK, GatewayProcess, environment, player, token
from tests.redis_server import RedisServer, running_redis_server

pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S: Final = 180.0
CHATTERBOX: Final = "chatterbox"
PREFIX: Final = "alerts."


class Watch:
    """The alerts of a dashboard."""

    def __init__(self, connection: Connection) -> None:
        self.alerts = AlertWatch(connection)

    async def run(self, complete: asyncio.Event) -> None:
        """Judge the fleet from the time when it is complete."""
        await complete.wait()
        await self.alerts.run()

    def names(self, kind: str, *, since_ms: int = 0) -> set[str]:
        """Alerts that are `pending`, `firing`, or have been (`history`), of those that began by then."""
        return {row["name"] for row in self.alerts.page()[kind] if row["since_ms"] >= since_ms}

    async def tells(self, *names: str, since_ms: int = 0) -> None:
        """Return when all these alerts fire, or have begun to since then and are over.

        One that fires already may go on: on a busy machine a process that is about to be killed may have been silent before.
        """

        def told() -> set[str]:
            return self.names("firing") | self.names("history", since_ms=since_ms)

        await self._until(lambda: set(names) <= told(), names)

    async def over(self, name: str) -> None:
        """Return when an alert has fired and does not any more."""
        await self._until(lambda: name in self.names("history") and name not in self.names("firing"), (name,))

    def knows(self, name: str) -> bool:
        """Whether an alert has a figure to judge."""
        (alert,) = (alert for alert in ALERTS if alert.name == name)
        return bool(alert.values(self.alerts._fleet, time.monotonic()))

    async def _until(self, condition: Callable[[], bool], names: tuple[str, ...]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - a page has no event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{names}: firing {self.names('firing')}, over {self.names('history')}") from None


@dataclass
class Fleet:
    """A gateway that is played on, one that is idle, and a processor for each class."""

    kafka: str
    catalog: Catalog
    broker: ServerProcess
    link: Proxy
    """Between the broker and who was told its address."""

    redis: RedisServer
    connection: Connection
    durable: DurablePublisher
    settings: dict[str, str]
    folder: Path
    watch: Watch
    processes: list[GatewayProcess]
    complete: asyncio.Event
    """Set when everything runs: from then on it is watched."""

    async def start(self, *command: str, **settings: str) -> GatewayProcess:
        """A process that serves."""
        process = GatewayProcess(self.settings | settings, self.folder, command=command)
        self.processes.append(process)
        await asyncio.to_thread(process.wait_until_ready)
        return process

    async def start_beyond_link(self, *command: str, **settings: str) -> GatewayProcess:
        """A process that reaches the broker by the link."""
        return await self.start(*command, GAMEBUS_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{self.link.port}", **settings)

    async def publish(self, room: str, *ids: str, text: str = "hi") -> None:
        """Chat that was acknowledged."""
        records = (DurableRecord("chat", room, "ann", 5, "ann", id_, {"text": text}) for id_ in ids)
        topic = self.catalog.types["chat"].topic
        await asyncio.gather(
            *(self.durable.publish(topic, room.encode(), encode_durable(record)) for record in records)
        )


# -- faults ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def played(url: str) -> AsyncIterator[None]:
    """Six players who move and talk, until the block ends or their gateway does."""

    async def play(name: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            async with player(url, name, room="arena", subprotocol=MSGPACK) as client:
                number = 0
                while True:
                    number += 5
                    moves = [["position", "arena", [number + step, 0.0, 0.0, 0.0]] for step in range(5)]
                    await client.send("batch", moves)
                    if number % 50 == 0:
                        await client.send("pub", "chat", "arena", {"text": "hi"}, f"{name}-{number}")
                    client.received.clear()
                    await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        players = [tasks.create_task(play(f"p{number}")) for number in range(6)]
        yield
        for task in players:
            task.cancel()


async def flood(fleet: Fleet, url: str) -> None:
    """One client sends far more than its rate allows, and is found by name."""
    async with player(url, CHATTERBOX, room="arena") as client:

        async def found() -> bool:
            for number in range(20):
                await client.send("ping", number)
            await asyncio.sleep(0.1)
            gateways = [vitals.id for vitals in await VitalsState(fleet.connection).read() if vitals.role == "gateway"]
            entries = await DirectoryState(fleet.connection).player(gateways, CHATTERBOX)
            return any(entry.rate_limited > 100 for entry in entries.values()) and "ClientsRateLimited" in (
                fleet.watch.names("firing")
            )

        await durable_kit.eventually(found)


async def offend(fleet: Fleet, url: str) -> None:
    """One client sends what its gateway refuses."""
    async with player(url, "stranger") as client:
        numbers = iter(range(1_000_000))
        while "ClientsRefused" not in fleet.watch.names("firing"):
            for _ in range(5):
                await client.send("pub", "chat", "nowhere", {"text": "hi"}, f"id-{next(numbers)}")
            await asyncio.sleep(0.1)


async def hang(fleet: Fleet, url: str) -> None:
    """One client joins a room and never reads again."""
    host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect((host, int(port)))
        small.setblocking(False)
        async with connect(
            url, sock=small, subprotocols=[MSGPACK], compression=None, ping_interval=None, max_queue=1
        ) as websocket:
            await _say(websocket, "hello", token("sleeper", Role.SPECTATOR))
            await _say(websocket, "join", "crowded")
            await websocket.recv()
            await websocket.recv()
            number = 0
            while "SlowReaders" not in fleet.watch.names("firing"):
                await fleet.publish("crowded", *(f"c{number + step}" for step in range(200)), text="\N{FIRE}" * 500)
                number += 200
            websocket.transport.abort()


async def _say(websocket: Any, *message: Any) -> None:
    await websocket.send(msgpack.packb(message))


async def starve(fleet: Fleet, gateway: GatewayProcess) -> None:
    """A process is given no CPU for a moment, again and again."""
    while "EventLoopBlocked" not in fleet.watch.names("firing"):
        gateway.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        gateway.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(3.0)


async def falsify(fleet: Fleet) -> None:
    """A record that stands twice in its stream."""
    topic, reports = fleet.catalog.types["position"].topic, fleet.catalog.reports_topic
    now_ms = _now_ms()
    async with durable_kit.publishing(fleet.kafka, [topic, reports]) as publisher:
        for sequence in (1, 2, 2):
            value = encode_realtime("position", "nobody", "eve", now_ms, "forged", sequence, [sequence, 0.0, 0.0, 0.0])
            written = await publisher.publish(topic, b"nobody", value)
        stream = StreamReport("forged", topic, written.partition, 2, {})
        report = encode_report(Report("forged", now_ms, now_ms, final=False, streams=(stream,)))
        await publisher.publish(reports, b"forged", report)
    await fleet.watch.tells("RealtimeDuplicates")


async def poison(fleet: Fleet) -> None:
    """A record that no handler takes."""
    topic = fleet.catalog.types["chat"].topic
    await fleet.durable.publish(topic, b"arena", b"no record")
    await fleet.watch.tells("DeadLetters")


async def come_and_go(fleet: Fleet, kind: str, delivery: DeliveryClass) -> None:
    """A member that joins the group of the processors of a class, and leaves it, again and again."""
    topics = [topic.name for topic in fleet.catalog.event_topics(delivery)]
    while f"{kind}RebalanceStorm" not in fleet.watch.names("firing"):
        member = AIOKafkaConsumer(
            *topics, bootstrap_servers=fleet.kafka, group_id=f"{PREFIX}{kind.lower()}", enable_auto_commit=False
        )
        await member.start()
        async with asyncio.timeout(PATIENCE_S):
            while not member.assignment():  # noqa: ASYNC110 - a consumer has no event for it
                await asyncio.sleep(0.02)
        await member.stop()


@contextlib.asynccontextmanager
async def crowded(url: str) -> AsyncIterator[None]:
    """Two dozen players who move in three rooms each, all at times of their own: hundreds of positions a second that share no batch."""

    async def play(name: str, after_s: float) -> None:
        async with player(url, name, subprotocol=MSGPACK) as client:
            rooms = [f"{name}-{number}" for number in range(3)]
            for room in rooms:
                await client.join(room)
            await asyncio.sleep(after_s)
            began, steps = time.monotonic(), 0
            while True:
                steps += 1
                await client.send("batch", [["position", room, [steps, 0.0, 0.0, 0.0]] for room in rooms])
                client.received.clear()
                await asyncio.sleep(began + steps * 0.055 - time.monotonic())

    async with asyncio.TaskGroup() as tasks:
        players = [tasks.create_task(play(f"c{number}", number * 0.0023)) for number in range(24)]
        yield
        for task in players:
            task.cancel()


async def fall_behind(fleet: Fleet, hasty: GatewayProcess) -> None:
    """Brokers answer processors late, while more is sent than one commit after the other lets through, and Redis refuses chat of a room."""
    keys = fleet.connection.keys
    broken = keys.room("stuck", "applied")
    await durable_kit.until(lambda: fleet.watch.knows("RealtimeLagGrowing") and fleet.watch.knows("DurableLagGrowing"))
    await fleet.connection.execute("SET", broken, "not a hash")
    await fleet.publish("stuck", *(f"s{number}" for number in range(900)))
    # Not before: it would be long until a group that was just rebalanced knows its lag.
    await durable_kit.until(lambda: "DurableLagGrowing" in fleet.watch.names("pending"))
    fleet.link.slow(latency_ms=400)
    async with crowded(hasty.url):
        await fleet.watch.tells("RealtimeCommitSlow", "DurableCommitSlow", "ConsumedBelowSent")
        await fleet.watch.tells("RealtimeLagGrowing", "DurableLagGrowing", "BatchesSmall")
    await fleet.link.restore()
    await fleet.connection.execute("DEL", broken)


async def skip_to_end(fleet: Fleet) -> None:
    """An operator resets a group to the end of its topics, and with the offsets goes the account of who published what."""
    async with AIOKafkaConsumer(
        bootstrap_servers=fleet.kafka, group_id=f"{PREFIX}realtime", enable_auto_commit=False
    ) as operator:
        partitions = [
            TopicPartition(topic.name, number)
            for topic in fleet.catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
            for number in range(topic.partitions)
        ]
        operator.assign(partitions)
        await operator.commit(await operator.end_offsets(partitions))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def kill_broker(fleet: Fleet) -> None:
    """The only broker dies, and comes back."""
    fleet.broker.kill()
    await fleet.watch.tells(
        "BrokerUnreachable",
        "RealtimeSendsFell",
        "RealtimeErrorRate",
        "DurableErrorRate",
        "BufferNearlyFull",
    )
    await asyncio.to_thread(fleet.broker.restart)


async def story(fleet: Fleet) -> None:
    """Everything that goes wrong, and its repair."""
    watch = fleet.watch
    busy = await fleet.start("gateway", "--port", "0")
    idle = await fleet.start("gateway", "--port", "0", GAMEBUS_REALTIME__LINGER_MS="0")
    realtime = await fleet.start_beyond_link("processor", "realtime", GAMEBUS_CONSUMER__MAX_POLL_RECORDS="100")
    durable = await fleet.start_beyond_link("processor", "durable")
    fleet.complete.set()
    async with played(busy.url):
        async with asyncio.TaskGroup() as slow_faults:
            slow_faults.create_task(starve(fleet, idle))
            async with asyncio.TaskGroup() as faults:
                for fault in (flood, offend, hang):
                    faults.create_task(fault(fleet, busy.url))
                faults.create_task(falsify(fleet))
                faults.create_task(poison(fleet))
            await kill_broker(fleet)
        async with asyncio.TaskGroup() as storms:
            for kind, delivery in (
                ("Realtime", DeliveryClass.AT_MOST_ONCE),
                ("Durable", DeliveryClass.AT_LEAST_ONCE),
            ):
                storms.create_task(come_and_go(fleet, kind, delivery))
        # Of the broker's death. Before more is lost, and not beside the storms: accounts and lag are told by who has the partition.
        await watch.tells("RealtimeLoss")
        await fall_behind(fleet, idle)
        await asyncio.to_thread(realtime.stop)
        await skip_to_end(fleet)
        realtime = await fleet.start("processor", "realtime")
        await watch.tells("RealtimeUnknown")
    since_ms = _now_ms()
    idle.process.kill()
    await asyncio.gather(*(asyncio.to_thread(process.stop) for process in (busy, realtime, durable)))
    await watch.tells("ProcessSilent", "NoGateway", "NoRealtimeProcessor", "NoDurableProcessor", since_ms=since_ms)
    for command in (("gateway", "--port", "0"), ("gateway", "--port", "0"), ("processor", "all")):
        await fleet.start(*command)
    since_ms = _now_ms()
    fleet.redis.pause()
    await watch.tells("RedisFailing", since_ms=since_ms)
    fleet.redis.resume()


# -- fixtures -------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(
    _fault_stack: Stack, fault_link_port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Fleet, asyncio.Task[None]]]:
    """A fleet, and its story as it goes on."""
    kafka, broker = durable_kit.kafka_of(_fault_stack)
    addresses = _fault_stack.addresses()
    assert addresses is not None
    link = Proxy(port=fault_link_port, target_port=addresses.proxied[0])
    link.start()
    catalog = parse_catalog(topic_prefix=PREFIX)
    await create_topics(kafka, catalog)
    with running_redis_server() as redis:
        settings = environment(kafka=kafka, redis=redis.url, prefix=PREFIX, outbox_bytes=4096, history_ms=1000) | {
            "GAMEBUS_KAFKA__GROUP_PREFIX": PREFIX,
            "GAMEBUS_CONSUMER__SESSION_TIMEOUT_MS": "3000",
            "GAMEBUS_REALTIME__BUFFER_BYTES": "65536",
            "GAMEBUS_REALTIME__MAX_AGE_MS": "60000",
            "GAMEBUS_DURABLE__REQUEST_TIMEOUT_MS": "1000",
            "GAMEBUS_DURABLE__DELIVERY_TIMEOUT_MS": "1500",
            "GAMEBUS_REDIS__TIMEOUT_S": "1",
        }
        connection = connect_redis(RedisSettings(url=redis.url, key_prefix=f"{PREFIX}:", timeout_s=1))
        topics = [topic.name for topic in catalog.topics.values()]
        durable = DurablePublisher(bootstrap_servers=kafka, settings=DurableProducerSettings(), topics=topics)
        await durable.start()
        watch = Watch(connection)
        fleet = Fleet(
            kafka,
            catalog,
            broker,
            link,
            redis,
            connection,
            durable,
            settings,
            folder=tmp_path_factory.mktemp("fleet"),
            watch=watch,
            processes=[],
            complete=asyncio.Event(),
        )
        watching = asyncio.create_task(watch.run(fleet.complete))
        telling = asyncio.create_task(story(fleet))
        try:
            yield fleet, telling
        finally:
            telling.cancel()
            watching.cancel()
            await asyncio.wait((telling, watching))
            redis.resume()
            for process in fleet.processes:
                process.process.kill()
                process.close()
            await link.close()
            await durable.stop(deadline_s=1.0)
            await connection.close()
            if not broker.status().running:
                broker.restart()


# -- tests ----------------------------------------------------------------------------------------------------------


class TestAlerts:
    @pytest.mark.parametrize("name", sorted(alert.name for alert in ALERTS))
    async def test_it_fires_by_a_real_fault_and_is_over_when_that_is_mended(
        self, told: tuple[Fleet, asyncio.Task[None]], name: str
    ) -> None:
        """Every alert that a fault of minutes can raise: it is on the board of a dashboard, and goes into its history."""
        fleet, telling = told
        over = asyncio.ensure_future(fleet.watch.over(name))
        await asyncio.wait((over, telling), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
        await over
