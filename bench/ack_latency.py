"""Publish to `ack`, and publish to delivery, through gateway and Kafka, against Kafka's own tools on the same brokers.

Game servers on the `websockets` library publish kills in turn, each at its planned time: 500 a second, and half of what they get
acknowledged when they send as fast as they can with 500 outstanding. ProducerPerformance sends at the same rate records of the size that such an
event has in Kafka, acks=all, idempotent, without linger, to a topic with the same settings. Against it stands the time from the send to
the `ack`, as that tool takes it; against the limit the time from the planned moment (an open loop: a stall shows in every publish that
it delays, and so does the millisecond that timers of an event loop may be late). Both are warm: the first events do not count.

EndToEndLatency produces a record, consumes it, and only then produces the next. Against it stands a player who is sent a kill before the
game server publishes the next: two websockets and a gateway more.

The tools tell percentiles in whole milliseconds and the mean in hundredths; so the means are compared too.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import msgpack
from websockets.asyncio.client import ClientConnection

from bench import report
from bench.servers import (
    contestant,
    create,
    end_offsets,
    environment,
    module,
    new_prefix,
    run_contestant,
    running,
    servers,
)
from bench.websocket_load import open_client
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topic
from gamebus.localstack.jars import find_java, kafka_jars
from gamebus.localstack.stack import StackAddresses

_RATE_PER_S: Final = 500
_WARM_UP_S: Final = 2
_MEASURED_S: Final = 3
# A client may publish 1,000 kills a second.
_SERVERS: Final = 20
_IN_TURN: Final = 1_000
_FLAT_OUT: Final = 15_000
_OUTSTANDING: Final = 500
# As `kill` below in Kafka.
_RECORD_BYTES: Final = 120
_IN_TURN_SUMMARY: Final = re.compile(
    r"^0\t([\d.]+)$.*^Avg latency: ([\d.]+) ms\s+Percentiles: 50th = (\d+), 99th = (\d+)", re.MULTILINE | re.DOTALL
)
_SUMMARY: Final = re.compile(
    r"([\d.]+) ms avg latency, [\d.]+ ms max latency, (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th"
)


def kill(room: str, number: int) -> bytes:
    """A kill as a game server publishes it."""
    data = {"killer": "ann", "victim": "bob", "weapon": "axe", "at_ms": number}
    packed: bytes = msgpack.packb(["pub", "kill", room, data, str(number)])
    return packed


async def received(websocket: ClientConnection, kind: str) -> list[Any]:
    """The next message of this kind; others may come before it, but no refusal."""
    while True:
        message: list[Any] = msgpack.unpackb(await websocket.recv())
        if message[0] == kind:
            return message
        if message[0] in ("nack", "error"):
            raise RuntimeError(f"expected {kind}, got {message}")


def statistic(took_ms: list[float]) -> dict[str, float]:
    """Of latencies; as Kafka's tools tell them."""
    ordered = sorted(took_ms)
    return {
        "mean": statistics.fmean(ordered),
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[len(ordered) * 99 // 100],
    }


async def steady(url: str, rate_per_s: float) -> None:
    """Publish at a rate, and print the percentiles of the time to `ack` in milliseconds."""
    websockets = [await open_client(url, number, _SERVERS) for number in range(_SERVERS)]
    warm_up = int(_WARM_UP_S * rate_per_s)
    count = warm_up + int(_MEASURED_S * rate_per_s)
    start = time.perf_counter() + 0.1
    planned = [start + number / rate_per_s for number in range(count)]
    sent = [0.0] * count
    acked = [0.0] * count

    async def publish() -> None:
        for number, due in enumerate(planned):
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            websocket, room = websockets[number % _SERVERS]
            frame = kill(room, number)
            sent[number] = time.perf_counter()
            await websocket.send(frame)

    async def receive(first: int, websocket: ClientConnection) -> None:
        for _ in range(first, count, _SERVERS):
            number = int((await received(websocket, "ack"))[1])
            acked[number] = time.perf_counter()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        for first, (websocket, _) in enumerate(websockets):
            tasks.create_task(receive(first, websocket))
    measured = range(warm_up, count)
    from_planned = statistic([(acked[number] - planned[number]) * 1000 for number in measured])
    result = statistic([(acked[number] - sent[number]) * 1000 for number in measured])
    print(json.dumps(result | {"planned_p50": from_planned["p50"]}))
    for websocket, _ in websockets:
        websocket.transport.abort()


async def flat_out(url: str) -> None:
    """Publish as fast as it goes with a bound of outstanding events; print the acknowledged ones a second."""
    websockets = [await open_client(url, number, _SERVERS) for number in range(_SERVERS)]
    places = asyncio.Semaphore(_OUTSTANDING)

    async def publish() -> None:
        for number in range(_FLAT_OUT):
            await places.acquire()
            websocket, room = websockets[number % _SERVERS]
            await websocket.send(kill(room, number))

    async def receive(first: int, websocket: ClientConnection) -> None:
        for _ in range(first, _FLAT_OUT, _SERVERS):
            await received(websocket, "ack")
            places.release()

    start = time.perf_counter()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        for first, (websocket, _) in enumerate(websockets):
            tasks.create_task(receive(first, websocket))
    print(json.dumps({"per_s": _FLAT_OUT / (time.perf_counter() - start)}))
    for websocket, _ in websockets:
        websocket.transport.abort()


async def in_turn(url: str) -> None:
    """Publish when the last event has come to a player; print the percentiles of the time to delivery in milliseconds."""
    server, room = await open_client(url, 0, 1)
    player, _ = await open_client(url, 1, 1)
    await player.send(msgpack.packb(["join", room]))
    await received(player, "joined")
    took: list[float] = []
    async with asyncio.timeout(60):
        for number in range(_IN_TURN):
            frame = kill(room, number)
            sent = time.perf_counter()
            await server.send(frame)
            await received(player, "event")
            took.append((time.perf_counter() - sent) * 1000)
            await received(server, "ack")
    # The first goes through caches that are cold; the tool's first is left out, too.
    print(json.dumps(statistic(took[1:])))
    for websocket in (server, player):
        websocket.transport.abort()


@dataclass(frozen=True, slots=True)
class Brokers:
    """Brokers that run, with topics for all rounds: those of the gateway, and one for the tools.

    Attributes:
        prefix: of the gateway's topics.
        topic: like the one of kills, for the tools: what they write is no event.
    """

    addresses: StackAddresses
    prefix: str
    topic: str


@contextmanager
def brokers(count: int) -> Iterator[Brokers]:
    """Run so many brokers, and create the topics."""
    with servers(brokers=count) as addresses:
        prefix = new_prefix()
        catalog = parse_catalog(topic_prefix=prefix)
        asyncio.run(create(addresses.kafka, catalog))
        topic = f"{prefix}tools"
        kills = catalog.topics[catalog.types["kill"].topic]
        asyncio.run(create_topic(addresses.kafka, replace(kills, name=topic)))
        asyncio.run(end_offsets(addresses.kafka, {topic: kills.partitions}))
        yield Brokers(addresses, prefix, topic)


def ours(brokers: Brokers, *command: str) -> dict[str, float]:
    """One round of a client of this module through a gateway."""
    # What earlier rounds left in the topics is not read.
    env = environment(brokers.addresses, brokers.prefix) | {"GAMEBUS_GATEWAY__HISTORY_MS": "1"}
    with running(module("gamebus", "gateway", "--port", "0"), env) as (_, line):
        name, *arguments = command
        return contestant("bench.ack_latency", name, json.loads(line)["gateway"], *arguments, env=env)


def tool(name: str, *arguments: str) -> str:
    """What one of Kafka's tools prints."""
    command = [find_java().program, "-cp", f"{kafka_jars()}/*", f"org.apache.kafka.tools.{name}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def producer_performance(brokers: Brokers, rate_per_s: float) -> dict[str, float]:
    """One round of Kafka's own producer."""
    warm_up, measured = int(_WARM_UP_S * rate_per_s), int(_MEASURED_S * rate_per_s)
    out = tool(
        "ProducerPerformance",
        *("--topic", brokers.topic, "--bootstrap-server", brokers.addresses.kafka),
        *("--num-records", str(warm_up + measured), "--warmup-records", str(warm_up)),
        *("--throughput", f"{rate_per_s:.0f}", "--record-size", str(_RECORD_BYTES)),
        *("--command-property", "acks=all", "enable.idempotence=true", "linger.ms=0"),
    )
    # The last summary is that of the records after the warm-up.
    mean, p50, p99 = _SUMMARY.findall(out)[-1]
    return {"mean": float(mean), "p50": float(p50), "p99": float(p99)}


def end_to_end_latency(brokers: Brokers) -> dict[str, float]:
    """One round of Kafka's own producer and consumer, in turn."""
    out = tool("EndToEndLatency", brokers.addresses.kafka, brokers.topic, str(_IN_TURN), "all", str(_RECORD_BYTES))
    found = _IN_TURN_SUMMARY.search(out)
    if found is None:
        raise RuntimeError(f"EndToEndLatency printed {out!r}")
    first, mean, p50, p99 = map(float, found.groups())
    return {"mean": (mean * _IN_TURN - first) / (_IN_TURN - 1), "p50": p50, "p99": p99}


def compared(
    case: str, mine: dict[str, float], theirs: dict[str, float], rival: str, target: float
) -> list[report.Row]:
    """Rows of one case."""
    rows = []
    for figure in ("p50", "mean", "p99"):
        # Whole milliseconds: 0 stands for less than one.
        value = theirs[figure] or theirs["mean"]
        wanted = None if figure == "p99" else target
        name = f"{case}, {figure}"
        rows.append(report.compare(name, "ms", mine[figure], value, rival, target=wanted, lower_is_better=True))
    return rows


def cases(brokers: Brokers, where: str, rounds: int) -> Iterator[report.Row]:
    """All cases on these brokers."""
    interleaved = partial(report.interleaved, rounds=rounds, warm_up_rounds=0)
    capacity_per_s = ours(brokers, "flat_out")["per_s"]
    for rate_per_s in (_RATE_PER_S, capacity_per_s / 2):
        found = interleaved(
            {
                "ours": partial(ours, brokers, "steady", f"{rate_per_s:.0f}"),
                "rival": partial(producer_performance, brokers, rate_per_s),
            }
        )
        case = f"{where}, ack at {rate_per_s:,.0f}/s"
        yield from compared(case, found["ours"], found["rival"], "ProducerPerformance", target=1 / 1.5)
        planned_ms = found["ours"]["planned_p50"]
        yield report.compare(
            f"{case}, p50 from planned", "ms", planned_ms, 5.0, "limit", target=1.0, lower_is_better=True
        )
    found = interleaved({"ours": partial(ours, brokers, "in_turn"), "rival": partial(end_to_end_latency, brokers)})
    yield from compared(f"{where}, delivery in turn", found["ours"], found["rival"], "EndToEndLatency", target=1 / 1.5)


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    rows: list[report.Row] = []
    for count, where in ((1, "one broker"), (3, "three brokers")):
        with brokers(count) as those:
            rows += cases(those, where, given.rounds)
    report.publish("ack_latency", rows, given.json)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["steady", url, rate]:
            run_contestant(steady(url, float(rate)))
        case ["flat_out", url]:
            run_contestant(flat_out(url))
        case ["in_turn", url]:
            run_contestant(in_turn(url))
        case _:
            main()
