"""What is known of a migration that is under way: which gateways follow, who reads, what is left in the old topic.

Guarantees: every gateway that serves is known, since it reports before it does; it counts as gone only when it said so, or was
silent for as long as the loss ledger takes to give a publisher up. One that is silent for so long and comes back publishes to the
old topic until it reads the log, within moments; the old topic is read until it is retired, so what it wrote there is not lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.accounting import SILENT_S
from gamebus.delivery.group_progress import GroupProgress, watching
from gamebus.delivery.partition_work import KafkaRecord
from gamebus.delivery.reports import LatestReports, Report
from gamebus.delivery.tail import Tail
from gamebus.delivery.topics import partition_counts
from gamebus.errors import GamebusError, StateError, first_error
from gamebus.generations import Migration, Place, Step
from gamebus.migration.counts import Counts, of_ledger, of_offsets
from gamebus.migration.plan import Facts
from gamebus.settings import Settings
from gamebus.state.connection import Connection, connect
from gamebus.state.ledger import LedgerState

_REPORTS_BACK_MS: Final = 60_000
# Of a report that is read back, the time is by the gateway's clock.
_CLOCK_DIFFERENCE_S: Final = 10.0
_KINDS: Final[Mapping[DeliveryClass, str]] = {
    DeliveryClass.AT_MOST_ONCE: "realtime",
    DeliveryClass.AT_LEAST_ONCE: "durable",
}


class Survey:
    """Asks Kafka and Redis. Build it with :func:`surveying`.

    Args:
        reports_topic: where gateways report.
    """

    def __init__(
        self, settings: Settings, progress: GroupProgress, ledger: LedgerState, *, reports_topic: str, partitions: int
    ) -> None:
        self._group_prefix = settings.kafka.group_prefix
        self._progress = progress
        self._ledger = ledger
        self._reports = LatestReports()
        self._reports_topic, self._reports_partitions = reports_topic, partitions
        self._grown = asyncio.Event()
        # When each boot was last heard, monotonic seconds.
        self._heard_at: dict[str, float] = {}
        self._began = time.monotonic()
        self.reports_tail = Tail(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            partitions={reports_topic: partitions},
            on_records=self._on_reports,
            start_back_ms=_REPORTS_BACK_MS,
            client_id="gamebus-migrate",
        )
        # Of the old topic, from when nobody published there any more: offsets by partition, sequences by stream.
        self._ends: dict[int, int] | None = None
        self._streams: dict[tuple[str, int], int] = {}
        # Gateways that were killed: what followed their last report is known when the ledger has given them up.
        self._killed: frozenset[str] = frozenset()

    async def facts(self, migration: Migration) -> Facts:
        """What the next step of a migration waits for.

        Raises:
            ConfigurationError: no broker answers.
        """
        behind = await self.behind(migration.number)
        if migration.step is Step.PREPARE:
            return Facts(behind, await self.unread(migration.target))
        return Facts(behind, undrained=() if behind else await self.undrained(migration.source))

    async def behind(self, generation: int) -> tuple[str, ...]:
        """Gateways that live and may still act, or have undecided events, by an earlier generation.

        Of all that have reported when this is called: what is not read yet is waited for.

        Raises:
            ConfigurationError: no broker answers.
        """
        for partition, end in (await self._progress.ends(self._reports_topic, self._reports_partitions)).items():
            while (self.reports_tail.position(self._reports_topic, partition) or 0) < end:
                self._grown.clear()
                await self._grown.wait()
        return tuple(
            report.boot
            for report in self._reports
            if report.generation < generation and not report.final and not self._silent(report.boot)
        )

    async def unread(self, place: Place) -> tuple[int, ...]:
        """Partitions of a topic that no processor has taken up.

        At most once it must also have said where it begins, or it would begin behind what is published in the meantime.
        """
        group = self._group(place)
        assigned = await self._progress.assigned(group, place.topic)
        if place.delivery is DeliveryClass.AT_MOST_ONCE:
            progress = await self._progress.progress(group, place.topic, place.partitions)
            assigned = {partition for partition in assigned if progress[partition].committed is not None}
        return tuple(partition for partition in range(place.partitions) if partition not in assigned)

    async def undrained(self, place: Place) -> tuple[str, ...]:
        """What the processors are not done with, of what was in a topic when this was first asked.

        At most once that is over when the ledger has closed the account of every gateway that lived then.
        """
        progress = await self._progress.progress(self._group(place), place.topic, place.partitions)
        if self._ends is None:
            self._ends = {partition: found.end for partition, found in progress.items()}
            self._streams = dict(self._reported(place))
            self._killed = frozenset(
                report.boot for report in self._reports if not report.final and self._silent(report.boot)
            )
        ends = self._ends
        left = sum(found.left(ends[partition]) for partition, found in progress.items())
        found = (
            [f"{left} records of {place.topic} are not read by `gamebus processor {self.kind(place)}`"] if left else []
        )
        if place.delivery is DeliveryClass.AT_MOST_ONCE and not left:
            found += await self._open_accounts(place)
        return tuple(found)

    async def left(self, place: Place) -> int:
        """Records of a topic that the processors are not done with."""
        progress = await self._progress.progress(self._group(place), place.topic, place.partitions)
        return sum(found.left(found.end) for found in progress.values())

    async def readers(self, place: Place) -> set[int]:
        """Partitions of a topic that processors have."""
        return await self._progress.assigned(self._group(place), place.topic)

    async def is_empty(self, place: Place) -> bool:
        """Whether a topic has never held a record."""
        progress = await self._progress.progress(self._group(place), place.topic, place.partitions)
        return all(found.end == 0 for found in progress.values())

    async def counts(self, place: Place) -> Counts:
        """What became of the events of a topic.

        Raises:
            StateError: Redis does not answer.
        """
        if place.delivery is DeliveryClass.AT_MOST_ONCE:
            return of_ledger(await self._ledger.read({place.topic: place.partitions}))
        progress = await self._progress.progress(self._group(place), place.topic, place.partitions)
        return of_offsets(progress.values())

    @staticmethod
    def kind(place: Place) -> str:
        """The processor that reads a topic of this class."""
        return _KINDS[place.delivery]

    def _silent(self, boot: str) -> bool:
        return time.monotonic() - self._heard_at[boot] >= SILENT_S

    def _group(self, place: Place) -> str:
        return f"{self._group_prefix}{self.kind(place)}"

    def _reported(self, place: Place) -> list[tuple[tuple[str, int], int]]:
        """Last sequence of every stream whose gateway lives, or ended since this began."""
        return [
            ((stream.boot, stream.partition), stream.seq)
            for report in self._reports
            if not self._silent(report.boot) and (not report.final or self._heard_at[report.boot] >= self._began)
            for stream in report.streams
            if stream.topic == place.topic
        ]

    async def _open_accounts(self, place: Place) -> list[str]:
        try:
            rows = await self._ledger.read({place.topic: place.partitions})
        except StateError as error:
            return [f"the loss ledger cannot be read: {error}"]
        attempted = {(row.boot, row.partition): row.attempted for row in rows}
        unsettled = sum(attempted.get(stream, 0) < seq for stream, seq in self._streams.items())
        unsettled += sum(row.boot in self._killed and not row.ended for row in rows)
        return [f"the loss ledger has not closed {unsettled} accounts of {place.topic}"] if unsettled else []

    def _on_reports(self, _topic: str, _partition: int, records: Sequence[KafkaRecord]) -> None:
        now = time.monotonic()
        for record in records:
            report = self._reports.take(record.value)
            if report is not None:
                self._heard_at[report.boot] = now - (0.0 if self.reports_tail.caught_up.is_set() else _age_s(report))
        self._grown.set()


@asynccontextmanager
async def surveying(settings: Settings, catalog: Catalog) -> AsyncIterator[Survey]:
    """A survey that knows the reports of the last minute, and goes on reading them while the block runs.

    Raises:
        ConfigurationError: no broker answers.
    """
    servers = settings.kafka.bootstrap_servers
    counts = await partition_counts(servers, [catalog.reports_topic])
    connection: Connection = connect(settings.redis)
    try:
        async with watching(servers) as progress:
            survey = Survey(
                settings,
                progress,
                LedgerState(connection),
                reports_topic=catalog.reports_topic,
                partitions=counts[catalog.reports_topic],
            )
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(survey.reports_tail.run())
                try:
                    await survey.reports_tail.caught_up.wait()
                    yield survey
                finally:
                    reading.cancel()
    except* GamebusError as group:
        raise first_error(group) from None
    finally:
        await connection.close()


def _age_s(report: Report) -> float:
    return max(0.0, time.time() - report.sent_ms / 1000 - _CLOCK_DIFFERENCE_S)
