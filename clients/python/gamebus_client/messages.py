"""What a client receives: one frozen dataclass per message.

`server_ms` and `expires_ms` are Unix milliseconds by the gateway's clock. Data of events and positions is as decoded: lists
and dicts that the receiver owns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "Ack",
    "Closed",
    "Error",
    "Event",
    "Joined",
    "Left",
    "Message",
    "Positions",
    "Presence",
    "Reconnected",
    "Reconnecting",
    "Tick",
]

Positions: TypeAlias = Mapping[str, "list[float] | None"]
"""Player -> `[seq, x, y, z, ...]` as that player sent it; None: not known here any more."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Newest position of every player of the room that moved, oneself included.

    At most once: a position that was overtaken by a newer one of the same player is never seen.
    """

    room: str
    server_ms: int
    positions: Positions


@dataclass(frozen=True, slots=True)
class Event:
    """A durable event, to everyone in the room, its publisher included.

    Once on a connection. Events are told apart by `cursor`: two publishers may use the same id, and `player` may be a name
    that a game server gave. Order is kept among chat, and among kill and death; none is promised between the two.
    """

    type: str
    room: str
    player: str
    server_ms: int
    data: Any
    id: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Players that came into the room or left it; may name the receiver itself."""

    room: str
    joined: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The room is entered, by `join` or after a reconnect.

    Attributes:
        cursor: where the events that follow begin.
        players: all players here, oneself included.
        positions: last known position of those here.
        tick_hz: ticks a second of this room.
        recovered: after a reconnect: True when every missed event follows, False when some are lost to this client (fetch the
            state anew); None for a plain join.
    """

    room: str
    cursor: str
    players: tuple[str, ...]
    positions: Positions
    tick_hz: float
    recovered: bool | None


@dataclass(frozen=True, slots=True)
class Left:
    """The room is left: on request, or because a refreshed token no longer allows it."""

    room: str


@dataclass(frozen=True, slots=True)
class Error:
    """A message of this client was refused; the connection stays. Only refusals that no waiting call reports come here.

    Attributes:
        index: place in the batch, from 0, when the refused publish was sent in one.
    """

    code: str
    message: str
    op: str | None = None
    type: str | None = None
    room: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost; the next attempt starts in `delay_s`. Realtime sends are dropped until `Reconnected`.

    Attributes:
        attempt: 1 for the first attempt after a connection that lasted.
        code: close code (1006 when the socket just broke), or None when an attempt to connect failed.
    """

    attempt: int
    delay_s: float
    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection is open again; a `Joined` follows for every room that was joined."""

    session: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended for good: always the last message.

    Attributes:
        code: close code; 1000 when this client closed it.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The event is written on all in-sync replicas.

    Attributes:
        cursor: place of the event in its room. Events before it may still be on their way, so never resume with it.
        attempts: how often it was sent. After more than one, later events of the same publisher may stand before it.
    """

    id: str
    cursor: str
    attempts: int = 1


Message: TypeAlias = Tick | Event | Presence | Joined | Left | Error | Reconnecting | Reconnected | Closed
"""What an iteration over a client yields."""
