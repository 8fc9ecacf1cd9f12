"""How units of durable records are brought to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiokafka import ConsumerRecord

from gamebus.delivery.durable_handling import Handling
from gamebus.delivery.partition_work import KafkaRecord, PartitionWork, SourcedRecord, Unit
from gamebus.errors import PayloadError, RecordError, StateError
from gamebus.record import DurableRecord, encode_durable


class Letters:
    """Keeps what is buried."""

    def __init__(self) -> None:
        self.buried: list[tuple[int, str]] = []

    async def write(self, record: KafkaRecord, error: Exception) -> None:
        self.buried.append((record.offset, str(error)))


class Handler:
    """Answers each call by `answer(ids, call number)`: an error to raise, or None."""

    def __init__(self, answer: Callable[[list[str], int], Exception | None]) -> None:
        self._answer = answer
        self.calls: list[list[str]] = []
        self.called = asyncio.Event()

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        assert room == "arena"
        ids = [record.record.id for record in records]
        self.calls.append(ids)
        self.called.set()
        error = self._answer(ids, len(self.calls))
        if error is not None:
            raise error


def unit(*ids: str) -> Unit:
    """A unit of records with these ids; one without an id cannot be decoded."""
    records: list[KafkaRecord] = []
    for offset, id_ in enumerate(ids):
        record = DurableRecord("chat", "arena", "ann", 5, "ann", id_, {"text": "hi"})
        value = encode_durable(record) if id_ else b"?"
        records.append(ConsumerRecord("t", 0, offset, 1, 0, b"arena", value, None, 5, len(value), ()))
    (only,) = PartitionWork("t", 0, 0).take(records, now=0.0)
    return only


def handling(handler: Handler, letters: Letters, *, max_attempts: int = 3) -> Handling:
    return Handling(handler, letters, max_attempts=max_attempts, retry_backoff_ms=1)


class TestHandling:
    async def test_a_unit_is_one_call(self) -> None:
        """The handler sees all records of a room in one poll, so that it can apply them in one script."""
        handler, letters = Handler(lambda ids, call: None), Letters()
        runner = handling(handler, letters)

        await runner.run(unit("1", "2", "3"))

        assert handler.calls == [["1", "2", "3"]]
        assert runner.handled == 3

    @pytest.mark.parametrize("error", [PayloadError("no weapon"), RecordError("no such type")])
    async def test_a_refused_record_is_buried_at_once_and_alone(self, error: Exception) -> None:
        """The poison record is found by taking the unit apart; those around it are handled, in order."""
        handler, letters = Handler(lambda ids, call: error if "2" in ids else None), Letters()

        await handling(handler, letters).run(unit("1", "2", "3"))

        assert handler.calls == [["1", "2", "3"], ["1"], ["2"], ["3"]]
        assert letters.buried == [(1, str(error))]

    async def test_an_unexpected_error_is_retried_a_bounded_number_of_times(self) -> None:
        """A bug that one record meets costs this record, after a few tries; it does not stop the partition."""
        handler, letters = Handler(lambda ids, call: KeyError("weapon")), Letters()
        runner = handling(handler, letters, max_attempts=4)

        await runner.run(unit("1"))

        assert handler.calls == [["1"]] * 4
        assert letters.buried == [(0, "'weapon'")]
        assert (runner.handled, runner.dead, runner.retries) == (0, 1, 3)

    async def test_a_passing_error_is_forgotten(self) -> None:
        """An error that a retry mends leaves no dead letter."""
        handler, letters = Handler(lambda ids, call: KeyError("once") if call == 1 else None), Letters()

        await handling(handler, letters).run(unit("1"))

        assert letters.buried == []

    @pytest.mark.parametrize("error", [StateError("redis is down"), TimeoutError(), ConnectionResetError()])
    async def test_an_outage_is_waited_out_however_long(self, error: Exception) -> None:
        """Redis being away is no fault of a record: far more failures than attempts, and still no dead letter."""
        handler, letters = Handler(lambda ids, call: error if call <= 10 else None), Letters()
        runner = handling(handler, letters, max_attempts=2)

        await runner.run(unit("1", "2"))

        assert handler.calls == [["1", "2"]] * 11
        assert letters.buried == []
        assert runner.handled == 2

    async def test_an_outage_ends_with_the_assignment(self) -> None:
        """A partition that was taken away is not waited for."""
        handler, letters = Handler(lambda ids, call: StateError("redis is down")), Letters()
        work = unit("1")
        running = asyncio.create_task(handling(handler, letters).run(work))
        await handler.called.wait()

        work.work.drop()
        await running

        assert letters.buried == []

    async def test_undecodable_records_never_reach_the_handler(self) -> None:
        """A record that is not gamebus's is buried with the reason."""
        handler, letters = Handler(lambda ids, call: None), Letters()

        await handling(handler, letters).run(unit("", ""))

        assert handler.calls == []
        assert [offset for offset, _ in letters.buried] == [0, 1]
