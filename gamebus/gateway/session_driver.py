"""Carries out what the session of one connection decides: publishes, rooms, answers.

The session (:mod:`gamebus.protocol.session`) is pure and says what; this driver knows with whom. It is the `Client` that the hub
sees. Nothing here waits: a durable publish is answered from its future's callback.

Guarantees: effects are carried out in order; every durable publish that was accepted is answered by one `ack` or `nack`, unless the
connection ends first.

A type may migrate to the other class while a session is open (:mod:`gamebus.generations`). The session keeps to what `welcome` said:

* a type that was at most once and is not any more: its events get an id of the gateway's and go where the type is now; no `ack`
  was promised and none is sent, what cannot be written is an `error`;
* a type that was at least once and is not any more: the publish is answered by `nack unavailable` and the client sent away with
  4000, so that it comes back and learns the class. What was accepted before is answered first.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import structlog

from gamebus.catalog import EventType, Role
from gamebus.delivery.durable_publisher import Written
from gamebus.delivery.realtime_publisher import DropReason
from gamebus.errors import DeliveryError, OutcomeUnknown, PublishFailed
from gamebus.gateway.hub import Hub
from gamebus.gateway.message_reader import Message
from gamebus.gateway.operators import Mutes
from gamebus.gateway.outbox import Outbox
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol import frames
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode, ErrorCode
from gamebus.protocol.effects import (
    Close,
    Effect,
    Join,
    Leave,
    Open,
    PublishDurable,
    PublishRealtime,
    Refresh,
    Send,
)
from gamebus.protocol.frames import Encoding
from gamebus.protocol.refusals import Refused
from gamebus.protocol.session import Session
from gamebus.record import DurableRecord, encode_durable
from gamebus.telemetry.histogram import Histogram

MAX_IN_FLIGHT: Final = 512
"""Unanswered durable publishes of one connection; past it the gateway stops reading from it until half are answered."""

_UNKNOWN_RETRY_MS: Final = 1000
_MUTABLE: Final = "chat"

log = structlog.get_logger(__name__)


class Line(Protocol):
    """What a driver asks of its connection."""

    def close(self, code: CloseCode, message: str, *, reconnect_ms: int | None) -> None:
        """Say `bye` and close."""

    def pause_reading(self) -> None:
        """Take nothing more from the client."""

    def resume_reading(self) -> None:
        """Take from the client again."""

    def settled(self) -> None:
        """The last durable publish in flight was answered."""

    def deadline_changed(self) -> None:
        """The session's deadline has moved."""


class Players(Protocol):
    """Who plays here: one connection per player."""

    def claim(self, driver: SessionDriver) -> None:
        """The driver's client said hello."""

    def release(self, driver: SessionDriver) -> None:
        """The driver's client is gone."""


class Realtime(Protocol):
    """Takes at-most-once events."""

    def publish(self, event_type: str, room: str, player: str, server_ms: int, data: Any) -> DropReason | None:
        """See :meth:`~gamebus.delivery.realtime_publisher.RealtimePublisher.publish`."""


class Durable(Protocol):
    """Takes at-least-once events."""

    def publish(self, topic: str, key: bytes, value: bytes) -> asyncio.Future[Written]:
        """See :meth:`~gamebus.delivery.durable_publisher.DurablePublisher.publish`."""


@dataclass(frozen=True, slots=True)
class Bus:
    """What all sessions of a gateway share."""

    hub: Hub
    realtime: Realtime
    durable: Durable
    players: Players
    event_type: Callable[[str], EventType]
    """The type of that name at the last generation of the catalog."""

    ack_seconds: Histogram = field(default_factory=Histogram)
    """From taking a durable publish to its `ack`."""

    answers: Counter[str] = field(default_factory=Counter)
    """Durable publishes that were taken, by how they were answered: `ack`, or the code of the `nack`."""

    errors: Counter[str] = field(default_factory=Counter)
    """Messages that sessions refused and said so, by error code."""

    mutes: Mutes = field(default_factory=Mutes)
    """Players whose chat is refused."""


