"""The client's side of the wire protocol, without I/O.

Bytes and time come in as arguments, frames to write come out of `frames_to_send`, everything else is returned. The driver
(:mod:`gamebus_client.client`) owns the socket, the clock and the waiting.

    connect -> receive(welcome) -> receive ... -> disconnect -> connect -> ...

What lives through a reconnect: the rooms that are wanted with their cursors, the outbox of durable events, the sequence of
positions. A room's events are held back until the room is joined again, because the gateway refuses them before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from gamebus_client.clock import ClockOffset
from gamebus_client.codec import Bye, Codec, Frame, Nack, Pong, TokenAccepted, Welcome
from gamebus_client.exceptions import InvalidMessage, ProtocolViolation, PublishError
from gamebus_client.messages import Ack, Error, Event, Joined, Left, Presence, Tick
from gamebus_client.outbox import Outbox
from gamebus_client.reconnect import is_terminal

_AT_MOST_ONCE: Final = "at-most-once"
_AT_LEAST_ONCE: Final = "at-least-once"

# Pings without an answer that are remembered; the gateway refuses more than ten a second.
_PINGS_KEPT: Final = 64

# Cursors of delivered events kept per room, to recognise what a resume brings a second time.
_SEEN_CURSORS: Final = 512


class State(Enum):
    """State of the session on the present connection."""

    DISCONNECTED = auto()
    CONNECTING = auto()
    """`hello` is sent, `welcome` is awaited."""
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Refused:
    """A join (or the token) was refused; the room is no longer wanted."""

    error: Error


@dataclass(frozen=True, slots=True)
class Lost:
    """A connection that ended.

    Attributes:
        code: close code, or None when no connection was opened.
        terminal: the client must not come back.
        at_least_s: how long the gateway asked it to stay away.
    """

    code: int | None
    reason: str
    terminal: bool
    at_least_s: float


Notice: TypeAlias = (
    Tick | Event | Presence | Joined | Left | Error | Ack | PublishError | Welcome | TokenAccepted | Pong | Refused
)
"""What `receive` tells the driver."""


@dataclass(slots=True)
class _Room:
    """A room that the program wants to be in."""

    # Where to resume; None until the first `joined`.
    cursor: str | None = None
    # On the present connection.
    joined: bool = False
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=_SEEN_CURSORS))
    # Cursors that were delivered before the last resume.
    replayed: frozenset[str] = frozenset()


class ClientProtocol:
    """State of one client across its connections.

    Args:
        codec: encoding of both directions.
        client: name and version, told to the gateway.
        outbox_limit: durable events that may wait for their outcome.
    """

    def __init__(self, codec: Codec, *, client: str, outbox_limit: int) -> None:
        self._codec = codec
        self._client = client
        self._rooms: dict[str, _Room] = {}
        # Room -> leaves that are sent and not answered on this connection.
        self._leaving: Counter[str] = Counter()
        self._out: list[Frame] = []
        self._bye: Bye | None = None
        self._seq = 0
        self._types: Mapping[str, str] = {}
        self._hello_at = 0.0
        # Number -> when the ping was sent, on this connection.
        self._pings: dict[int | float | str, float] = {}
        self.clock = ClockOffset()
        self.rtt_s: float | None = None
        """Round trip of the last ping that was answered."""
        self.outbox = Outbox(outbox_limit)
        self.state = State.DISCONNECTED
        self.frame_bytes = 64 * 1024
        """Largest message the gateway takes; its own figure once it is known."""
        self.batch = 256
        """Publishes that fit into one batch."""
        self.duplicates_dropped = 0
        """Events that a resume brought a second time."""
        self.unknown_operations = 0
        """Messages of a newer protocol version that were ignored."""

    # Connection

    def connect(self, token: str, now: float) -> None:
        """Begin a connection: `hello`, which joins again every room that has a cursor."""
        self.state = State.CONNECTING
        self._hello_at = now
        self._bye = None
        resume = {name: room.cursor for name, room in self._rooms.items() if room.cursor is not None}
        options: dict[str, Any] = {"client": self._client}
        if resume:
            options["resume"] = resume
        self._out.append(self._codec.encode(["hello", token, options]))

    def disconnect(self, code: int, reason: str) -> Lost:
        """End a connection, and say what its end means.

        Args:
            code: close code as seen by the socket; 1006 when it just broke.
        """
        self.state = State.DISCONNECTED
        self._out.clear()
        self._leaving.clear()
        self._pings.clear()
        for room in self._rooms.values():
            room.joined = False
        self.outbox.disconnected()
        bye = self._bye
        if bye is None:
            return Lost(code, reason, terminal=is_terminal(code), at_least_s=0.0)
        if not 4000 <= code <= 4999:
            # The close frame that was announced did not get through.
            code, reason = bye.code, bye.message
        terminal = is_terminal(code) or bye.reconnect_ms is None
        return Lost(code, reason or bye.message, terminal=terminal, at_least_s=(bye.reconnect_ms or 0) / 1000)

    @property
    def busy(self) -> bool:
        """Whether there is something to write or to wait for."""
        return bool(self._out) or len(self.outbox) > 0

    def frames_to_send(self) -> list[Frame]:
        """Take the frames that are to be written, in order."""
        frames, self._out = self._out, []
        return frames

    def wake(self, now: float) -> list[PublishError]:
        """Send what is due and return the publishes whose deadline passed."""
        over = self.outbox.expire(now)
        self._flush(now)
        return over

    def next_wake(self) -> float | None:
        """When `wake` is due, if nothing else happens; None while nothing waits."""
        return self.outbox.next_wake(self.ready)

    # Sending

    @property
    def rooms(self) -> tuple[str, ...]:
        """Rooms that are joined or to be joined."""
        return tuple(self._rooms)

    def ready(self, room: str) -> bool:
        """Whether events of this room can be sent now. A room never joined counts: game servers publish from outside."""
        if self.state is not State.OPEN:
            return False
        known = self._rooms.get(room)
        return known is None or known.joined

    def joining(self, room: str) -> bool:
        """Whether a join of this room has no answer yet."""
        return room in self._rooms and self._rooms[room].cursor is None

    def next_seq(self) -> int:
        """Sequence of the next position or heartbeat: rises across rooms and connections."""
        self._seq += 1
        return self._seq

    def join(self, room: str) -> None:
        """Enter a room, now and after every reconnect. Answered by `Joined` or `Refused`."""
        frame = self._encode(["join", room])
        self._rooms.setdefault(room, _Room())
        if self.state is State.OPEN:
            self._out.append(frame)

    def leave(self, room: str) -> bool:
        """Leave a room; True when an answer (`Left`) will come."""
        self._rooms.pop(room, None)
        if self.state is not State.OPEN:
            return False
        self._leaving[room] += 1
        self._out.append(self._encode(["leave", room]))
        return True

    def publish(
        self, room: str, event_type: str, data: Any, event_id: str, *, player: str | None, now: float, deadline: float
    ) -> None:
        """Take a durable event into the outbox; its outcome is an `Ack` or a `PublishError`.

        Raises:
            InvalidMessage: it can never be sent as it is.
            OutboxFull: too many wait already.
        """
        if self._types.get(event_type) == _AT_MOST_ONCE:
            raise InvalidMessage(f"{event_type!r} is a realtime type: use send(), it has no ack")
        message = ["pub", event_type, room, data, event_id]
        if player is not None:
            message.append(player)
        self.outbox.add(event_id, room, self._encode(message), deadline=deadline)
        self._flush(now)

    def realtime(self, room: str, event_type: str, data: Any, player: str | None = None) -> Frame:
        """Frame of one realtime event.

        Raises:
            InvalidMessage: it can never be sent as it is.
        """
        return self._encode(["pub", *self._realtime(room, event_type, data, player)])

    def batches(self, events: Iterable[tuple[str, str, Any]]) -> list[tuple[Frame, int]]:
        """Frames of many realtime events `(room, type, data)`, each with the number of events in it."""
        publishes = [self._realtime(room, event_type, data, None) for room, event_type, data in events]
        frames = []
        size = self.batch
        for start in range(0, len(publishes), size):
            frames += self._batch(publishes[start : start + size])
        return frames

    def ping(self, t: int, now: float) -> None:
        """Ask for a `Pong`."""
        if len(self._pings) >= _PINGS_KEPT:
            del self._pings[next(iter(self._pings))]
        self._pings[t] = now
        self._out.append(self._encode(["ping", t]))

    def refresh(self, token: str) -> None:
        """Refresh the token. Answered by `TokenAccepted` or `Refused`."""
        self._out.append(self._encode(["token", token]))

    # Receiving

    def receive(self, frame: Frame, now: float) -> Sequence[Notice]:
        """Take one frame in.

        An `Event` counts as delivered only after `delivered`: until then a reconnect asks for it again.

        Raises:
            ProtocolViolation: the frame is not what the protocol allows here; the connection must be closed.
        """
        message = self._codec.decode(frame)
        if isinstance(message, Tick) and self.state is State.OPEN:
            return (message,)
        if message is None:
            self.unknown_operations += 1
            return ()
        if isinstance(message, Bye):
            self._bye = message
            return ()
        if isinstance(message, Welcome):
            return self._welcomed(message, now)
        if self.state is not State.OPEN:
            raise ProtocolViolation(f"{type(message).__name__} came before welcome")
        return self._received(message, now)

    def _received(
        self, message: Tick | Event | Presence | Joined | Left | Error | Ack | Nack | TokenAccepted | Pong, now: float
    ) -> Sequence[Notice]:
        match message:
            case Event():
                return self._event(message)
            case Left():
                return self._left(message)
            case Error():
                return self._error(message)
            case Ack():
                attempts = self.outbox.acked(message.id)
                return (Ack(message.id, message.cursor, attempts),) if attempts else ()
            case Nack():
                error = self.outbox.nacked(message, now)
                return () if error is None else (error,)
            case Joined():
                self._joined(message, now)
            case Pong():
                self._pong(message, now)
        return (message,)

    def delivered(self, event: Event) -> None:
        """The program has the event: a resume begins after it."""
        room = self._rooms.get(event.room)
        if room is not None and room.joined:
            room.cursor = event.cursor
            room.seen.append(event.cursor)

    def _welcomed(self, welcome: Welcome, now: float) -> Sequence[Notice]:
        if self.state is not State.CONNECTING:
            raise ProtocolViolation("a second welcome")
        self.state = State.OPEN
        self._types = welcome.types
        self.frame_bytes = _limit(welcome, "frame_bytes", self.frame_bytes)
        self.batch = _limit(welcome, "batch", self.batch)
        self.clock.reset()
        self.clock.add(self._hello_at, now, welcome.server_ms)
        # Rooms with a cursor were in the hello.
        self._out += [self._encode(["join", name]) for name, room in self._rooms.items() if room.cursor is None]
        self._flush(now)
        return (welcome,)

    def _event(self, event: Event) -> Sequence[Notice]:
        room = self._rooms.get(event.room)
        if room is not None and event.cursor in room.replayed:
            self.duplicates_dropped += 1
            return ()
        return (event,)

    def _joined(self, joined: Joined, now: float) -> None:
        room = self._rooms.get(joined.room)
        if room is None:
            # Left again before the answer to the join came.
            return
        room.joined = True
        room.cursor = joined.cursor
        if joined.recovered is not None:
            room.replayed = frozenset(room.seen) if joined.recovered else frozenset()
        self._flush(now)

    def _left(self, left: Left) -> Sequence[Notice]:
        if self._leaving[left.room] > 0:
            self._leaving[left.room] -= 1
            if self._leaving[left.room] == 0:
                del self._leaving[left.room]
        else:
            self._rooms.pop(left.room, None)
        return (left,)

    def _error(self, error: Error) -> Sequence[Notice]:
        if error.op == "token":
            return (Refused(error),)
        if error.op in ("join", "hello") and error.room in self._rooms:
            if not self._rooms[error.room].joined:
                del self._rooms[error.room]
            return (Refused(error),)
        return (error,)

    def _pong(self, pong: Pong, now: float) -> None:
        sent = self._pings.pop(pong.t, None)
        if sent is not None:
            self.rtt_s = now - sent
            self.clock.add(sent, now, pong.server_ms)

    # Helpers

    def _flush(self, now: float) -> None:
        if len(self.outbox) > 0 and self.state is State.OPEN:
            self._out += self.outbox.due(now, self.ready)

    def _realtime(self, room: str, event_type: str, data: Any, player: str | None) -> list[Any]:
        if self._types.get(event_type) == _AT_LEAST_ONCE:
            raise InvalidMessage(f"{event_type!r} is a durable type: use publish(), which waits for its ack")
        return [event_type, room, data] if player is None else [event_type, room, data, None, player]

    def _batch(self, publishes: list[list[Any]]) -> list[tuple[Frame, int]]:
        frame = self._codec.encode(["batch", publishes])
        if _size(frame) <= self.frame_bytes:
            return [(frame, len(publishes))]
        if len(publishes) == 1:
            raise self._too_large(frame)
        middle = len(publishes) // 2
        return self._batch(publishes[:middle]) + self._batch(publishes[middle:])

    def _encode(self, message: list[Any]) -> Frame:
        frame = self._codec.encode(message)
        if _size(frame) > self.frame_bytes:
            raise self._too_large(frame)
        return frame

    def _too_large(self, frame: Frame) -> InvalidMessage:
        return InvalidMessage(f"message of {_size(frame)} bytes; the gateway takes up to {self.frame_bytes}")


def _size(frame: Frame) -> int:
    return len(frame) if isinstance(frame, bytes) else len(frame.encode())


def _limit(welcome: Welcome, name: str, default: int) -> int:
    value = welcome.limits.get(name)
    return value if type(value) is int and value > 0 else default
