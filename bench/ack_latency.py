"""Publish to `ack` at a steady rate through gateway and Kafka, against Kafka's own ProducerPerformance at the same rate on the same broker.

A game server on the `websockets` library publishes 500 kills a second on one connection, each at its planned time. Against ProducerPerformance
stands the time from the send to the `ack`, as that tool takes it; against the limit the time from the planned moment (an open loop: a stall
shows in every publish that it delays, and so does the millisecond that timers of an event loop may be late). ProducerPerformance sends records of the size that such an event
has in Kafka, acks=all, idempotent, without linger, to a topic with the same settings. Both are warm: the first seconds do not count.

ProducerPerformance tells percentiles in whole milliseconds and the mean in hundredths; so the means are compared too.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Any, Final

import msgpack

from bench import report
from bench.servers import contestant, create, environment, module, new_prefix, run_contestant, running, servers
from bench.websocket_load import open_client
from gamebus.catalog import parse_catalog
from gamebus.localstack.jars import find_java, kafka_jars
from gamebus.localstack.stack import StackAddresses

_RATE_PER_S: Final = 500
_WARM_UP: Final = 1_500
_EVENTS: Final = 2_500
# As `kill` below in Kafka.
_RECORD_BYTES: Final = 120
_SUMMARY: Final = re.compile(
    r"([\d.]+) ms avg latency, [\d.]+ ms max latency, (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th"
)


async def client(url: str) -> None:
    """Publish, and print the percentiles of the time to `ack` in milliseconds."""
    websocket, room = await open_client(url, 0, 1)
    count = _WARM_UP + _EVENTS
    start = time.perf_counter() + 0.1
    planned = [start + number / _RATE_PER_S for number in range(count)]
    sent = [0.0] * count
    acked: list[tuple[int, float]] = []

    async def publish() -> None:
        for number, due in enumerate(planned):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            data = {"killer": "ann", "victim": "bob", "weapon": "axe", "at_ms": number}
            sent[number] = time.perf_counter()
            await websocket.send(msgpack.packb(["pub", "kill", room, data, str(number)]))

    async def receive() -> None:
        while len(acked) < count:
            message: list[Any] = msgpack.unpackb(await websocket.recv())
            if message[0] != "ack":
                raise RuntimeError(f"expected an ack, got {message}")
            acked.append((int(message[1]), time.perf_counter()))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        tasks.create_task(receive())
    measured = acked[_WARM_UP:]
    took = sorted((at - sent[number]) * 1000 for number, at in measured)
    from_planned = sorted((at - planned[number]) * 1000 for number, at in measured)
    result = {"mean": statistics.fmean(took), "p50": took[_EVENTS // 2], "p99": took[_EVENTS * 99 // 100]}
    print(json.dumps(result | {"planned_p50": from_planned[_EVENTS // 2]}))
    websocket.transport.abort()


def ours(addresses: StackAddresses) -> dict[str, float]:
    """One round through a gateway."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
    env = environment(addresses, prefix)
    with running(module("gamebus", "gateway", "--port", "0"), env) as (_, line):
        return contestant("bench.ack_latency", "client", json.loads(line)["gateway"], env=env)


def producer_performance(addresses: StackAddresses) -> dict[str, float]:
    """One round of Kafka's own tool."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
    command = [find_java().program, "-cp", f"{kafka_jars()}/*", "org.apache.kafka.tools.ProducerPerformance"]
    command += ["--topic", f"{prefix}combat", "--bootstrap-server", addresses.kafka]
    command += ["--num-records", str(_WARM_UP + _EVENTS), "--warmup-records", str(_WARM_UP)]
    command += ["--throughput", str(_RATE_PER_S), "--record-size", str(_RECORD_BYTES)]
    command += ["--command-property", "acks=all", "enable.idempotence=true", "linger.ms=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    # The last summary is that of the records after the warm-up.
    mean, p50, p99 = _SUMMARY.findall(done.stdout)[-1]
    return {"mean": float(mean), "p50": float(p50), "p99": float(p99)}


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    rows = []
    for brokers in (1, 3):
        with servers(brokers=brokers) as addresses:
            found = report.interleaved(
                {"ours": partial(ours, addresses), "rival": partial(producer_performance, addresses)},
                rounds=given.rounds,
                warm_up_rounds=0,
            )
        mine, theirs = found["ours"], found["rival"]
        case = "one broker" if brokers == 1 else "three brokers"
        better = partial(report.compare, lower_is_better=True)
        for figure, target in (("p50", 0.5), ("mean", 0.5), ("p99", None)):
            name = "ProducerPerformance"
            # Whole milliseconds: 0 stands for less than one.
            rival = theirs[figure] or theirs["mean"]
            rows.append(better(f"{case}, {figure}", "ms", mine[figure], rival, name, target=target))
        if brokers == 1:
            rows.append(better(f"{case}, p50 from planned", "ms", mine["planned_p50"], 5.0, "limit", target=1.0))
    report.publish("ack_latency", rows, given.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        run_contestant(client(sys.argv[2]))
    else:
        main()
