"""Outbox of one client: what the gateway has for it and its transport has not taken yet.

Guarantees:

* frames that are sent arrive in the order of the calls, once each, or the connection ends;
* a client that does not read costs bounded memory: control and durable frames up to `limit_bytes` (one larger frame is let
  through alone), for ticks one number per room, for a replay one reference per missed event;
* nothing here waits, so a stalled reader never delays another.

Non-guarantees: a tick may overtake durable frames and the reverse; events of a room that is being replayed wait behind its
replay, those of other rooms and control frames do not.

While the transport takes bytes the outbox is empty and `writable`, and a broadcast may call `write` itself: the hub does so
for every receiver, which is why those two are plain attributes. Everything else happens only behind a slow reader:

=========  ====================================================================================
frames     queued, counted; past the bound the client is cut off (close code 4001)
ticks      conflated: a room remembers what moved since, the outbox only since when
replays    pulled one event at a time while the transport takes them; not counted, because they are
           history that the hub holds anyway. Live events of such a room wait behind, and are counted
=========  ====================================================================================

Not safe for several threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gamebus.protocol.frames import Encoding

# A replay hands the loop back after so many bytes: a kernel that takes megabytes at once must not delay other clients.
_REPLAY_SLICE_BYTES: Final = 65_536


class Event(Protocol):
    """A durable event that the history holds."""

    @property
    def cursor(self) -> str:
        """Where to resume after this event."""

    def frame(self, encoding: Encoding) -> bytes:
        """The event as a complete websocket frame."""


class TickSource(Protocol):
    """A room, as far as ticks are concerned."""

    def catch_up(self, outbox: Outbox) -> bytes | None:
        """A frame with all that changed while the client missed ticks, or None when nothing did."""


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """Figures of one outbox."""

    queued_bytes: int
    peak_bytes: int
    missed_rooms: int
    """Rooms that owe this client a catch-up tick."""
    replays: int
    overflowed: bool


class Reservation:
    """The place of a frame that is not known yet; what was sent after it waits."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        # None: not known yet. Empty: withdrawn.
        self.frame: bytes | None = None


class _Replay:
    __slots__ = ("cursor", "live", "missed")

    def __init__(self, missed: Iterable[Event], cursor: str) -> None:
        self.missed: deque[Event] = deque(missed)
        self.live: deque[Event] = deque()
        # Of the last event that was handed to the transport.
        self.cursor = cursor


