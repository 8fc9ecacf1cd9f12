"""Outbox of records that Kafka has not acknowledged: one lane per partition, bounded together.

Guarantees: a lane hands its records out in the order in which they were added, also after a batch of them came back; every
record leaves exactly once, by :meth:`Outbox.settle` or :meth:`Outbox.expire`. Overflow policy: a new record that does not fit
is refused, what was accepted stays.

Pure: no I/O, time is an argument. Not safe for several threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Headers = Sequence[tuple[str, bytes]]

RECORD_OVERHEAD_BYTES = 64
"""More than the fields of a record and of its entry in a batch take besides key, value and headers (Kafka record format v2)."""


@dataclass(frozen=True, slots=True)
class Written:
    """Where the brokers keep an acknowledged record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


@dataclass(slots=True, eq=False)
class Entry:
    """A record on its way. Not frozen: one is made per record."""

    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int
    size_bytes: int
    deadline: float
    """Monotonic seconds after which nobody waits for the record any more."""

    outcome: asyncio.Future[Written]
    """For the publisher's caller; the outbox never touches it."""

    offered: bool = False
    """Whether it was ever handed to a producer: from then on nobody can say that it was surely not written."""

    settled: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """The records of one partition: `in_flight` is the batch that a producer has, `queue` what waits behind it."""

    topic: str
    partition: int
    queue: deque[Entry] = field(default_factory=deque)
    in_flight: list[Entry] = field(default_factory=list)


class Outbox:
    """Bounded by bytes and by records, over all lanes.

    Args:
        limit_bytes: keys, values, headers and overhead. A batch whose records all expired in flight is not counted any more
            although the producer still has it: at most one batch for each lane.
        limit_records: the same, in records.
    """

    def __init__(self, *, limit_bytes: int, limit_records: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_records = limit_records
        self._lanes: list[Lane] = []
        self.bytes = 0
        self.records = 0

    def open_lane(self, topic: str, partition: int) -> Lane:
        """Add the lane of a partition."""
        lane = Lane(topic, partition)
        self._lanes.append(lane)
        return lane

    def fits(self, size_bytes: int) -> bool:
        """Whether a record of that size is accepted now."""
        return self.records < self._limit_records and self.bytes + size_bytes <= self._limit_bytes

    def add(self, lane: Lane, entry: Entry) -> None:
        """Queue a record behind the others of its lane. The caller has asked :meth:`fits`; deadlines of a lane rise."""
        lane.queue.append(entry)
        self.records += 1
        self.bytes += entry.size_bytes

    def take(self, lane: Lane, *, limit_bytes: int, limit_records: int) -> list[Entry]:
        """Move the oldest records of a lane into flight: at least one if there is one, else as many as the limits allow."""
        assert not lane.in_flight, "a lane has one batch in flight: two could change places"
        size_bytes = 0
        while lane.queue and len(lane.in_flight) < limit_records:
            size_bytes += lane.queue[0].size_bytes
            if lane.in_flight and size_bytes > limit_bytes:
                break
            entry = lane.queue.popleft()
            entry.offered = True
            lane.in_flight.append(entry)
        return lane.in_flight

    def settle(self, entry: Entry) -> bool:
        """The outcome of a record in flight is known; false when it had expired before."""
        if entry.settled:
            return False
        entry.settled = True
        self.records -= 1
        self.bytes -= entry.size_bytes
        return True

    def landed(self, lane: Lane) -> None:
        """The producer is done with the batch of a lane, whose records are settled."""
        lane.in_flight = []

    def give_back(self, lane: Lane) -> None:
        """The producer gave the batch up: what is unsettled of it goes back to the head of the queue, in its old order."""
        lane.queue.extendleft(entry for entry in reversed(lane.in_flight) if not entry.settled)
        lane.in_flight = []

    def entries(self) -> Iterator[Entry]:
        """Every record whose outcome is open."""
        for lane in self._lanes:
            yield from (entry for entry in lane.in_flight if not entry.settled)
            yield from lane.queue

    def expire(self, now: float) -> Iterator[Entry]:
        """Settle and return the records whose deadline has passed. Those in flight stay with their producer."""
        if not self.records:
            return
        for lane in self._lanes:
            for entry in lane.in_flight:
                if entry.deadline <= now and self.settle(entry):
                    yield entry
            while lane.queue and lane.queue[0].deadline <= now:
                entry = lane.queue.popleft()
                self.settle(entry)
                yield entry
