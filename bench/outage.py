"""A minute without Kafka: memory and the longest call of our publisher, against aiokafka's producer (acks=0), on the same broker.

The broker stands still (SIGSTOP) for a minute while 10,000 positions of 60 bytes are due per second. Ours drops what grows too old and
accounts for each of them; the rival's `send` makes its caller wait, so that a gateway would stand still with the broker.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bench import report
from bench.realtime_publish import KEYS, ROOMS
from bench.servers import catalog_of, contestant, create, new_prefix, run_contestant, servers
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.settings import RealtimeProducerSettings

_RATE: Final = 10_000
_SLICE: Final = 100
_BEFORE_S: Final = 5.0
_VALUE: Final = b"." * 52
_BUFFER_MB: Final = 64.0

Send = Callable[[int], Awaitable[None]]


async def ours(bootstrap_servers: str, prefix: str, broker: int, outage_s: float) -> None:
    """The publisher of a gateway, with its default settings."""
    settings = RealtimeProducerSettings()
    catalog = catalog_of(prefix, "position")
    publisher = RealtimePublisher(bootstrap_servers=bootstrap_servers, catalog=catalog, settings=settings, boot="b1")
    await publisher.start()

    async def send(number: int) -> None:
        publisher.publish("position", ROOMS[number % 100], "ann", time.time_ns() // 1_000_000, [number, 1.5, 2.5, 3.5])

    figures = await suffered(send, broker, outage_s)
    await publisher.stop()
    told = publisher.statistics()
    unaccounted = told.attempted - told.written - sum(told.dropped.values())
    print(json.dumps(figures | {"attempted": told.attempted, "unaccounted": unaccounted}))


async def aiokafka(bootstrap_servers: str, prefix: str, broker: int, outage_s: float) -> None:
    """`AIOKafkaProducer.send`, settings as ours."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks=0, linger_ms=5, max_batch_size=32_768)
    await producer.start()
    sent = 0

    async def send(number: int) -> None:
        nonlocal sent
        try:
            await producer.send(f"{prefix}position", number.to_bytes(8) + _VALUE, KEYS[number % 100])
        except KafkaError:
            return
        sent += 1

    figures = await suffered(send, broker, outage_s)
    await producer.stop()
    print(json.dumps(figures | {"attempted": sent}))


async def suffered(send: Send, broker: int, outage_s: float) -> dict[str, float]:
    """Play through the outage, and a little before and after; what it took at most."""
    await played(send, _BEFORE_S)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    os.kill(broker, signal.SIGSTOP)
    try:
        longest_s = await played(send, outage_s)
    finally:
        os.kill(broker, signal.SIGCONT)
    longest_s = max(longest_s, await played(send, _BEFORE_S))
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"grown_mb": (after_kb - before_kb) / 1024, "longest_call_ms": longest_s * 1000}


async def played(send: Send, seconds: float) -> float:
    """Send what is due for so long; seconds of the longest call."""
    start = time.monotonic()
    longest_s, number = 0.0, 0
    while (elapsed_s := time.monotonic() - start) < seconds:
        for _ in range(_SLICE):
            number += 1
            began = time.monotonic()
            await send(number)
            longest_s = max(longest_s, time.monotonic() - began)
        await asyncio.sleep(max(0.0, number / _RATE - elapsed_s))
    return longest_s


CONTESTANTS: Final[dict[str, Any]] = {"ours": ours, "aiokafka": aiokafka}


def run(addresses: StackAddresses, broker: int, name: str, outage_s: float) -> dict[str, float]:
    """One contestant, on a topic of its own."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, catalog_of(prefix, "position")))
    return contestant("bench.outage", name, addresses.kafka, prefix, str(broker), str(outage_s))


def main() -> None:
    """Run the bench."""
    parser = report.arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the broker stands still")
    given = parser.parse_args()
    with servers() as addresses:
        pids = {status.name: status.pid for status in Stack(addresses.folder).status()}
        broker = pids["kafka-1"]
        assert broker is not None, "it serves"
        found = {name: partial(run, addresses, broker, name, given.seconds)() for name in CONTESTANTS}
    mine, theirs = found["ours"], found["aiokafka"]
    if mine["unaccounted"]:
        raise RuntimeError(f"{mine['unaccounted']:.0f} attempts are neither written nor dropped")
    case = f"{given.seconds:g} s outage"
    lower = partial(report.compare, lower_is_better=True)
    rows = [
        lower(case, "MB grown", max(mine["grown_mb"], 0.1), _BUFFER_MB, "buffer.memory", target=1.0),
        lower(case, "longest call, ms", mine["longest_call_ms"], theirs["longest_call_ms"], "aiokafka", target=1.0),
        report.compare(case, "attempts", mine["attempted"], theirs["attempted"], "aiokafka"),
    ]
    report.publish("outage", rows, given.json)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CONTESTANTS:
        _, name, kafka, prefix, broker, outage_s = sys.argv
        run_contestant(CONTESTANTS[name](kafka, prefix, int(broker), float(outage_s)))
    else:
        main()
