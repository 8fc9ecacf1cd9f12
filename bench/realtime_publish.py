"""Publishing at most once: our publisher against aiokafka's and confluent-kafka's producers (acks=0), on the same broker.

Every contestant is a process of its own that publishes keyed records of about 60 bytes to a topic of 12 partitions, flat out or at a steady
rate, and measures its own CPU time (all threads). Afterwards the topic is read: only records found there count, and none may be there twice.

Not the same work: the rivals send values made beforehand; ours encodes an event, numbers it, and accounts for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Producer

from bench import report
from bench.servers import catalog_of, contestant, create, end_offsets, new_prefix, run_contestant, servers
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.record import decode_realtime
from gamebus.settings import RealtimeProducerSettings

ROOMS: Final = [f"room-{number}" for number in range(100)]
KEYS: Final = [room.encode() for room in ROOMS]
_VALUE: Final = b"." * 52
_FLAT_OUT: Final = 200_000
_PACED_PER_S: Final = 10_000
_PACED: Final = 30_000
_WARM_UP: Final = 5_000
_SLICE: Final = 100
_PAUSE_ABOVE_BYTES: Final = 4_000_000

Drain = Callable[[], Awaitable[None]]


def numbers(count: int, rate: int) -> Iterator[tuple[range, float]]:
    """Slices of the record numbers, with the time at which each is planned, in seconds from the start; 0: at once."""
    for first in range(0, count, _SLICE):
        yield range(first, min(first + _SLICE, count)), first / rate if rate else 0.0


async def paced(count: int, rate: int, send: Callable[[range], Awaitable[None]]) -> None:
    """Send all slices when they are due, giving the event loop a turn after each."""
    start = time.monotonic()
    for part, due in numbers(count, rate):
        wait = start + due - time.monotonic()
        await asyncio.sleep(max(0.0, wait))
        await send(part)


async def ours(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """The publisher of a gateway."""
    publisher = RealtimePublisher(
        bootstrap_servers=bootstrap_servers,
        catalog=catalog_of(prefix, "position"),
        settings=RealtimeProducerSettings(),
        boot="b1",
    )
    await publisher.start()

    async def send(part: range) -> None:
        # Statistics have no event.
        while not rate and publisher.statistics().buffered_bytes > _PAUSE_ABOVE_BYTES:  # noqa: ASYNC110
            await asyncio.sleep(0.0005)  # flat out is as fast as the broker takes it
        for number in part:
            now_ms = time.time_ns() // 1_000_000
            publisher.publish("position", ROOMS[number % 100], "ann", now_ms, [number, 1.5, 2.5, 3.5])

    async def drain() -> None:
        await publisher.stop(deadline_s=30.0)

    await measured(send, drain, count, rate)


async def aiokafka(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """`AIOKafkaProducer.send`, settings as ours."""
    topic = f"{prefix}position"
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks=0, linger_ms=5, max_batch_size=32_768)
    await producer.start()

    async def send(part: range) -> None:
        for number in part:
            await producer.send(topic, number.to_bytes(8) + _VALUE, KEYS[number % 100])

    await measured(send, producer.stop, count, rate)


async def confluent(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """`Producer.produce` of librdkafka, settings as ours."""
    topic = f"{prefix}position"
    settings: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "acks": 0, "retries": 0, "linger.ms": 5}
    producer = Producer(settings | {"batch.size": 32_768})

    async def send(part: range) -> None:
        for number in part:
            while True:
                try:
                    producer.produce(topic, number.to_bytes(8) + _VALUE, KEYS[number % 100])
                    break
                except BufferError:
                    await asyncio.to_thread(producer.poll, 0.01)
        producer.poll(0)

    async def drain() -> None:
        await asyncio.to_thread(producer.flush, 60)

    await measured(send, drain, count, rate)


async def measured(send: Callable[[range], Awaitable[None]], drain: Drain, count: int, rate: int) -> None:
    """Warm up, then publish and print what it cost. Numbers of warm-up records come after the others."""
    await send(range(count, count + _WARM_UP))
    await asyncio.sleep(0.5)
    cpu, began = time.process_time(), time.monotonic()
    await paced(count, rate, send)
    await drain()
    cpu_s, seconds = time.process_time() - cpu, time.monotonic() - began
    # What the schedule itself costs, which is the same for all.
    cpu = time.process_time()
    await paced(count, rate, _nothing)
    print(json.dumps({"cpu_s": cpu_s - (time.process_time() - cpu), "seconds": seconds}))


async def _nothing(_part: range) -> None:
    pass


async def delivered(bootstrap_servers: str, prefix: str, count: int) -> tuple[int, int]:
    """Records of the measured part that are in the topic, and how many of them are there more than once."""
    topic = f"{prefix}position"
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    seen = bytearray(count + _WARM_UP)
    doubled = 0
    try:
        partitions = [TopicPartition(topic, index) for index in range(12)]
        consumer.assign(partitions)
        left = sum((await end_offsets(bootstrap_servers, {topic: 12})).values())
        while left:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                left -= len(records)
                for record in records:
                    value = record.value or b""
                    number = int.from_bytes(value[:8]) if len(value) == 60 else decode_realtime(value).data[0]
                    doubled += seen[number]
                    seen[number] = 1
    finally:
        await consumer.stop()
    return sum(seen[:count]), doubled


CONTESTANTS: Final = {"ours": ours, "aiokafka": aiokafka, "confluent-kafka": confluent}


def run(bootstrap_servers: str, name: str, count: int, rate: int) -> dict[str, float]:
    """One round of one contestant, on a topic of its own."""
    prefix = new_prefix()
    asyncio.run(create(bootstrap_servers, catalog_of(prefix, "position")))
    cost = contestant("bench.realtime_publish", name, bootstrap_servers, prefix, str(count), str(rate))
    arrived, doubled = uvloop.run(delivered(bootstrap_servers, prefix, count))
    if doubled:
        raise RuntimeError(f"{name}: {doubled} records are in the topic more than once")
    return {
        "per_cpu_s": arrived / cost["cpu_s"],
        "per_s": arrived / cost["seconds"],
        "delivered": arrived / count,
    }


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    rows = []
    with servers() as addresses:
        for case, count, rate in (("flat out", _FLAT_OUT, 0), (f"{_PACED_PER_S:,}/s", _PACED, _PACED_PER_S)):
            found = report.interleaved(
                {name: partial(run, addresses.kafka, name, count, rate) for name in CONTESTANTS},
                rounds=given.rounds,
                warm_up_rounds=0,
            )
            mine = found["ours"]
            for rival, target in (("aiokafka", 4.0), ("confluent-kafka", 0.8)):
                theirs = found[rival]
                rows.append(
                    report.compare(case, "records/CPU s", mine["per_cpu_s"], theirs["per_cpu_s"], rival, target=target)
                )
                if not rate:
                    rows.append(report.compare(case, "records/s", mine["per_s"], theirs["per_s"], rival))
                rows.append(report.compare(case, "delivered", mine["delivered"], theirs["delivered"], rival))
    report.publish("realtime_publish", rows, given.json)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CONTESTANTS:
        run_contestant(CONTESTANTS[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    else:
        main()
