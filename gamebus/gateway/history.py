"""What the durable tail brought lately: events for clients that resume, ids of events that were delivered.

The topics of durable events are read in full by every gateway, from some minutes back, so that a restarted gateway knows what
its predecessor delivered. Per room it keeps

* the last `history_events` events of the last `history_ms`, for `resume`. A cursor of a client names, per durable topic, the
  next offset to read in the room's partition; what it has missed is every event of the room at or past these offsets;
* the ids of the last 10,000 events of the last two minutes (or of `history_ms`, if that is longer), so that an event which
  its publisher sent again is not delivered again. Seen again, an id counts from then.

Guarantee: :meth:`History.missed` is complete, or None. So a gap is never passed over in silence: an offset below which
something may have been dropped, here or before this gateway began to read, is never resumed from.

Memory: events of all rooms together at most `memory_bytes`, the eldest go first; ids at most 10,000 a room, and no room is kept
for the sake of ids older than the window.

Pure: time is an argument (`now`, monotonic seconds).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol import frames
from gamebus.protocol.cursor import CursorCodec
from gamebus.protocol.frames import Encoding
from gamebus.record import DurableRecord
from gamebus.telemetry.metrics import counter, gauge

DUPLICATE_WINDOW_S: Final = 120.0
DUPLICATE_WINDOW_EVENTS: Final = 10_000

# What an event costs beside its data: objects, frames of both encodings with their cursor.
_EVENT_OVERHEAD_BYTES: Final = 1_500
# Decoded data and two frames against the bytes in Kafka.
_EXPANSION: Final = 6


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """Figures of the history."""

    rooms: int = gauge("Rooms with events or ids in the history.")
    events: int = gauge("Events that can be resumed.")
    used_bytes: int = gauge("Memory of these events, estimated from above.")
    ids: int = gauge("Ids in the duplicate window.")
    evicted_total: int = counter("Events evicted before their time, for memory.")


class LoggedEvent:
    """A durable event at its place in the order of delivery."""

    __slots__ = ("_frames", "at", "cursor", "offset", "record", "size_bytes", "topic")

    def __init__(
        self, record: DurableRecord, topic: str, offset: int, cursor: str, at: float, value_bytes: int
    ) -> None:
        self.record = record
        self.topic = topic
        self.offset = offset
        # Where to resume after this event.
        self.cursor = cursor
        self.at = at
        self.size_bytes = _EVENT_OVERHEAD_BYTES + _EXPANSION * value_bytes
        self._frames: dict[Encoding, bytes] = {}

    def frame(self, encoding: Encoding) -> bytes:
        """The `event` message as a websocket frame, encoded once."""
        frame = self._frames.get(encoding)
        if frame is None:
            record = self.record
            message = frames.event(
                record.type, record.room, record.player, record.server_ms, record.data, record.id, self.cursor
            )
            frame = self._frames[encoding] = server_frame(message, encoding)
        return frame


class _RoomLog:
    """Events and ids of one room."""

    __slots__ = ("events", "floor", "ids", "room", "void")

    def __init__(self, room: str) -> None:
        self.room = room
        self.events: deque[LoggedEvent] = deque()
        # Identity -> when it was last seen; in that order.
        self.ids: dict[str, float] = {}
        # Topic -> offset below which events of this room were dropped.
        self.floor: dict[str, int] = {}
        # Events that went otherwise than through the queue of the history, which still holds a place for each of them.
        self.void = 0

    def drop_eldest(self) -> LoggedEvent:
        event = self.events.popleft()
        self.floor[event.topic] = event.offset + 1
        return event


class History:
    """The tail of all durable topics, by room.

    Args:
        catalog: names the durable topics.
        partition: `(topic, key) -> partition`, Kafka's own partitioner.
        history_ms: how long an event can be resumed.
        history_events: how many events of a room can be resumed.
        memory_bytes: bound of the events of all rooms.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        partition: Callable[[str, str], int],
        history_ms: int,
        history_events: int,
        memory_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.follow(catalog)
        self._partition = partition
        self._keep_s = history_ms / 1000
        self._keep_events = history_events
        self._window_s = max(DUPLICATE_WINDOW_S, self._keep_s)
        self._memory_bytes = memory_bytes
        # (topic, partition) -> offset of the next record; everything before it was delivered.
        self._next: dict[tuple[str, int], int] = {}
        # (topic, partition) -> offset before which this history is not complete for every room.
        self._floor: dict[tuple[str, int], int] = {}
        self._logs: dict[str, _RoomLog] = {}
        # One place for each event, in order of arrival: finds the eldest of all rooms.
        self._order: deque[_RoomLog] = deque()
        self._events = 0
        self._used_bytes = 0
        self._evicted = 0

    def follow(self, catalog: Catalog) -> None:
        """Go on with the topics of another generation of the catalog.

        Of a topic that is new, everything since its beginning is to come. What is known of one that is gone is not resumed any
        more: it must be so old that nobody asks for it.
        """
        self._codec = CursorCodec(catalog)
        self._topics = tuple(topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE))

    def begin(self, positions: Mapping[tuple[str, int], int]) -> None:
        """The tail has caught up: its positions, those of partitions without recent records included."""
        for key, offset in positions.items():
            self._floor.setdefault(key, offset)
            self._next[key] = max(offset, self._next.get(key, 0))

    def advance(self, topic: str, partition: int, offset: int) -> None:
        """The record at `offset` has been read; call it for every record, before anything is done with it."""
        key = (topic, partition)
        self._next[key] = offset + 1
        if key not in self._floor:
            self._floor[key] = offset

    def append(
        self, topic: str, offset: int, record: DurableRecord, *, value_bytes: int, now: float
    ) -> LoggedEvent | None:
        """Take in an event; None when its id was seen within the window, so that it must not be delivered again."""
        log = self._logs.get(record.room)
        if log is None:
            log = self._logs[record.room] = _RoomLog(record.room)
        identity = record.identity
        seen = log.ids.pop(identity, None)
        log.ids[identity] = now
        if seen is not None and seen > now - self._window_s:
            return None
        if len(log.ids) > DUPLICATE_WINDOW_EVENTS:
            del log.ids[next(iter(log.ids))]
        event = LoggedEvent(record, topic, offset, self.cursor(record.room, self.head(record.room)), now, value_bytes)
        log.events.append(event)
        self._order.append(log)
        self._events += 1
        self._used_bytes += event.size_bytes
        if len(log.events) > self._keep_events:
            self._drop_in_place(log)
        while self._used_bytes > self._memory_bytes and self._order:
            self._evict()
        return event

    def head(self, room: str) -> dict[str, int]:
        """Place after everything that was delivered: topic -> next offset in the room's partition."""
        return {topic: self._next.get((topic, self._partition(topic, room)), 0) for topic in self._topics}

    def after(self, room: str, topic: str, offset: int) -> dict[str, int]:
        """Place for the publisher of the record at `offset`, which may be delivered later than it is acknowledged.

        It never passes an event that was not delivered. When the record is the very next one of its partition, the place is
        behind it, since its publisher knows it; otherwise it is before, and a resume may bring the record.
        """
        place = self.head(room)
        if place.get(topic) == offset:
            place[topic] = offset + 1
        return place

    def cursor(self, room: str, place: Mapping[str, int]) -> str:
        """A place as clients know it."""
        return self._codec.encode(room, place)

    def parse(self, room: str, cursor: str) -> dict[str, int] | None:
        """The place of a client's cursor; None when it is no cursor of this room."""
        return self._codec.parse(room, cursor)

    def is_ahead(self, room: str, place: Mapping[str, int]) -> bool:
        """Whether `place` comes from a gateway that has read further than this one."""
        return any(place.get(topic, 0) > offset for topic, offset in self.head(room).items())

    def missed(self, room: str, place: Mapping[str, int], now: float) -> list[LoggedEvent] | None:
        """Events of `room` after `place`, in order of delivery; None when they are not known completely."""
        log = self._logs.get(room)
        if log is not None:
            self._trim(log, now)
        for topic in self._topics:
            # A place that was taken before the topic came begins where the topic does.
            offset = place.get(topic, 0)
            key = (topic, self._partition(topic, room))
            if not self._floor.get(key, 0) <= offset <= self._next.get(key, 0):
                return None
            if log is not None and offset < log.floor.get(topic, 0):
                return None
        if log is None:
            return []
        return [
            event for event in log.events if event.topic in self._topics and event.offset >= place.get(event.topic, 0)
        ]

    def sweep(self, now: float) -> None:
        """Forget what is too old; call it every few seconds."""
        for room, log in list(self._logs.items()):
            self._trim(log, now)
            horizon = now - self._window_s
            while log.ids:
                eldest = next(iter(log.ids))
                if log.ids[eldest] > horizon:
                    break
                del log.ids[eldest]
            if not log.ids and not log.events:
                self._forget(room, log)
        while self._order and self._order[0].void:
            self._order.popleft().void -= 1

    def statistics(self) -> HistoryStatistics:
        """Figures of this moment."""
        return HistoryStatistics(
            rooms=len(self._logs),
            events=self._events,
            used_bytes=self._used_bytes,
            ids=sum(len(log.ids) for log in self._logs.values()),
            evicted_total=self._evicted,
        )

    def _trim(self, log: _RoomLog, now: float) -> None:
        horizon = now - self._keep_s
        while log.events and log.events[0].at <= horizon:
            self._drop_in_place(log)

    def _drop_in_place(self, log: _RoomLog) -> None:
        log.void += 1
        self._drop(log)

    def _evict(self) -> None:
        """Drop the eldest event of all rooms."""
        log = self._order.popleft()
        # A room's places and its events are in the same order, so the places of those that went before are its first.
        if log.void:
            log.void -= 1
        else:
            self._drop(log)
            self._evicted += 1

    def _drop(self, log: _RoomLog) -> None:
        event = log.drop_eldest()
        self._events -= 1
        self._used_bytes -= event.size_bytes

    def _forget(self, room: str, log: _RoomLog) -> None:
        # What the room dropped must still be known to be missing; coarser, but only for cursors older than the window.
        for topic, offset in log.floor.items():
            key = (topic, self._partition(topic, room))
            self._floor[key] = max(offset, self._floor.get(key, 0))
        del self._logs[room]
