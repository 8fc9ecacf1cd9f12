"""Processing of kills: effects in Redis, each once; events for each CPU second of the processor.

=====  ==========================================================================================================
ours   the durable processor: order of rooms kept, events of a room in one script call, committed watermark and marks
bare   an `AIOKafkaConsumer` loop as a studio would write it: one Lua call for each event that checks and counts it,
       then a commit
=====  ==========================================================================================================

Both read the same topic of 12 partitions with the kills of 100 rooms from its beginning, in a process of their own, into the same Redis,
which is asked afterwards whether it has each kill once. CPU time is that of the process over the last 80 % of the kills; Redis' own stands
beside it, and the wall clock: both share the machine with Kafka and Redis.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgpack
import redis.asyncio
import uvloop
from aiokafka import AIOKafkaConsumer

from bench import report
from bench.servers import catalog_of, contestant, create, new_prefix, run_contestant, servers
from gamebus.catalog import Catalog
from gamebus.delivery.dead_letters import DeadLetters
from gamebus.delivery.durable_consumer import DurableConsumer, SourcedRecord
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.localstack.stack import StackAddresses
from gamebus.processors.durable_effects import DurableEffects
from gamebus.record import DurableRecord, encode_durable
from gamebus.settings import ConsumerSettings, DurableProducerSettings, RedisSettings
from gamebus.state.connection import connect
from gamebus.state.effects import EffectState
from gamebus.state.marks import MarkState

_EVENTS: Final = 40_000
_WARM_UP: Final = _EVENTS // 5
_ROOMS: Final = 100
_PLAYERS: Final = 10

# KEYS identities, scores, feed; ARGV identity, field, entry.
_APPLY_ONE: Final = """
if redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('LTRIM', KEYS[3], 0, 99)
return 1
"""


class Meter:
    """CPU and time from the end of the warm-up to the last event."""

    def __init__(self) -> None:
        self.finished = asyncio.Event()
        self._done = self._counted = 0
        self._cpu_s = self._start = 0.0

    def count(self, events: int) -> None:
        """So many events have had their effect."""
        self._done += events
        if self._start:
            self._counted += events
        elif self._done >= _WARM_UP:
            self._cpu_s, self._start = time.process_time(), time.monotonic()
        if self._done >= _EVENTS:
            cpu_s, took = time.process_time() - self._cpu_s, time.monotonic() - self._start
            print(json.dumps({"per_cpu_s": self._counted / cpu_s, "per_s": self._counted / took}), flush=True)
            self.finished.set()


class Metered:
    """The effects of the processor, counted."""

    def __init__(self, effects: DurableEffects, meter: Meter) -> None:
        self._effects = effects
        self._meter = meter

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        """Apply and count."""
        await self._effects.handle(room, records)
        self._meter.count(len(records))


def _catalog(prefix: str) -> Catalog:
    return catalog_of(prefix, "kill")


async def ours(kafka: str, redis_url: str, prefix: str, namespace: str) -> None:
    """The parts of the durable processor, put together as it does."""
    meter, catalog = Meter(), _catalog(prefix)
    connection = connect(RedisSettings(url=redis_url, key_prefix=f"{namespace}:"))
    state = EffectState(connection, catalog)
    publisher = DurablePublisher(
        bootstrap_servers=kafka, settings=DurableProducerSettings(), topics=[catalog.dead_letter_topic]
    )
    await publisher.start()
    consumer = DurableConsumer(
        bootstrap_servers=kafka,
        group_id=namespace,
        topics=[f"{prefix}combat"],
        handler=Metered(DurableEffects(state, catalog), meter),
        dead_letters=DeadLetters(publisher, catalog.dead_letter_topic),
        marks=MarkState(connection, on_moved=state.forget),
        settings=ConsumerSettings(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await meter.finished.wait()
        consumer.stop()
    await publisher.stop()
    await connection.close()


async def bare(kafka: str, redis_url: str, prefix: str, namespace: str) -> None:
    """Read, one script call for each event, commit."""
    meter = Meter()
    client = redis.asyncio.Redis.from_url(redis_url)
    apply_one = client.register_script(_APPLY_ONE)
    consumer = AIOKafkaConsumer(
        f"{prefix}combat",
        bootstrap_servers=kafka,
        group_id=namespace,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    while not meter.finished.is_set():
        for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
            for record in records:
                _, _, room, player, at_ms, publisher, event_id, data = msgpack.unpackb(record.value)
                keys = [f"{namespace}:{{{room}}}:{kind}" for kind in ("ids", "scores", "feed")]
                entry = msgpack.packb([player, at_ms, data])
                await apply_one(keys, [f"{publisher}/{event_id}", f"{data['killer']}/kills", entry, at_ms])
                meter.count(1)
        await consumer.commit()
    await consumer.stop()
    await client.aclose()


async def fill(kafka: str, prefix: str) -> None:
    """The kills."""
    catalog = _catalog(prefix)
    await create(kafka, catalog)
    publisher = DurablePublisher(
        bootstrap_servers=kafka, settings=DurableProducerSettings(), topics=[f"{prefix}combat"]
    )
    await publisher.start()
    now_ms = time.time_ns() // 1_000_000
    for first in range(0, _EVENTS, 1000):
        await asyncio.gather(
            *(publisher.publish(f"{prefix}combat", *kill(number, now_ms)) for number in range(first, first + 1000))
        )
    await publisher.stop()


def kill(number: int, now_ms: int) -> tuple[bytes, bytes]:
    """Key and value of a kill."""
    room = f"room-{number % _ROOMS}"
    killer, victim = (f"player-{(number // _ROOMS + shift) % _PLAYERS}" for shift in (0, 1))
    data = {"killer": killer, "victim": victim, "weapon": "rail gun", "at_ms": now_ms}
    record = DurableRecord("kill", room, killer, now_ms, "game-server", str(number), data)
    return room.encode(), encode_durable(record)


async def kills(redis_url: str, namespace: str) -> int:
    """How many kills the scores hold."""
    client = redis.asyncio.Redis.from_url(redis_url)
    total = 0
    async for key in client.scan_iter(f"{namespace}:*scores", count=1000):
        fields: dict[Any, Any] = await client.hgetall(key)
        total += sum(int(value) for field, value in fields.items() if field.endswith(b"/kills"))
    await client.aclose()
    return total


async def redis_cpu_s(redis_url: str) -> float:
    """CPU seconds that Redis has used."""
    client = redis.asyncio.Redis.from_url(redis_url)
    used: dict[str, Any] = await client.info("cpu")
    await client.aclose()
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


CONTESTANTS: Final = {"ours": ours, "bare": bare}


def run(addresses: StackAddresses, prefix: str, name: str) -> dict[str, float]:
    """One round of one contestant, in a group and a namespace of its own."""
    namespace = new_prefix().rstrip(".")
    before = asyncio.run(redis_cpu_s(addresses.redis))
    figures: dict[str, float] = contestant("bench.combat", name, addresses.kafka, addresses.redis, prefix, namespace)
    figures["redis us/event"] = (asyncio.run(redis_cpu_s(addresses.redis)) - before) / _EVENTS * 1e6
    counted = asyncio.run(kills(addresses.redis, namespace))
    if counted != _EVENTS:
        raise RuntimeError(f"{name}: Redis has {counted} kills of {_EVENTS}")
    return figures


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    with servers() as addresses:
        prefix = new_prefix()
        uvloop.run(fill(addresses.kafka, prefix))
        runs = {name: partial(run, addresses, prefix, name) for name in CONTESTANTS}
        found = report.interleaved(runs, rounds=given.rounds, warm_up_rounds=0)
    mine, theirs = found["ours"], found["bare"]
    name = "one Lua call an event"
    rows = [
        report.compare("kills", "events/CPU s", mine["per_cpu_s"], theirs["per_cpu_s"], name, target=3.0),
        report.compare("kills", "events/s", mine["per_s"], theirs["per_s"], name),
        report.compare(
            "kills", "Redis us/event", mine["redis us/event"], theirs["redis us/event"], name, lower_is_better=True
        ),
    ]
    report.publish("combat", rows, given.json)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CONTESTANTS:
        run_contestant(CONTESTANTS[sys.argv[1]](*sys.argv[2:6]))
    else:
        main()
