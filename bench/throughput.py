"""Events through Kafka to a handler, flat out on all cores, beside Kafka's own ProducerPerformance and ConsumerPerformance.

A server of a studio publishes telemetry (`profile = "telemetry"`: acks=0, batches of up to 1 MB gathered for 100 ms) and a consumer of its
class hands every event to a handler, decoded, accounted for, committed before it is processed. Both Java tools have the same settings
(acks=0, 1 MB, 100 ms, no compression), and records of the same size, which they neither make nor look at. Producer, consumer and broker run
at the same time and share all cores of the machine; the consumer has its partitions before the first record is sent.

Events/s: all events, by the time from the first record (its timestamp in Kafka) to the last one in the handler. A round in which an event is
missing does not count: acks=0 loses nothing while nothing breaks.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench import report
from bench.servers import contestant, create, module, new_prefix, run_contestant, servers
from gamebus.catalog import Catalog
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.localstack.jars import find_java, kafka_jars
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.settings import ConsumerSettings, RealtimeProducerSettings

_EVENTS: Final = 1_000_000
_PARTITIONS: Final = 12
_ROOMS: Final = [f"room-{number}" for number in range(100)]
_SLICE: Final = 500
_PAUSE_ABOVE_BYTES: Final = 16_000_000
# Of an event below in Kafka.
_RECORD_BYTES: Final = 64
_MAX_AGE_MS: Final = 600_000
# What telemetry wants; the default of 500 is the choice for a game's positions.
_MAX_POLL_RECORDS: Final = 10_000
# A consumer of ours has one thread; the tool's fetches in others.
_CONSUMERS: Final = 2
_QUIET_S: Final = 2.0
_JAVA_TIME: Final = "%Y-%m-%d %H:%M:%S:%f"

_CATALOG: Final = """
[types.frame]
delivery = "at-most-once"
topic = "{topic}"
key = "room"
roles = ["server"]
profile = "telemetry"
rationale = "The next frame says the same."
"""


def catalog_for(topic: str) -> Catalog:
    """The built-in catalog and a type of telemetry."""
    return parse_catalog(_CATALOG.format(topic=topic), topic_prefix=topic)


async def publish(bootstrap_servers: str, topic: str) -> None:
    """The server that publishes."""
    settings = RealtimeProducerSettings(max_age_ms=60_000)
    publisher = RealtimePublisher(
        bootstrap_servers=bootstrap_servers, catalog=catalog_for(topic), settings=settings, boot="b1"
    )
    await publisher.start()
    cpu_s = time.process_time()
    for first in range(0, _EVENTS, _SLICE):
        await asyncio.sleep(0)
        while publisher.statistics().buffered_bytes > _PAUSE_ABOVE_BYTES:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
        now_ms = time.time_ns() // 1_000_000
        for number in range(first, first + _SLICE):
            publisher.publish("frame", _ROOMS[number % 100], "ann", now_ms, [number, 16.6, 1.5])
    await publisher.stop(deadline_s=60)
    statistics = publisher.statistics()
    cpu_s = time.process_time() - cpu_s
    print(json.dumps({"cpu_us": cpu_s / _EVENTS * 1e6, "dropped": _EVENTS - statistics.written}))


class Handler:
    """Counts, and knows when the last events came and what had been used by then."""

    def __init__(self) -> None:
        self.seen = 0
        self.last_at = time.time()
        self.cpu_s = 0.0

    async def handle(self, *arguments: Any) -> None:
        """Take records."""
        self.seen += len(arguments[-1])
        self.last_at, self.cpu_s = time.time(), time.process_time()


async def consume(bootstrap_servers: str, topic: str) -> None:
    """One of the consumers; says when it has its partitions, then what it had when nothing more came."""
    handler = Handler()
    catalog = catalog_for(topic)
    consumer = RealtimeConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=topic,
        catalog=catalog,
        settings=ConsumerSettings(max_poll_records=_MAX_POLL_RECORDS),
        handler=handler,
        max_age_ms=_MAX_AGE_MS,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await consumer.ready.wait()
        print("ready", flush=True)
        began_s = time.process_time()
        while not handler.seen or time.time() < handler.last_at + _QUIET_S:  # noqa: ASYNC110 - the end is that nothing comes
            await asyncio.sleep(0.1)
        consumer.stop()
    told = {"cpu_us": (handler.cpu_s - began_s) * 1e6, "ended": handler.last_at, "seen": handler.seen}
    print(json.dumps(told), flush=True)


def ours(addresses: StackAddresses, broker: psutil.Process) -> dict[str, float]:
    """One round of ours."""
    topic = f"{new_prefix()}frames"
    asyncio.run(create(addresses.kafka, catalog_for(topic)))
    with ExitStack() as stack:
        command = module("bench.throughput", "consume", addresses.kafka, topic)
        consumers = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(_CONSUMERS)
        ]
        outputs = [process.stdout for process in consumers if process.stdout is not None]
        if any(output.readline() != "ready\n" for output in outputs):
            raise RuntimeError("a consumer did not start")
        asyncio.run(assigned(addresses.kafka, topic, _CONSUMERS))
        before = cpu_us(broker)
        sent = contestant("bench.throughput", "publish", addresses.kafka, topic)
        told: list[dict[str, float]] = [json.loads(output.readline()) for output in outputs]
        after = cpu_us(broker)
    seen = sum(consumer["seen"] for consumer in told)
    if seen != _EVENTS:
        raise RuntimeError(f"the consumers got {seen} of {_EVENTS}")
    took_s = max(consumer["ended"] for consumer in told) - asyncio.run(first_at(addresses.kafka, topic))
    return figures(took_s, sent["cpu_us"], sum(consumer["cpu_us"] for consumer in told) / _EVENTS, after - before)


def java(addresses: StackAddresses, broker: psutil.Process) -> dict[str, float]:
    """One round of Kafka's own tools."""
    topic = f"{new_prefix()}frames"
    asyncio.run(create(addresses.kafka, catalog_for(topic)))
    consumer = tool("ConsumerPerformance", "--topic", topic, "--bootstrap-server", addresses.kafka, "--group", topic)
    consumer += ["--num-records", str(_EVENTS), "--timeout", "60000", "--hide-header"]
    producer = tool("ProducerPerformance", "--topic", topic, "--bootstrap-server", addresses.kafka)
    producer += ["--num-records", str(_EVENTS), "--throughput", "-1", "--record-size", str(_RECORD_BYTES)]
    producer += ["--command-property", "acks=0", "linger.ms=100", "batch.size=1048576", "enable.idempotence=false"]
    before = cpu_us(broker)
    with subprocess.Popen(consumer, stdout=subprocess.PIPE, text=True) as process:
        asyncio.run(assigned(addresses.kafka, topic, 1))
        with subprocess.Popen(producer, stdout=subprocess.DEVNULL) as sender:
            sent_us = cpu_us_until_end(sender)
        assert process.stdout is not None
        told = process.stdout.read()
        consumed_us = cpu_us_until_end(process)
    after = cpu_us(broker)
    _, ended, _, _, seen, *_ = next(csv.reader(told.splitlines()[-1:], skipinitialspace=True))
    if int(seen) < _EVENTS:
        raise RuntimeError(f"ConsumerPerformance got {seen} of {_EVENTS}: {told}")
    took_s = datetime.strptime(ended, _JAVA_TIME).astimezone().timestamp() - asyncio.run(
        first_at(addresses.kafka, topic)
    )
    return figures(took_s, sent_us / _EVENTS, consumed_us / _EVENTS, after - before)


