"""Consuming: both consumers with a handler that does nothing, against a bare `AIOKafkaConsumer.getmany` loop, on the same records.

Every contestant is a process of its own that reads the same topic of 12 partitions from the beginning in a group of its own and measures its
own CPU time over the last 80 % of the records. Ours decode each record, account for it, keep the order of rooms and commit as their class
promises; the bare loop looks at nothing and commits nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgpack
import uvloop
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition

from bench import report
from bench.realtime_publish import KEYS, ROOMS
from bench.servers import catalog_of, contestant, create, new_prefix, run_contestant, servers
from gamebus.delivery.dead_letters import DeadLetters
from gamebus.delivery.durable_consumer import DurableConsumer
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.record import DurableRecord, encode_durable
from gamebus.settings import ConsumerSettings, DurableProducerSettings, RealtimeProducerSettings

_RECORDS: Final = 200_000
_WARM_UP: Final = _RECORDS // 5
_PARTITIONS: Final = 12
_HOUR_MS: Final = 3_600_000


class Meter:
    """CPU time from the end of the warm-up to the last record."""

    def __init__(self) -> None:
        self.finished = asyncio.Event()
        self._left = _RECORDS
        self._cpu: float | None = None
        self._counted = 0

    def count(self, records: int) -> None:
        """So many records were handled."""
        self._left -= records
        if self.finished.is_set():
            raise RuntimeError(f"{-self._left} records more than there are")
        if self._cpu is not None:
            self._counted += records
        elif self._left <= _RECORDS - _WARM_UP:
            self._cpu = time.process_time()
        if self._left <= 0:
            assert self._cpu is not None
            print(json.dumps({"per_cpu_s": self._counted / (time.process_time() - self._cpu), "left": self._left}))
            self.finished.set()

    async def handle(self, *arguments: Any) -> None:
        """As a handler of either consumer: the records come last."""
        self.count(len(arguments[-1]))


class Marks:
    """Progress beside the effects, in memory: Redis is not what this measures."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int], int] = {}

    async def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """As they are."""
        return {partition: self._marks.get(partition) for partition in partitions}

    async def advance(self, marks: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int | None]:
        """As they were."""
        before = await self.load(list(marks))
        self._marks |= marks
        return before


async def getmany(bootstrap_servers: str, topic: str, *, decode: Callable[[bytes], Any] | None = None) -> None:
    """The bare loop; `decode`: looks at every value, as anybody must who does something with it."""
    meter = Meter()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        group_id=new_prefix(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    while not meter.finished.is_set():
        for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
            if decode is not None:
                for record in records:
                    decode(record.value or b"")
            meter.count(len(records))
    await consumer.stop()


async def realtime(bootstrap_servers: str, topic: str) -> None:
    """Commit, then process. Groups of this class begin at the end, so the beginning is committed beforehand."""
    group = new_prefix()
    await commit_beginning(bootstrap_servers, group, topic)
    meter = Meter()
    consumer = RealtimeConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        catalog=catalog_of(topic.removesuffix("position"), "position"),
        settings=ConsumerSettings(),
        handler=meter,
        max_age_ms=_HOUR_MS,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await meter.finished.wait()
        consumer.stop()


async def durable(bootstrap_servers: str, topic: str) -> None:
    """Process, then commit the watermark."""
    meter = Meter()
    catalog = catalog_of(topic.removesuffix("chat"), "chat")
    publisher = DurablePublisher(
        bootstrap_servers=bootstrap_servers, settings=DurableProducerSettings(), topics=[catalog.dead_letter_topic]
    )
    await publisher.start()
    consumer = DurableConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=new_prefix(),
        topics=[topic],
        handler=meter,
        dead_letters=DeadLetters(publisher, catalog.dead_letter_topic),
        marks=Marks(),
        settings=ConsumerSettings(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await meter.finished.wait()
        consumer.stop()
    await publisher.stop()


async def commit_beginning(bootstrap_servers: str, group: str, topic: str) -> None:
    """Commit offset 0 of every partition for a group that has no members."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(topic, index) for index in range(_PARTITIONS)]
    consumer.assign(partitions)
    await consumer.commit({tp: OffsetAndMetadata(0, "") for tp in partitions})
    await consumer.stop()


async def fill(bootstrap_servers: str, prefix: str) -> None:
    """The records of both classes, as a gateway writes them, spread over 100 rooms."""
    catalog = catalog_of(prefix, "position", "chat")
    await create(bootstrap_servers, catalog)
    positions = RealtimePublisher(
        bootstrap_servers=bootstrap_servers, catalog=catalog, settings=RealtimeProducerSettings(), boot="b1"
    )
    chats = DurablePublisher(
        bootstrap_servers=bootstrap_servers, settings=DurableProducerSettings(), topics=[f"{prefix}chat"]
    )
    await positions.start()
    await chats.start()
    for first in range(0, _RECORDS, 1000):
        now_ms = time.time_ns() // 1_000_000
        for number in range(first, first + 1000):
            dropped = positions.publish("position", ROOMS[number % 100], "ann", now_ms, [number, 1.5, 2.5, 3.5])
            assert dropped is None, dropped
        await asyncio.gather(*(chats.publish(f"{prefix}chat", *chat(number)) for number in range(first, first + 1000)))
    await positions.stop(deadline_s=30)
    await chats.stop()


def chat(number: int) -> tuple[bytes, bytes]:
    """Key and value of a chat line."""
    record = DurableRecord("chat", ROOMS[number % 100], "ann", 1, "ann", str(number), {"text": "hello there"})
    return KEYS[number % 100], encode_durable(record)


CONTESTANTS: Final[dict[str, Callable[[str, str], Coroutine[Any, Any, None]]]] = {
    "realtime": realtime,
    "durable": durable,
    "bare getmany": getmany,
    "getmany and unpackb": partial(getmany, decode=msgpack.unpackb),
}


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    rows = []
    with servers() as addresses:
        prefix = new_prefix()
        uvloop.run(fill(addresses.kafka, prefix))

        def run(name: str, topic: str) -> dict[str, float]:
            return {"per_cpu_s": contestant("bench.consume", name, addresses.kafka, f"{prefix}{topic}")["per_cpu_s"]}

        for ours, topic, target in (("realtime", "position", 0.7), ("durable", "chat", 0.5)):
            found = report.interleaved(
                {name: partial(run, name, topic) for name in (ours, "bare getmany", "getmany and unpackb")},
                rounds=given.rounds,
                warm_up_rounds=0,
            )
            for rival, wanted in (("bare getmany", target), ("getmany and unpackb", None)):
                mine, theirs = found[ours]["per_cpu_s"], found[rival]["per_cpu_s"]
                rows.append(report.compare(ours, "records/CPU s", mine, theirs, rival, target=wanted))
    report.publish("consume", rows, given.json)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CONTESTANTS:
        run_contestant(CONTESTANTS[sys.argv[1]](sys.argv[2], sys.argv[3]))
    else:
        main()
