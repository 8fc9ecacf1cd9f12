"""How a unit of durable records is brought to its end: handled, or its poison records dead-lettered.

Rules: an outage (Redis does not answer) is waited out, however long it takes; a record that its handler refuses goes to the dead
letters at once; any other error is retried a bounded number of times first. A unit that fails is taken apart, so that a poison
record does not take the good ones with it; a handler therefore sees records again, and tells repetitions apart by event id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from gamebus.delivery.partition_work import KafkaRecord, SourcedRecord, Unit
from gamebus.errors import PayloadError, RecordError, StateError
from gamebus.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)

_OUTAGE = (StateError, TimeoutError, OSError)
_REFUSED = (PayloadError, RecordError)
_MAX_BACKOFF_MS: Final = 5_000


class DurableHandler(Protocol):
    """What a durable record does."""

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        """Bring about the effects of records of one room, in order; returning means that all of them are durable.

        Called for different rooms at the same time, for one room one call after the other. The same records come again after
        a crash, a rebalance, or an error in the same call: an effect is applied once per event id.

        Raises:
            StateError, TimeoutError, OSError: an outage; the call is repeated until it succeeds.
            PayloadError, RecordError: the record cannot be handled, now or later: a dead letter.
            Exception: anything else is tried again a few times, then it makes a dead letter too.
        """


class DeadLetterSink(Protocol):
    """Where records go that cannot be handled: :class:`~gamebus.delivery.dead_letters.DeadLetters`."""

    async def write(self, record: KafkaRecord, error: Exception) -> None:
        """Return when the record is safely kept."""


class Handling:
    """Runs units through a handler.

    Args:
        max_attempts: tries of one record before it is dead-lettered for an unexpected error.
        retry_backoff_ms: first pause between tries; doubles up to 5 s.
        group_id: the consumer group, for traces.
    """

    def __init__(
        self,
        handler: DurableHandler,
        dead_letters: DeadLetterSink,
        *,
        max_attempts: int,
        retry_backoff_ms: int,
        group_id: str = "",
        tracing: Tracing | None = None,
    ) -> None:
        self._handler = handler
        self._dead_letters = dead_letters
        self._max_attempts = max_attempts
        self._retry_backoff_ms = retry_backoff_ms
        self._group_id = group_id
        self._tracing = tracing
        self.handled = 0
        self.dead = 0
        self.retries = 0
        self.waiting = 0
        """Units that wait for the end of an outage now."""

    async def run(self, unit: Unit) -> None:
        """Return when every record of the unit is handled or dead-lettered, or its partition was dropped."""
        if self._tracing is None:
            await self._run(unit)
        else:
            await self._tracing.processing(self._group_id, unit.source, self._run(unit))

    async def _run(self, unit: Unit) -> None:
        if unit.faults:
            for source, fault in zip(unit.source, unit.faults, strict=True):
                await self._bury(source, fault)
            return
        alone = len(unit.records) == 1
        error = await self._try(unit, unit.records, attempts=self._max_attempts if alone else 1)
        if error is None:
            return
        if alone:
            await self._bury(unit.source[0], error)
            return
        for source, record in zip(unit.source, unit.records, strict=True):
            error = await self._try(unit, [record], attempts=self._max_attempts)
            if error is not None:
                await self._bury(source, error)

    async def _try(self, unit: Unit, records: Sequence[SourcedRecord], *, attempts: int) -> Exception | None:
        """Returns the error that the records are to blame for; None when they are handled, or nobody waits any more."""
        outages = failures = 0
        while not unit.work.dropped:
            try:
                await self._handler.handle(unit.room, records)
            except _OUTAGE as error:
                outages += 1
                await self._wait_out(unit, error, outages)
            except _REFUSED as error:
                return error
            except Exception as error:  # noqa: BLE001 - a bug that one record meets must not stop all others
                failures += 1
                if failures >= attempts:
                    return error
                self.retries += 1
                await asyncio.sleep(self._backoff_s(failures))
            else:
                self.handled += len(records)
                return None
        return None

    async def _wait_out(self, unit: Unit, error: Exception, outages: int) -> None:
        if outages == 1:
            _log.warning("handler.blocked", room=unit.room, error=str(error))
        self.retries += 1
        self.waiting += 1
        try:
            await asyncio.sleep(self._backoff_s(outages))
        finally:
            self.waiting -= 1

    def _backoff_s(self, failures: int) -> float:
        return min(self._retry_backoff_ms << min(failures - 1, 16), _MAX_BACKOFF_MS) / 1000

    async def _bury(self, source: KafkaRecord, error: Exception) -> None:
        if self._tracing is not None:
            self._tracing.refused(source, error)
        await self._dead_letters.write(source, error)
        self.dead += 1