class Outbox:
    """Queue between the hub and one transport.

    The driver calls :meth:`pause` and :meth:`resume` from asyncio's `pause_writing` and `resume_writing`.

    Args:
        write: `transport.write`.
        encoding: of every frame that goes to this client.
        on_overflow: called once, from `call_soon` and never from within a broadcast, when the bound was passed. The outbox
            is closed by then: the driver writes `bye` and the close frame to the transport itself.
        call_soon: of the event loop.
        limit_bytes: bound of what is queued.
    """

    __slots__ = (
        "_call_soon",
        "_closed",
        "_flushing",
        "_limit_bytes",
        "_missed",
        "_on_overflow",
        "_overflowed",
        "_paused",
        "_peak_bytes",
        "_queue",
        "_queued_bytes",
        "_replays",
        "encoding",
        "writable",
        "write",
    )

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        encoding: Encoding,
        on_overflow: Callable[[], object],
        call_soon: Callable[[Callable[[], object]], Any],
        limit_bytes: int = 262_144,
    ) -> None:
        self.write = write
        self.encoding = encoding
        # Nothing waits and the transport takes bytes: a frame may be written past this object.
        self.writable = True
        self._on_overflow = on_overflow
        self._call_soon = call_soon
        self._limit_bytes = limit_bytes
        self._paused = False
        self._closed = False
        self._overflowed = False
        # A flush is running, or scheduled.
        self._flushing = False
        # None: empty. An empty deque takes 760 bytes, as much as all else here.
        self._queue: deque[bytes | Reservation] | None = None
        self._queued_bytes = 0
        self._peak_bytes = 0
        # Rooms that owe this client a tick; in the order in which it fell behind.
        self._missed: dict[TickSource, None] = {}
        self._replays: dict[str, _Replay] = {}

    @property
    def empty(self) -> bool:
        """Whether every frame has been handed to the transport."""
        return not (self._queue or self._replays)

    def send(self, frame: bytes) -> None:
        """Send a control frame, after everything that was sent before."""
        if self.writable:
            self.write(frame)
        elif self._admit(len(frame)):
            self._enqueue(frame)

    def event(self, room: str, event: Event) -> None:
        """Send a durable event of `room`, after everything that was sent before and after the replay of the room."""
        if self.writable:
            self.write(event.frame(self.encoding))
            return
        frame = event.frame(self.encoding)
        if self._admit(len(frame)):
            replay = self._replays.get(room)
            if replay is None:
                self._enqueue(frame)
            else:
                replay.live.append(event)

    def reserve(self) -> Reservation:
        """Keep a place for a control frame that is not known yet: see :meth:`fill`."""
        reservation = Reservation()
        if not self._closed:
            self.writable = False
            self._enqueue(reservation)
        return reservation

    def fill(self, reservation: Reservation, frame: bytes) -> None:
        """Send a control frame at its reserved place; an empty one only gives up the place."""
        if self._admit(len(frame)):
            reservation.frame = frame
            self._flush()

    def miss_tick(self, room: TickSource) -> bool:
        """Note that a tick could not be written: the room is asked for a catch-up as soon as the transport takes bytes.

        Returns:
            False when this client gets nothing any more.
        """
        if not self._closed:
            self._missed[room] = None
        return not self._closed

    def replay(self, room: str, missed: Iterable[Event], cursor: str) -> None:
        """Send events that the client missed, as fast as it reads; live ones of the room follow behind.

        Args:
            room: its name.
            missed: the events in order.
            cursor: what the client asked to resume from.
        """
        if not self._closed:
            self._replays[room] = _Replay(missed, cursor)
            self.writable = False
            self._flush()

    def replay_cursor(self, room: str) -> str | None:
        """Cursor of the last replayed event of `room`; None when no replay is under way."""
        replay = self._replays.get(room)
        return None if replay is None else replay.cursor

    def forget(self, room: str, source: TickSource) -> None:
        """Drop what a room still owes this client: the client has left it."""
        self._missed.pop(source, None)
        replay = self._replays.pop(room, None)
        if replay is not None:
            self._queued_bytes -= sum(len(event.frame(self.encoding)) for event in replay.live)

    def pause(self) -> None:
        """The transport's buffer is full (`pause_writing`)."""
        self._paused = True
        self.writable = False

    def resume(self) -> None:
        """The transport takes bytes again (`resume_writing`)."""
        self._paused = False
        self._flush()

    def close(self) -> None:
        """Drop everything, now and from now on."""
        self._closed = True
        self.writable = False
        self._queue = None
        self._missed.clear()
        self._replays.clear()
        self._queued_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """What waits for the client."""
        return self._queued_bytes

    @property
    def peak_bytes(self) -> int:
        """Most that ever waited."""
        return self._peak_bytes

    def statistics(self) -> OutboxStatistics:
        """Figures of this moment."""
        return OutboxStatistics(
            queued_bytes=self._queued_bytes,
            peak_bytes=self._peak_bytes,
            missed_rooms=len(self._missed),
            replays=len(self._replays),
            overflowed=self._overflowed,
        )

    def _admit(self, size: int) -> bool:
        """Count bytes that have to wait; false when the client is cut off."""
        if self._closed:
            return False
        # A frame larger than the whole bound can only ever pass alone.
        if self._queued_bytes and self._queued_bytes + size > self._limit_bytes:
            self._overflowed = True
            self.close()
            self._call_soon(self._on_overflow)
            return False
        self._queued_bytes += size
        self._peak_bytes = max(self._peak_bytes, self._queued_bytes)
        return True

    def _enqueue(self, item: bytes | Reservation) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(item)

    def _flush(self) -> None:
        """Hand over what waits until the transport is full: frames first, then ticks, then replays."""
        # `write` may pause and resume within the call, so this may be entered again.
        if self._flushing:
            return
        self._flushing = True
        slice_bytes = _REPLAY_SLICE_BYTES
        while not self._paused and not self._closed:
            if self._queue and (frame := _known(self._queue[0])) is not None:
                self._queue.popleft()
                self._queued_bytes -= len(frame)
                if frame:
                    self.write(frame)
            elif self._missed:
                room = next(iter(self._missed))
                del self._missed[room]
                tick = room.catch_up(self)
                if tick is not None:
                    self.write(tick)
            elif self._replays and slice_bytes > 0:
                slice_bytes -= self._replay_next()
            elif self._replays:
                self._call_soon(self._continue)
                return
            else:
                # What is left begins with a reservation.
                self.writable = not self._queue
                self._queue = self._queue or None
                break
        self._flushing = False

    def _continue(self) -> None:
        self._flushing = False
        self._flush()

    def _replay_next(self) -> int:
        """Write one event of the eldest replay; returns its size."""
        room, replay = next(iter(self._replays.items()))
        if replay.missed:
            event = replay.missed.popleft()
            frame = event.frame(self.encoding)
        elif replay.live:
            event = replay.live.popleft()
            frame = event.frame(self.encoding)
            self._queued_bytes -= len(frame)
        else:
            del self._replays[room]
            return 0
        replay.cursor = event.cursor
        self.write(frame)
        return len(frame)


def _known(item: bytes | Reservation) -> bytes | None:
    return item.frame if isinstance(item, Reservation) else item