def figures(took_s: float, producer_us: float, consumer_us: float, broker_us: float) -> dict[str, float]:
    """As the tables have them."""
    broker_us /= _EVENTS
    return {
        "events/s": _EVENTS / took_s,
        "producer us/event": producer_us,
        "broker us/event": broker_us,
        "consumer us/event": consumer_us,
        "cores for 1,000,000/s": producer_us + broker_us + consumer_us,
    }


def tool(name: str, *arguments: str) -> list[str]:
    """The command of one of Kafka's tools."""
    return [find_java().program, "-cp", f"{kafka_jars()}/*", f"org.apache.kafka.tools.{name}", *arguments]


def cpu_us(process: psutil.Process) -> float:
    """CPU time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system) * 1e6


def cpu_us_until_end(process: subprocess.Popen[Any]) -> float:
    """Wait for a process; the CPU time of its whole life, the start of a JVM included."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed")
    return (used.ru_utime + used.ru_stime) * 1e6


async def assigned(bootstrap_servers: str, group: str, members: int) -> None:
    """Wait until a group has so many members, and they have their partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while await state_of(admin, group) != ("Stable", members):  # noqa: ASYNC110 - a broker tells no one
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def state_of(admin: AIOKafkaAdminClient, group: str) -> tuple[str, int]:
    """State and number of members, as the group's coordinator has it."""
    answer: Any = (await admin.describe_consumer_groups([group]))[0]
    _, _, state, _, _, members, *_ = answer.groups[0]
    return str(state), len(members)


async def first_at(bootstrap_servers: str, topic: str) -> float:
    """Unix seconds of the oldest record."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, index) for index in range(_PARTITIONS)]
        consumer.assign(partitions)
        firsts = [(await consumer.getone(partition)).timestamp for partition in await filled(consumer, partitions)]
        return min(firsts) / 1000
    finally:
        await consumer.stop()


async def filled(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Those that hold records."""
    ends = await consumer.end_offsets(partitions)
    return [partition for partition in partitions if ends[partition]]


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    with servers() as addresses:
        pid = Stack(addresses.folder).process("kafka-1").pid
        assert pid is not None
        broker = psutil.Process(pid)
        runs = {"gamebus": partial(ours, addresses, broker), "Kafka's own tools": partial(java, addresses, broker)}
        found = report.interleaved(runs, rounds=given.rounds)
    mine, theirs = found["gamebus"], found["Kafka's own tools"]
    name = "ProducerPerformance + ConsumerPerformance"
    rows = [report.compare("telemetry", "events/s", mine["events/s"], theirs["events/s"], name, target=0.7)]
    rows += (
        report.compare("telemetry", figure, mine[figure], theirs[figure], name, lower_is_better=True)
        for figure in mine
        if figure != "events/s"
    )
    report.publish("throughput", rows, given.json, figures=found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        run_contestant(publish(*sys.argv[2:4]))
    elif sys.argv[1:2] == ["consume"]:
        run_contestant(consume(*sys.argv[2:4]))
    else:
        main()
