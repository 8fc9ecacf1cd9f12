"""Reports of what publishers of at-most-once events attempted and dropped: the sender's half of loss accounting.

Every process sends one record a second, and a last one at shutdown, to the reports topic (acks=all, key = boot). The numbers
are cumulative, so a lost report costs only time. Model: sender reports of RTP (RFC 3550, section 6.4).

=========  =====================================================================================================
value      msgpack `[2, boot, started_ms, sent_ms, final, [[topic, [[partition, seq, {reason: n}], ...]], ...], generation]`
=========  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgpack
import structlog

from gamebus.errors import DeliveryError, RecordError

VERSION: Final = 2
INTERVAL_S: Final = 1.0
MAX_BOOTS: Final = 4_096

_RETRY_S: Final = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What one stream did.

    Attributes:
        boot: of the publishing process.
        seq: every record up to this one was decided: written to a socket once, or dropped.
        dropped: drops at or below `seq`, by reason.
    """

    boot: str
    topic: str
    partition: int
    seq: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one process.

    Attributes:
        started_ms: when its publisher started, Unix milliseconds.
        sent_ms: when the report was made.
        final: the process ended in order: nothing was attempted after this report.
        generation: of the catalog by which it publishes; what it took by earlier ones is decided, realtime and durable.
    """

    boot: str
    started_ms: int
    sent_ms: int
    final: bool
    streams: tuple[StreamReport, ...]
    generation: int = 0


def encode_report(report: Report) -> bytes:
    """Value of the Kafka record of a report."""
    topics: dict[str, list[Any]] = {}
    for stream in report.streams:
        topics.setdefault(stream.topic, []).append([stream.partition, stream.seq, dict(stream.dropped)])
    streams = [[*item] for item in topics.items()]
    value: bytes = msgpack.packb(
        [VERSION, report.boot, report.started_ms, report.sent_ms, report.final, streams, report.generation]
    )
    return value


def decode_report(value: bytes | None) -> Report:
    """Decode a report.

    Raises:
        RecordError: not a report.
    """
    if value is None:
        raise RecordError("a record without a value is not a report")
    try:
        version, boot, started_ms, sent_ms, final, topics, generation = msgpack.unpackb(value)
        if version != VERSION or type(boot) is not str or type(final) is not bool:
            raise RecordError(f"not a report of version {VERSION}")
        streams = tuple(_streams(boot, topics))
        return Report(boot, int(started_ms), int(sent_ms), final, streams, int(generation))
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise RecordError(f"not a report: {error}") from error


def _streams(boot: str, topics: Iterable[Any]) -> Iterable[StreamReport]:
    for topic, streams in topics:
        for partition, seq, dropped in streams:
            counts = {str(reason): int(count) for reason, count in dropped.items()}
            yield StreamReport(boot, str(topic), int(partition), int(seq), counts)


class ReportSource(Protocol):
    """What a reporter reports on; :class:`~gamebus.delivery.realtime_publisher.RealtimePublisher` is one."""

    def stream_reports(self) -> list[StreamReport]: ...


class ReportSink(Protocol):
    """Where reports go; :class:`~gamebus.delivery.durable_publisher.DurablePublisher` is one."""

    def publish(self, topic: str, key: bytes, value: bytes) -> asyncio.Future[Any]: ...


class Reporter:
    """Sends a report at once, and then one a second.

    Guarantee: once `announced` is set, whoever reads the topic to its end knows of this process, and until it says that it ended, or
    was silent for long, counts it among those that publish.

    A report that fails is not sent again: the next one says more. Only the last one is repeated until it is acknowledged or
    its deadline passes.

    Args:
        generation: tells the generation that is reported.
    """

    def __init__(
        self,
        source: ReportSource,
        sink: ReportSink,
        *,
        topic: str,
        boot: str,
        generation: Callable[[], int] = lambda: 0,
    ) -> None:
        self._source = source
        self._generation = generation
        self._sink = sink
        self._topic = topic
        self._boot = boot
        self._started_ms = _now_ms()
        self.announced = asyncio.Event()
        """Set when a first report is acknowledged."""

        self.sent = 0
        self.failed = 0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._send(final=False)
            await asyncio.sleep(INTERVAL_S if self.announced.is_set() else _RETRY_S)

    async def finish(self, *, deadline_s: float = 5.0) -> bool:
        """Send the final report, after the source stopped; false when no broker acknowledged it in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while True:
                    if await self._send(final=True):
                        return True
                    await asyncio.sleep(_RETRY_S)
        log.warning("report.final_not_sent", boot=self._boot)
        return False

    async def _send(self, *, final: bool) -> bool:
        # First: the streams are then at least as far as the generation says.
        generation = self._generation()
        streams = tuple(self._source.stream_reports())
        report = Report(self._boot, self._started_ms, _now_ms(), final, streams, generation)
        try:
            await self._sink.publish(self._topic, self._boot.encode(), encode_report(report))
        except DeliveryError:
            self.failed += 1
            return False
        self.sent += 1
        self.announced.set()
        return True


class LatestReports:
    """The last report of every boot, at most :data:`MAX_BOOTS`: past it the boot that was silent for longest is forgotten."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self.invalid = 0

    def __iter__(self) -> Iterator[Report]:
        return iter(self._reports.values())

    def take(self, value: bytes | None) -> Report | None:
        """Decode and remember a report; None when it is none."""
        try:
            report = decode_report(value)
        except RecordError as error:
            self.invalid += 1
            log.warning("report.invalid", error=str(error))
            return None
        self._reports.pop(report.boot, None)
        self._reports[report.boot] = report
        if len(self._reports) > MAX_BOOTS:
            del self._reports[next(iter(self._reports))]
        return report


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
