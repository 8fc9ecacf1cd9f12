"""What a session asks of its driver.

The driver carries effects out in the order in which they stand in the list, and keeps that order across lists where an effect
takes time (a `Send` that follows a `Join` is written after that room's `joined`). `Close` is always the last one ever.

The two publishes are not frozen: one is made per message on the hottest path, and freezing doubles the cost of making one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from gamebus.catalog import EventType
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode


@dataclass(frozen=True, slots=True)
class Open:
    """`hello` was accepted. The driver registers the client (capacity, takeover); `Send` of the `welcome` is the next effect.

    A driver that has no place for the client closes it and drops the rest of the list.
    """

    claims: Claims
    client_name: str
    """Name and version that the client gave, shortened; empty when it gave none. For logs only."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """The token was refreshed: the claims hold from now on (same `sub`)."""

    claims: Claims


@dataclass(frozen=True, slots=True)
class Send:
    """Write one message."""

    message: list[Any]


@dataclass(frozen=True, slots=True)
class Join:
    """Enter a room, or answer again where it is joined already: the hub sends `joined` and what follows."""

    room: str
    resume: str | None
    """Cursor to recover from, as the client gave it (may be garbage); None for a plain join."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room, which is nothing where it is not joined, and then send `left` in any case."""

    room: str


@dataclass(slots=True)
class PublishRealtime:
    """Publish an at-most-once event: allowed, valid, within its rate. No answer."""

    event_type: EventType
    room: str
    player: str
    data: Any


@dataclass(slots=True)
class PublishDurable:
    """Publish an at-least-once event: allowed, valid, within its rate. The driver answers with `ack` or `nack`."""

    event_type: EventType
    room: str
    player: str
    publisher: str
    data: Any
    id: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection: the driver sends `bye`, then the close frame. The session is deaf from now on."""

    code: CloseCode
    message: str
    reconnect_ms: int | None


Effect: TypeAlias = Open | Refresh | Send | Join | Leave | PublishRealtime | PublishDurable | Close