class SessionDriver:
    """Drives one session.

    Args:
        session: the connection's state machine.
        session_id: names the connection.
        outbox: of the connection.
        line: the connection itself.
    """

    __slots__ = (
        "_bus",
        "_durable_in_flight",
        "_encoding",
        "_ended",
        "_line",
        "_made_ids",
        "_publish_realtime",
        "_reading",
        "_session",
        "outbox",
        "player",
        "role",
        "rtt_ms",
        "session",
    )

    def __init__(
        self, session: Session, *, session_id: str, encoding: Encoding, outbox: Outbox, line: Line, bus: Bus
    ) -> None:
        self.session = session_id
        self.player = ""
        self.role = Role.SPECTATOR
        self.rtt_ms: float | None = None
        """Round trip of the last ping that was answered; None before the first one."""

        self.outbox = outbox
        self._session = session
        self._encoding = encoding
        self._line = line
        self._bus = bus
        self._publish_realtime = bus.realtime.publish
        self._durable_in_flight = 0
        # Ids that the client did not know to be needed.
        self._made_ids = 0
        self._reading = True
        self._ended = False

    @property
    def deadline(self) -> float | None:
        """When the session wants :meth:`on_time` (monotonic seconds); None: never."""
        return self._session.deadline

    @property
    def rate_limited(self) -> int:
        """Messages of the client that were refused because too many came."""
        return self._session.rate_limited

    @property
    def settled(self) -> bool:
        """Whether every durable publish was answered and the client's transport has taken the answers."""
        return not self._durable_in_flight and self.outbox.empty

    @property
    def open(self) -> bool:
        """Whether the client said hello and has not ended."""
        return bool(self.player) and not self._ended

    def receive(self, messages: Sequence[Message], now: float) -> None:
        """Take messages that arrived together."""
        now_ms = time.time_ns() // 1_000_000
        receive = self._session.receive
        publish = self._publish_realtime
        for message in messages:
            for effect in receive(message, now, now_ms):
                if type(effect) is PublishRealtime:
                    # What is dropped is counted by the publisher; the client is not told (delivery.md, "Realtime", 1).
                    try:
                        publish(effect.event_type.name, effect.room, effect.player, now_ms, effect.data)
                    except ValueError:
                        self._publish_moved(effect, now_ms)
                else:
                    self._apply(effect, now_ms)

    def on_time(self, now: float) -> None:
        """Let the session act on what is due at `now`."""
        now_ms = time.time_ns() // 1_000_000
        for effect in self._session.on_time(now, now_ms):
            self._apply(effect, now_ms)

    def end(self, *, replaced: bool = False) -> None:
        """The connection is closing: leave everything. May be repeated.

        Args:
            replaced: another connection of the player has taken over, so nobody sees the player leave.
        """
        if self._ended:
            return
        self._ended = True
        self._bus.hub.drop(self, replaced=replaced)
        self.outbox.close()
        if self.player:
            self._bus.players.release(self)

    def replace(self) -> None:
        """The player connected elsewhere."""
        self._line.close(CloseCode.REPLACED, "the player connected elsewhere", reconnect_ms=None)

    def remove(self) -> None:
        """An operator does not want the player here."""
        self._line.close(CloseCode.FORBIDDEN, "removed by an operator", reconnect_ms=None)

    def _apply(self, effect: Effect, now_ms: int) -> None:
        if self._ended:
            return
        match effect:
            case Send(["error", code, *_] as message) | Send(["nack", _, code, *_] as message):
                self._bus.errors[code] += 1
                self._send(message)
            case Send(message):
                self._send(message)
            case PublishDurable():
                self._publish_durable(effect, now_ms)
            case Join(room, resume):
                self._bus.hub.join(self, room, resume)
            case Leave(room):
                self._bus.hub.leave(self, room)
                self._send(frames.left(room))
            case Open(claims, client_name):
                self._open(claims, client_name)
            case Refresh(claims):
                self.role = claims.role
                self._bus.hub.refresh(self)
                self._line.deadline_changed()
            case Close(code, message, reconnect_ms):
                self._line.close(code, message, reconnect_ms=reconnect_ms)

    def _open(self, claims: Claims, client_name: str) -> None:
        self.player = claims.sub
        self.role = claims.role
        self._bus.players.claim(self)
        self._line.deadline_changed()
        log.info("client.connected", session=self.session, player=self.player, role=self.role, client=client_name)

    def _publish_durable(self, effect: PublishDurable, now_ms: int) -> None:
        event_type = effect.event_type
        if event_type.name == _MUTABLE and self._bus.mutes.until_ms(effect.player, now_ms) is not None:
            self._bus.errors[ErrorCode.FORBIDDEN] += 1
            self._send(
                frames.nack(effect.id, ErrorCode.FORBIDDEN, "an operator has muted this player for a while", None)
            )
            return
        try:
            written = self._write(event_type.topic, effect, now_ms)
        except PublishFailed as error:
            self._bus.answers[error.code] += 1
            self._send(frames.nack(effect.id, error.code, str(error), error.retry_ms))
            if self._bus.event_type(event_type.name).topic != event_type.topic:
                message = f"{event_type.name} has another delivery class now; `welcome` names it"
                self._line.close(CloseCode.DRAINING, message, reconnect_ms=CloseCode.DRAINING.reconnect_ms)
        else:
            self._await(written, partial(self._answer, effect.id, effect.room, time.monotonic()))

    def _publish_moved(self, effect: PublishRealtime, now_ms: int) -> None:
        """Publish an event whose type became durable after this session was told that it is not."""
        if self._ended:
            return
        self._made_ids += 1
        event_type = self._bus.event_type(effect.event_type.name)
        durable = PublishDurable(
            event_type, effect.room, effect.player, self.player, effect.data, f"{self.session}.{self._made_ids}"
        )
        try:
            written = self._write(event_type.topic, durable, now_ms)
        except PublishFailed as error:
            self._refuse(durable, error)
        else:
            self._await(written, partial(self._complain, durable))

    def _write(self, topic: str, effect: PublishDurable, now_ms: int) -> asyncio.Future[Written]:
        record = DurableRecord(
            type=effect.event_type.name,
            room=effect.room,
            player=effect.player,
            server_ms=now_ms,
            publisher=effect.publisher,
            id=effect.id,
            data=effect.data,
        )
        return self._bus.durable.publish(topic, effect.room.encode(), encode_durable(record))

    def _await(self, written: asyncio.Future[Written], answer: Callable[[asyncio.Future[Written]], None]) -> None:
        self._durable_in_flight += 1
        written.add_done_callback(partial(self._on_written, answer))
        if self._durable_in_flight == MAX_IN_FLIGHT:
            self._line.pause_reading()

    def _on_written(self, answer: Callable[[asyncio.Future[Written]], None], outcome: asyncio.Future[Written]) -> None:
        self._durable_in_flight -= 1
        answer(outcome)
        if self._ended:
            return
        if self._durable_in_flight == MAX_IN_FLIGHT // 2:
            self._line.resume_reading()
        if not self._durable_in_flight:
            self._line.settled()

    def _answer(self, id_: str, room: str, taken_at: float, outcome: asyncio.Future[Written]) -> None:
        """Answer a durable publish. Always reads the outcome, or asyncio would report it as never retrieved."""
        try:
            written = outcome.result()
            answer = frames.ack(id_, self._bus.hub.cursor_for(self, room, written.topic, written.offset))
            self._bus.ack_seconds.observe(time.monotonic() - taken_at)
            self._bus.answers["ack"] += 1
        except PublishFailed as error:
            self._bus.answers[error.code] += 1
            answer = frames.nack(id_, error.code, str(error), error.retry_ms)
        except (OutcomeUnknown, asyncio.CancelledError) as error:
            self._bus.answers[ErrorCode.UNKNOWN_OUTCOME] += 1
            message = str(error) or "the gateway is stopping"
            answer = frames.nack(id_, ErrorCode.UNKNOWN_OUTCOME, message, _UNKNOWN_RETRY_MS)
        if not self._ended:
            self._send(answer)

    def _complain(self, effect: PublishDurable, outcome: asyncio.Future[Written]) -> None:
        """Say that an event for which no answer was promised could not be written."""
        try:
            outcome.result()
        except (DeliveryError, asyncio.CancelledError) as error:
            self._refuse(effect, error)

    def _refuse(self, effect: PublishDurable, error: BaseException) -> None:
        code = ErrorCode[error.code.upper()] if isinstance(error, PublishFailed) else ErrorCode.UNKNOWN_OUTCOME
        about = {"op": "pub", "type": effect.event_type.name, "room": effect.room}
        now_ms = time.time_ns() // 1_000_000
        for answer in self._session.refuse(Refused(code, str(error)), about, time.monotonic()):
            self._apply(answer, now_ms)

    def _send(self, message: list[Any]) -> None:
        self.outbox.send(server_frame(message, self._encoding))
