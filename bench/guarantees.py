"""What each guarantee costs: the table of the seed document (latency, throughput, CPU, round trips), measured on one broker with one payload.

===================  ===========================================================================================
at-most-once         our realtime publisher: acks=0, no retry
at-least-once        our durable publisher: acks=all, idempotent, the same record again until its outcome is known
acks=0, 1, all       librdkafka (confluent-kafka) with what the name says, `all` idempotent; linger of a millisecond
exactly-once         librdkafka with Kafka transactions: one after the other, each with all events that are due by then
===================  ===========================================================================================

Each is a process of its own, at 1,000 events a second and flat out. The same consumer (librdkafka, `read_committed`, in a process of its own)
reads them all; *visible* is when it has the record. At 1,000/s times count from the send, those of exactly-once from the moment at which an
event was due, as an event waits for the transaction before it. An event whose record the consumer did not get is not counted, and told as
lost: acks=0 does not promise more. gamebus itself has no transactions (docs/adr/0003); they are here to be compared with.
"""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import confluent_kafka
import psutil

from bench import report
from bench.servers import (
    catalog_of,
    contestant,
    create,
    module,
    new_prefix,
    run_contestant,
    servers,
)
from gamebus.delivery.durable_publisher import DurablePublisher, Written
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.record import DurableRecord, decode_durable, decode_realtime, encode_durable
from gamebus.settings import DurableProducerSettings, RealtimeProducerSettings

_RATE_PER_S: Final = 1_000
_PACED: Final = 2_000
_FLAT_OUT: Final = 60_000
_WARM_UP: Final = 500
_PARTITIONS: Final = 12
_ROOMS: Final = [f"room-{number}" for number in range(100)]
_KEYS: Final = [room.encode() for room in _ROOMS]
_STAMP: Final = struct.Struct(">d")
# As long as our records with the same event.
_REST: Final = b"." * 72
_TEXT: Final = "." * 24
# Flat out: what our publishers hold before the bench waits for them.
_PAUSE_ABOVE_BYTES: Final = 4_000_000
_WINDOW: Final = 2_000
_QUIET_S: Final = 2.0


