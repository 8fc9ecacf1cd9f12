"""The work of one assigned partition: its records grouped by room, the rooms side by side, each room in order.

Pure: no I/O, time is an argument. Not safe for several threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord

from gamebus.delivery.watermark import Watermark
from gamebus.errors import RecordError
from gamebus.record import DurableRecord, decode_durable

KafkaRecord = ConsumerRecord[bytes, bytes]

_POISON_ROOM: Final = ""
"""Lane of records that have no room because they cannot be decoded; no room has this name."""


@dataclass(slots=True)
class SourcedRecord:
    """A durable record and where it was read. Not frozen: one is made per record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    record: DurableRecord


@dataclass(slots=True, eq=False)
class Unit:
    """Records of one room from one poll of one partition, in order; they finish together."""

    work: PartitionWork
    room: str
    first_offset: int
    taken_at: float
    source: list[KafkaRecord] = field(default_factory=list)
    """As read."""

    records: list[SourcedRecord] = field(default_factory=list)
    """The same, decoded; empty in a unit of poison records."""

    faults: list[RecordError] = field(default_factory=list)
    """Why each record of a unit of poison records cannot be decoded."""


class PartitionWork:
    """What was read of a partition and is not done.

    Guarantees: the units of one room are runnable one after the other, in offset order; units of different rooms at the same
    time. `committable` is a :class:`~gamebus.delivery.watermark.Watermark`.

    Args:
        start: offset of the first record that will be read.
    """

    def __init__(self, topic: str, partition: int, start: int) -> None:
        self.topic = topic
        self.partition = partition
        self.in_flight = 0
        """Records read and not done: what the intake bounds."""

        self.dropped = False
        """The partition was taken away or is read again from an earlier offset: what finishes now does not count."""

        self._watermark = Watermark(start)
        # For each room with unfinished units those that wait behind the running one.
        self._waiting: dict[str, deque[Unit]] = {}
        # Unfinished units by first offset, oldest first.
        self._unfinished: dict[int, Unit] = {}

    @property
    def committable(self) -> int:
        """Offset up to which everything is done."""
        return self._watermark.committable

    @property
    def next(self) -> int:
        """Offset of the next record to read."""
        return self._watermark.next

    @property
    def idle(self) -> bool:
        """Whether nothing is unfinished."""
        return not self._unfinished

    def oldest_taken_at(self) -> float | None:
        """When the oldest unfinished unit was read; None when there is none."""
        return min((unit.taken_at for unit in self._unfinished.values()), default=None)

    def take(self, records: Sequence[KafkaRecord], now: float) -> list[Unit]:
        """Take the next records of the partition in and return the units that can run now."""
        units: dict[str, Unit] = {}
        topic, partition = self.topic, self.partition
        for source in records:
            offset = source.offset
            try:
                record = decode_durable(source.value)
            except RecordError as fault:
                unit = units.get(_POISON_ROOM) or self._new_unit(units, _POISON_ROOM, offset, now)
                unit.faults.append(fault)
            else:
                room = record.room
                unit = units.get(room) or self._new_unit(units, room, offset, now)
                unit.records.append(SourcedRecord(topic, partition, offset, source.timestamp, record))
            unit.source.append(source)
        self._watermark.read_to(records[-1].offset + 1)
        self.in_flight += len(records)
        runnable = []
        for room, unit in units.items():
            if room in self._waiting:
                self._waiting[room].append(unit)
            else:
                self._waiting[room] = deque()
                runnable.append(unit)
        return runnable

    def finish(self, unit: Unit) -> Unit | None:
        """A unit is done; returns the next one of its room, which can run now."""
        self.in_flight -= len(unit.source)
        del self._unfinished[unit.first_offset]
        self._watermark.done(unit.first_offset)
        waiting = self._waiting[unit.room]
        if waiting:
            return waiting.popleft()
        del self._waiting[unit.room]
        return None

    def drop(self) -> None:
        """Forget what waits behind running units; what runs finishes without effect on any commit."""
        self.dropped = True
        for waiting in self._waiting.values():
            for unit in waiting:
                del self._unfinished[unit.first_offset]
            waiting.clear()

    def _new_unit(self, units: dict[str, Unit], room: str, offset: int, now: float) -> Unit:
        unit = units[room] = self._unfinished[offset] = Unit(self, room, offset, now)
        self._watermark.take(offset)
        return unit
