"""Durable events that wait for their outcome. Pure: no I/O, time (seconds, monotonic) is an argument.

Guarantees: an event leaves with exactly one outcome; one that may have been written never ends as failed or rejected; events
are sent in the order in which they were added, and after a reconnect again in that order, under the same ids. Bounded by
count: past it `add` refuses and what was taken is kept.

Not guaranteed: order across a `nack`. A refused event is sent again after its `retry_ms`, by when later ones may have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gamebus_client.codec import Frame, Nack
from gamebus_client.exceptions import (
    InvalidMessage,
    OutboxFull,
    OutcomeUnknown,
    PublishError,
    PublishFailed,
    PublishRejected,
)

RESEND_WINDOW_S: Final = 600.0
"""The gateway knows an id for a limited time, so re-sending ends 10 minutes after an event was first sent."""


@dataclass(slots=True)
class _Entry:
    id: str
    room: str
    frame: Frame
    deadline: float
    first_sent: float | None = None
    # Sent on the present connection and not answered yet.
    in_flight: bool = False
    # An attempt ended without a certain answer: from then on only an ack can tell.
    maybe_written: bool = False
    attempts: int = 0
    not_before: float = 0.0
    last_nack: Nack | None = None

    @property
    def ends(self) -> float:
        """When it is given up."""
        return self.deadline if self.first_sent is None else min(self.deadline, self.first_sent + RESEND_WINDOW_S)

    def give_up(self, code: str, message: str) -> PublishError:
        """The error that says what is known of it."""
        if self.in_flight or self.maybe_written:
            return OutcomeUnknown(self.id, code, message)
        if self.last_nack is not None:
            return PublishFailed(self.id, self.last_nack.code, f"{self.last_nack.message} ({message})")
        return PublishFailed(self.id, code, message)


class Outbox:
    """Unacknowledged durable events of one client, across its connections.

    Args:
        limit: how many events may wait at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, event_id: str, room: str, frame: Frame, *, deadline: float) -> None:
        """Take an event.

        Raises:
            InvalidMessage: an event with this id waits already.
            OutboxFull: the bound is reached.
        """
        if event_id in self._entries:
            raise InvalidMessage(f"event {event_id!r} is already being published; wait for its outcome")
        if len(self._entries) >= self._limit:
            raise OutboxFull(event_id, "outbox_full", f"{self._limit} events wait for their outcome already")
        self._entries[event_id] = _Entry(event_id, room, frame, deadline)

    def due(self, now: float, ready: Callable[[str], bool]) -> Iterator[Frame]:
        """Frames to write now, in order; each counts as sent when it is yielded.

        Args:
            ready: whether events of a room can be sent on the present connection.
        """
        for entry in self._entries.values():
            if not entry.in_flight and entry.not_before <= now < entry.ends and ready(entry.room):
                entry.in_flight = True
                entry.attempts += 1
                if entry.first_sent is None:
                    entry.first_sent = now
                yield entry.frame

    def acked(self, event_id: str) -> int:
        """Drop an event that is written; how often it was sent, 0 when it was given up before."""
        entry = self._entries.pop(event_id, None)
        return 0 if entry is None else entry.attempts

    def nacked(self, nack: Nack, now: float) -> PublishError | None:
        """Plan another attempt, or end the event with the error returned."""
        entry = self._entries.get(nack.id)
        if entry is None:
            return None
        entry.in_flight = False
        entry.last_nack = nack
        if nack.code == "unknown_outcome":
            entry.maybe_written = True
        if nack.retry_ms is None:
            del self._entries[nack.id]
            if entry.maybe_written:
                return OutcomeUnknown(nack.id, nack.code, nack.message)
            return PublishRejected(nack.id, nack.code, nack.message)
        entry.not_before = now + nack.retry_ms / 1000
        if entry.not_before >= entry.ends:
            del self._entries[nack.id]
            return entry.give_up(nack.code, f"the next attempt is allowed after the deadline only: {nack.message}")
        return None

    def disconnected(self) -> None:
        """The connection is gone, and with it every answer that was to come on it."""
        for entry in self._entries.values():
            if entry.in_flight:
                entry.in_flight = False
                entry.maybe_written = True

    def expire(self, now: float) -> list[PublishError]:
        """End the events whose time is over."""
        over = [entry for entry in self._entries.values() if entry.ends <= now]
        for entry in over:
            del self._entries[entry.id]
        return [entry.give_up("timeout", "no ack before the deadline") for entry in over]

    def close(self, reason: str) -> list[PublishError]:
        """End every event: the client closes for good."""
        entries = list(self._entries.values())
        self._entries.clear()
        return [entry.give_up("closed", reason) for entry in entries]

    def forget(self, event_id: str) -> None:
        """Stop sending an event whose publisher no longer waits."""
        self._entries.pop(event_id, None)

    def next_wake(self, ready: Callable[[str], bool]) -> float | None:
        """When `expire` or `due` may next have something to do, if nothing else happens.

        It may be past: who waits for it took a later look at the clock than who planned it.

        Args:
            ready: as of `due`.
        """
        return min(
            (
                min(entry.not_before, entry.ends) if not entry.in_flight and ready(entry.room) else entry.ends
                for entry in self._entries.values()
            ),
            default=None,
        )