class Progress:
    """What a producer did: when events were acknowledged, what it cost; warm-up left out."""

    def __init__(self, count: int) -> None:
        self.acks_ms: list[float] = []
        self.late_ms: list[float] = []
        self._count = count
        self._cpu_s = time.process_time()
        self.start = time.monotonic()

    def acked(self, sent: float) -> None:
        """An event is known to be written."""
        self.acks_ms.append((time.monotonic() - sent) * 1000)

    def tell(self, requests: float) -> None:
        """Print the result."""
        late, acks = sorted(self.late_ms), sorted(self.acks_ms)
        result = {
            "cpu_us": (time.process_time() - self._cpu_s) / self._count * 1e6,
            "round_trips": requests / self._count,
            "late_p99_ms": late[len(late) * 99 // 100] if late else 0.0,
            "ack_p50_ms": acks[len(acks) // 2] if acks else 0.0,
            "ack_p99_ms": acks[len(acks) * 99 // 100] if acks else 0.0,
            "start": self.start,
        }
        print(json.dumps(result), flush=True)


async def due(progress: Progress, count: int, rate: int) -> Any:
    """Numbers of the events, each when it is due; flat out: at once."""
    for number in range(count):
        if rate:
            planned = progress.start + number / rate
            await asyncio.sleep(max(0.0, planned - time.monotonic()))
            progress.late_ms.append((time.monotonic() - planned) * 1000)
        yield number


async def at_most_once(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """Our realtime publisher."""
    catalog = catalog_of(prefix, "position")
    settings = RealtimeProducerSettings()
    publisher = RealtimePublisher(bootstrap_servers=bootstrap_servers, catalog=catalog, settings=settings, boot="b1")
    await publisher.start()

    async def send(progress: Progress, count: int, rate: int) -> None:
        async for number in due(progress, count, rate):
            now_ms = time.time_ns() // 1_000_000
            publisher.publish("position", _ROOMS[number % 100], "ann", now_ms, [number, time.monotonic(), _TEXT])
            if not rate and number % 200 == 0:
                await asyncio.sleep(0)
                while publisher.statistics().buffered_bytes > _PAUSE_ABOVE_BYTES:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.0005)

    await send(Progress(1), _WARM_UP, _RATE_PER_S)
    progress = Progress(count)
    await send(progress, count, rate)
    await publisher.stop(deadline_s=30.0)
    # A broker does not answer a request with acks=0.
    progress.tell(0)


async def at_least_once(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """Our durable publisher."""
    topic = f"{prefix}position"
    settings = DurableProducerSettings()
    publisher = DurablePublisher(bootstrap_servers=bootstrap_servers, settings=settings, topics=[topic])
    await publisher.start()

    async def send(progress: Progress, count: int, rate: int) -> None:
        waiting: list[asyncio.Future[Written]] = []
        async for number in due(progress, count, rate):
            sent = time.monotonic()
            data = [number, sent, _TEXT]
            record = DurableRecord("position", _ROOMS[number % 100], "ann", 1, "ann", str(number), data)
            written = publisher.publish(topic, _KEYS[number % 100], encode_durable(record))
            written.add_done_callback(lambda _, sent=sent: progress.acked(sent))  # type: ignore[misc]
            waiting.append(written)
            if not rate and len(waiting) == _WINDOW:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)

    await send(Progress(1), _WARM_UP, _RATE_PER_S)
    before = publisher.statistics().batches
    progress = Progress(count)
    await send(progress, count, rate)
    progress.tell(publisher.statistics().batches - before)
    await publisher.stop()


class Librdkafka:
    """A producer whose callbacks are served by a thread."""

    def __init__(self, bootstrap_servers: str, **settings: Any) -> None:
        self.requests: Counter[str] = Counter()
        self.producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "linger.ms": 1,
                "statistics.interval.ms": 100,
                "stats_cb": self._on_statistics,
            }
            | settings
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def produce(self, topic: str, number: int, sent: float, progress: Progress | None) -> None:
        """Hand over one event; waits while the queue of the library is full."""

        def told(error: Any, _message: Any) -> None:
            if error is not None:
                raise RuntimeError(str(error))
            if progress is not None:
                progress.acked(sent)

        handed_over = False
        while not handed_over:
            try:
                self.producer.produce(topic, _STAMP.pack(sent) + _REST, _KEYS[number % 100], on_delivery=told)
                handed_over = True
            except BufferError:
                time.sleep(0.001)

    def awaited(self) -> int:
        """Requests so far that an event waits for; call it after the newest statistics have come."""
        time.sleep(0.25)
        return sum(self.requests[name] for name in ("Produce", "AddPartitionsToTxn", "EndTxn"))

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            self.producer.poll(0.1)

    def _on_statistics(self, statistics: str) -> None:
        counted: Counter[str] = Counter()
        for broker in json.loads(statistics)["brokers"].values():
            counted.update(broker["req"])
        self.requests = counted


def planned(progress: Progress, count: int, rate: int) -> Iterator[tuple[int, float]]:
    """Numbers of the events and when they were due; waits for that."""
    for number in range(count):
        moment = progress.start + number / rate if rate else time.monotonic()
        while (left := moment - time.monotonic()) > 0:
            time.sleep(left)
        progress.late_ms.append((time.monotonic() - moment) * 1000)
        yield number, moment


def acks(value: str, bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """librdkafka with acks=0, 1 or all."""
    guarantee: dict[str, Any] = {"enable.idempotence": True} if value == "all" else {"retries": 0}
    client = Librdkafka(bootstrap_servers, acks=value, **guarantee)

    def send(progress: Progress, count: int, rate: int, *, told: Progress | None) -> None:
        for number, _ in planned(progress, count, rate):
            client.produce(f"{prefix}position", number, time.monotonic(), told)
        client.producer.flush(30)

    send(Progress(1), _WARM_UP, _RATE_PER_S, told=None)
    before = client.awaited()
    progress = Progress(count)
    # With acks=0 the library calls back once a record is on its way; that is no acknowledgement.
    send(progress, count, rate, told=None if value == "0" else progress)
    progress.tell(0 if value == "0" else client.awaited() - before)
    client.stop()


def exactly_once(bootstrap_servers: str, prefix: str, count: int, rate: int) -> None:
    """Transactions, one after the other."""
    client = Librdkafka(bootstrap_servers, **{"transactional.id": prefix})
    producer = client.producer
    producer.init_transactions(30)

    def send(progress: Progress, count: int, rate: int) -> None:
        pending = planned(progress, count, rate)
        done = 0
        while done < count:
            number, moment = next(pending)
            producer.begin_transaction()
            moments = [moment]
            client.produce(f"{prefix}position", number, moment, None)
            while done + len(moments) < count and len(moments) < _WINDOW:
                if rate and progress.start + (done + len(moments)) / rate > time.monotonic():
                    break
                number, moment = next(pending)
                client.produce(f"{prefix}position", number, moment, None)
                moments.append(moment)
            producer.commit_transaction(30)
            for moment in moments:
                progress.acked(moment)
            done += len(moments)

    send(Progress(1), _WARM_UP, _RATE_PER_S)
    before = client.awaited()
    progress = Progress(count)
    send(progress, count, rate)
    progress.tell(client.awaited() - before)
    client.stop()


def consume(bootstrap_servers: str, topic: str, kind: str, count: int) -> None:
    """Read a topic from its beginning; how old each record was when it came, and when the last one came."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": topic, "isolation.level": "read_committed"}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in range(_PARTITIONS)])
    print("ready", flush=True)
    received: list[tuple[float, bytes]] = []
    wanted, quiet_since = count + _WARM_UP, time.monotonic() + 30
    while len(received) < wanted and time.monotonic() < quiet_since + _QUIET_S:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            quiet_since = time.monotonic()
            received.append((quiet_since, message.value() or b""))
    consumer.close()
    stamps = [(at, stamp(kind, value)) for at, value in received]
    measured = sorted(stamps, key=lambda pair: pair[1])[_WARM_UP:]
    ages = sorted((at - sent) * 1000 for at, sent in measured)
    result = {"lost": wanted - len(received), "last": max(at for at, _ in measured)}
    print(json.dumps(result | {"p50_ms": ages[len(ages) // 2], "p99_ms": ages[len(ages) * 99 // 100]}), flush=True)


def stamp(kind: str, value: bytes) -> float:
    """When an event was sent."""
    if kind == "at-most-once":
        return float(decode_realtime(value).data[1])
    if kind == "at-least-once":
        return float(decode_durable(value).data[1])
    return float(_STAMP.unpack_from(value)[0])


_ASYNC: Final[Mapping[str, Callable[..., Any]]] = {"at-most-once": at_most_once, "at-least-once": at_least_once}
_SYNC: Final[Mapping[str, Callable[..., None]]] = {
    "acks=0": partial(acks, "0"),
    "acks=1": partial(acks, "1"),
    "acks=all": partial(acks, "all"),
    "exactly-once": exactly_once,
}
_OURS: Final = tuple(_ASYNC)


def measure(addresses: StackAddresses, broker: psutil.Process, kind: str, count: int, rate: int) -> dict[str, float]:
    """One round of one contestant, on a topic of its own."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, catalog_of(prefix, "position")))
    topic = f"{prefix}position"
    command = module("bench.guarantees", "consume", addresses.kafka, topic, kind, str(count))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        if consumer.stdout.readline() != "ready\n":
            raise RuntimeError("the consumer did not start")
        before = broker.cpu_times()
        sent = contestant("bench.guarantees", kind, addresses.kafka, prefix, str(count), str(rate))
        seen: dict[str, float] = json.loads(consumer.stdout.readline())
        after = broker.cpu_times()
    if seen["lost"] and kind not in {"at-most-once", "acks=0"}:
        raise RuntimeError(f"{kind}: {seen['lost']} events did not arrive")
    return {
        "visible p50 ms": seen["p50_ms"],
        "visible p99 ms": seen["p99_ms"],
        "ack p50 ms": sent["ack_p50_ms"],
        "ack p99 ms": sent["ack_p99_ms"],
        "late p99 ms": sent["late_p99_ms"],
        "events/s": (count - seen["lost"]) / (seen["last"] - sent["start"]),
        "producer us/event": sent["cpu_us"],
        "broker us/event": (after.user + after.system - before.user - before.system) / (count + _WARM_UP) * 1e6,
        "round trips/event": sent["round_trips"],
        "lost": seen["lost"],
    }


def rows_of(
    paced: Mapping[str, Mapping[str, float]], flat_out: Mapping[str, Mapping[str, float]]
) -> Iterator[report.Row]:
    """The targets, and ours beside their rivals."""
    lower = partial(report.compare, lower_is_better=True)
    pairs: Sequence[tuple[str, str, float, float]] = (
        ("at-most-once", "acks=0", 1.5, 1.0),
        ("at-least-once", "acks=all", 5.0, 5.0),
    )
    for ours, rival, limit, seed in pairs:
        figure = "visible p50 ms" if ours == "at-most-once" else "ack p50 ms"
        yield lower(f"{ours}, 1,000/s", figure, paced[ours][figure], limit, "limit", target=1.0)
        yield lower(f"{ours}, 1,000/s", figure, paced[ours][figure], seed, "the seed's figure")
        for name in ("visible p50 ms", "visible p99 ms"):
            yield lower(f"{ours}, 1,000/s", name, paced[ours][name], paced[rival][name], f"librdkafka, {rival}")
            yield lower(f"{ours}, 1,000/s", name, paced[ours][name], paced["exactly-once"][name], "exactly-once")
        for other in (rival, "exactly-once"):
            name = "events/s"
            yield report.compare(f"{ours}, flat out", name, flat_out[ours][name], flat_out[other][name], other)


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    with servers() as addresses:
        pid = Stack(addresses.folder).process("kafka-1").pid
        assert pid is not None
        one = partial(measure, addresses, psutil.Process(pid))
        kinds = (*_ASYNC, *_SYNC)
        runs = {f"{kind}, 1,000/s": partial(one, kind, _PACED, _RATE_PER_S) for kind in kinds}
        runs |= {f"{kind}, flat out": partial(one, kind, _FLAT_OUT, 0) for kind in kinds}
        found = report.interleaved(runs, rounds=given.rounds, warm_up_rounds=0)
    paced, flat_out = ({kind: found[f"{kind}, {load}"] for kind in kinds} for load in ("1,000/s", "flat out"))
    report.publish("guarantees", rows_of(paced, flat_out), given.json, figures=found)


if __name__ == "__main__":
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 2 else ("", [])
    if name == "consume":
        servers_, topic, kind, count = arguments
        consume(servers_, topic, kind, int(count))
    elif name in _ASYNC:
        run_contestant(_ASYNC[name](*arguments[:2], int(arguments[2]), int(arguments[3])))
    elif name in _SYNC:
        _SYNC[name](*arguments[:2], int(arguments[2]), int(arguments[3]))
    else:
        main()
