"""Session: the protocol of one connection, without I/O.

Guarantees: `receive` and `on_time` never raise, whatever arrives; every refused message is answered by exactly one `nack` or
`error` (errors past their own rate are counted instead); a publish effect has passed every check of docs/protocol.md, in its
order; `Close` is the last effect ever. Not promised: that a publish reaches Kafka; the driver answers for that.

====================  =================================================================
state                 takes
====================  =================================================================
`AWAITING_HELLO`      `hello`; anything else closes
`OPEN`                everything; a second `hello` is refused
`CLOSED`              nothing: what still arrives is ignored
====================  =================================================================

Time is an argument: `now` in monotonic seconds, `now_ms` in Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any, Final

from gamebus.catalog import Catalog
from gamebus.events import MAX_INTEGER, is_event_id, is_room, is_text
from gamebus.protocol import cursor, frames
from gamebus.protocol.claims import Claims, TokenRefused, Verify
from gamebus.protocol.codes import CloseCode, ErrorCode
from gamebus.protocol.effects import Close, Effect, Join, Leave, Open, Refresh, Send
from gamebus.protocol.frames import Encoding, ProtocolViolation
from gamebus.protocol.limits import Limits
from gamebus.protocol.publishing import Publishing
from gamebus.protocol.rate_limit import TokenBucket
from gamebus.protocol.refusals import Refusals, Refused

PINGS_PER_SECOND: Final = 10
MAX_PING_CHARACTERS: Final = 64

_MAX_ECHOED_CHARACTERS: Final = 64
# A timer is set for no longer, since a token may be valid for ever and event loops count in milliseconds.
_LONGEST_TIMER_S: Final = 3600.0


class State(Enum):
    """Where a connection stands."""

    AWAITING_HELLO = "awaiting hello"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counters of one connection since it opened."""

    stale: int
    """Positions dropped because their `seq` did not rise."""

    refused: Mapping[ErrorCode, int]
    """Refused messages by code."""

    errors_suppressed: int
    """Refused messages whose `error` was not sent because errors came too often."""


class Session:
    """One connection, from its first frame to its last.

    Args:
        verify: checks a token; see :data:`~gamebus.protocol.claims.Verify`.
        session_id: names the connection to its client and in logs.
        admit: asked once the token is found good (who has none cannot use up the places): None, or milliseconds after which to
            come back; see :class:`~gamebus.protocol.admission.Admission`.
        now: when the connection opened; the time for `hello` runs from here.
    """

    def __init__(
        self,
        catalog: Catalog,
        limits: Limits,
        verify: Verify,
        session_id: str,
        encoding: Encoding,
        *,
        now: float,
        admit: Callable[[float], int | None] = lambda _: None,
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._verify = verify
        self._session_id = session_id
        self._admit = admit
        self._decode = frames.DECODERS[encoding]
        self._state = State.AWAITING_HELLO
        self._deadline: float | None = now + limits.hello_timeout_ms / 1000
        self._claims: Claims | None = None
        self._rooms: set[str] = set()
        # None until `hello` is accepted.
        self._publishing: Publishing | None = None
        self._pings = TokenBucket(PINGS_PER_SECOND, 2 * PINGS_PER_SECOND)
        self._refusals = Refusals()

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    @property
    def claims(self) -> Claims | None:
        """Claims of the newest accepted token; None before `hello`."""
        return self._claims

    @property
    def rooms(self) -> AbstractSet[str]:
        """Rooms that are joined."""
        return frozenset(self._rooms)

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which to call `on_time`; read it again after every call. None: never."""
        return self._deadline

    @property
    def rate_limited(self) -> int:
        """Messages refused since the connection opened because too many came."""
        return self._refusals.rate_limited

    def statistics(self) -> SessionStatistics:
        """Counters since the connection opened."""
        return SessionStatistics(
            stale=0 if self._publishing is None else self._publishing.stale,
            refused=self._refusals.counts,
            errors_suppressed=self._refusals.errors_suppressed,
        )

    def receive(self, payload: bytes | str, now: float, now_ms: int) -> list[Effect]:
        """Take one message: bytes of a binary frame or text of a text frame."""
        effects: list[Effect] = []
        if self._state is State.CLOSED:
            return effects
        try:
            message = self._decode(payload)
        except ProtocolViolation as violation:
            self._close(CloseCode.PROTOCOL_VIOLATION, str(violation), effects)
            return effects
        op = message.pop(0)
        publishing = self._publishing
        if publishing is None:
            self._hello(op, message, now, now_ms, effects)
        elif op == "pub":
            try:
                effect = publishing.accept(message, now)
            except Refused as refusal:
                self._refuse_publish(refusal, message, None, now, effects)
            else:
                if effect is not None:
                    effects.append(effect)
        else:
            self._operate(op, message, now, now_ms, effects)
        return effects

    def refuse(self, refusal: Refused, about: Mapping[str, Any], now: float) -> list[Effect]:
        """Answer a message that was accepted here and cannot be carried out, as one that was refused."""
        effects: list[Effect] = []
        if self._state is not State.CLOSED:
            self._refuse(refusal, about, now, effects)
        return effects

    def on_time(self, now: float, now_ms: int) -> list[Effect]:
        """Do what is due at `deadline`; nothing before it."""
        effects: list[Effect] = []
        if self._deadline is None or now < self._deadline:
            return effects
        if self._claims is None:
            seconds = self._limits.hello_timeout_ms / 1000
            self._close(CloseCode.NO_HELLO, f"no hello within {seconds:g} s", effects)
        elif now_ms >= self._claims.expires_ms + self._limits.token_leeway_ms:
            self._close(CloseCode.TOKEN_EXPIRED, "the token expired; reconnect with a fresh one", effects)
        else:
            # `exp` is by the wall clock, which may have been set back, or the timer was the longest allowed.
            self._set_expiry(self._claims, now, now_ms)
        return effects

    def _hello(self, op: Any, fields: list[Any], now: float, now_ms: int, effects: list[Effect]) -> None:
        if op != "hello":
            self._close(CloseCode.PROTOCOL_VIOLATION, "the first message is hello", effects)
            return
        try:
            token, client_name, resume = _hello_fields(fields)
            claims = self._verify(token, now_ms)
        except ProtocolViolation as violation:
            self._close(CloseCode.PROTOCOL_VIOLATION, str(violation), effects)
            return
        except TokenRefused as refusal:
            code = CloseCode.TOKEN_EXPIRED if refusal.expired else CloseCode.BAD_TOKEN
            self._close(code, refusal.reason, effects)
            return
        wait_ms = self._admit(now)
        if wait_ms is not None:
            code = CloseCode.TOO_MANY_CONNECTIONS
            self._close(code, "too many clients come at once; come back in a moment", effects, reconnect_ms=wait_ms)
            return
        self._state = State.OPEN
        self._claims = claims
        self._publishing = Publishing(self._catalog, claims, self._rooms)
        self._set_expiry(claims, now, now_ms)
        effects += (Open(claims, client_name), Send(self._welcome(claims, now_ms)))
        for room, resume_cursor in resume.items():
            try:
                self._enter(room)
            except Refused as refusal:
                self._refuse(refusal, {"op": "hello", "room": room}, now, effects)
                if self._state is State.CLOSED:
                    return
            else:
                effects.append(Join(room, resume_cursor))

    def _publish(
        self, publishing: Publishing, fields: list[Any], index: int | None, now: float, effects: list[Effect]
    ) -> None:
        try:
            effect = publishing.accept(fields, now)
        except Refused as refusal:
            self._refuse_publish(refusal, fields, index, now, effects)
        else:
            if effect is not None:
                effects.append(effect)

    def _operate(self, op: Any, fields: list[Any], now: float, now_ms: int, effects: list[Effect]) -> None:
        try:
            match op:
                case "batch":
                    self._batch(fields, now, effects)
                case "join":
                    self._join(fields, effects)
                case "leave":
                    self._leave(fields, effects)
                case "ping":
                    self._ping(fields, now, now_ms, effects)
                case "token":
                    self._token(fields, now, now_ms, effects)
                case "hello":
                    raise Refused(ErrorCode.BAD_REQUEST, "hello was said; `token` refreshes the token")
                case _:
                    self._close(CloseCode.PROTOCOL_VIOLATION, "the operation is unknown or not a string", effects)
        except Refused as refusal:
            about = {"op": op}
            if op in ("join", "leave") and fields and is_room(fields[0]):
                about["room"] = fields[0]
            self._refuse(refusal, about, now, effects)

    def _join(self, fields: list[Any], effects: list[Effect]) -> None:
        room = _room_field(fields)
        self._enter(room)
        effects.append(Join(room, None))

    def _leave(self, fields: list[Any], effects: list[Effect]) -> None:
        room = _room_field(fields)
        self._rooms.discard(room)
        effects.append(Leave(room))

    def _batch(self, fields: list[Any], now: float, effects: list[Effect]) -> None:
        items = fields[0] if len(fields) == 1 else None
        if type(items) is not list or not 1 <= len(items) <= self._limits.batch:
            raise Refused(ErrorCode.BAD_REQUEST, f"a batch is one array of 1..{self._limits.batch} publishes")
        publishing = self._publishing
        assert publishing is not None
        for index, item in enumerate(items):
            if type(item) is list:
                self._publish(publishing, item, index, now, effects)
            else:
                refusal = Refused(ErrorCode.BAD_REQUEST, "a publish in a batch is an array")
                self._refuse_publish(refusal, [], index, now, effects)
            if self._state is State.CLOSED:
                return

    def _ping(self, fields: list[Any], now: float, now_ms: int, effects: list[Effect]) -> None:
        if len(fields) != 1 or not _is_ping_value(fields[0]):
            raise Refused(
                ErrorCode.BAD_REQUEST, f"ping takes a number or a string of up to {MAX_PING_CHARACTERS} characters"
            )
        if not self._pings.take(now):
            raise Refused(ErrorCode.RATE_LIMITED, f"more than {PINGS_PER_SECOND} pings a second")
        effects.append(Send(frames.pong(fields[0], now_ms)))

    def _token(self, fields: list[Any], now: float, now_ms: int, effects: list[Effect]) -> None:
        if len(fields) != 1 or not is_text(fields[0]):
            raise Refused(ErrorCode.BAD_REQUEST, "token takes one string")
        try:
            claims = self._verify(fields[0], now_ms)
        except TokenRefused as refusal:
            raise Refused(ErrorCode.BAD_TOKEN, refusal.reason) from refusal
        assert self._claims is not None
        assert self._publishing is not None
        if claims.sub != self._claims.sub:
            self._close(CloseCode.FORBIDDEN, "the new token is for another player", effects)
            return
        self._claims = claims
        self._publishing.refresh(claims)
        self._set_expiry(claims, now, now_ms)
        effects += (Refresh(claims), Send(frames.token(_wire_expiry(claims))))
        for room in sorted(room for room in self._rooms if not claims.allows(room)):
            self._rooms.remove(room)
            effects.append(Leave(room))

    def _enter(self, room: str) -> None:
        assert self._claims is not None
        if not self._claims.allows(room):
            raise Refused(ErrorCode.FORBIDDEN, "the token does not allow this room")
        if room not in self._rooms and len(self._rooms) >= self._limits.rooms:
            raise Refused(ErrorCode.TOO_LARGE, f"at most {self._limits.rooms} rooms a connection")
        self._rooms.add(room)

    def _refuse_publish(
        self, refusal: Refused, fields: list[Any], index: int | None, now: float, effects: list[Effect]
    ) -> None:
        if len(fields) > 3 and is_event_id(fields[3]):
            effects.append(Send(self._refusals.nack(refusal, fields[3], now)))
            self._close_flood(effects)
            return
        about: dict[str, Any] = {"op": "pub"}
        if fields and is_text(fields[0]) and len(fields[0]) <= _MAX_ECHOED_CHARACTERS:
            about["type"] = fields[0]
        if len(fields) > 1 and is_room(fields[1]):
            about["room"] = fields[1]
        if index is not None:
            about["index"] = index
        self._refuse(refusal, about, now, effects)

    def _refuse(self, refusal: Refused, about: Mapping[str, Any], now: float, effects: list[Effect]) -> None:
        message = self._refusals.error(refusal, about, now)
        if message is not None:
            effects.append(Send(message))
        self._close_flood(effects)

    def _close_flood(self, effects: list[Effect]) -> None:
        if self._refusals.flooding:
            self._close(CloseCode.FLOODING, "too many refused messages", effects)

    def _close(self, code: CloseCode, message: str, effects: list[Effect], *, reconnect_ms: int | None = None) -> None:
        self._state = State.CLOSED
        self._deadline = None
        effects.append(Close(code, message, code.reconnect_ms if reconnect_ms is None else reconnect_ms))

    def _set_expiry(self, claims: Claims, now: float, now_ms: int) -> None:
        left_s = (claims.expires_ms + self._limits.token_leeway_ms - now_ms) / 1000
        self._deadline = now + min(max(left_s, 0.0), _LONGEST_TIMER_S)

    def _welcome(self, claims: Claims, now_ms: int) -> frames.Message:
        limits = self._limits
        types = self._catalog.types.values()
        return frames.welcome(
            self._session_id,
            claims.sub,
            server_ms=now_ms,
            expires_ms=_wire_expiry(claims),
            ping_interval_ms=limits.ping_interval_ms,
            limits={
                "frame_bytes": limits.frame_bytes,
                "batch": limits.batch,
                "rooms": limits.rooms,
                "per_second": {event_type.name: event_type.per_second for event_type in types},
            },
            types={event_type.name: event_type.delivery.value for event_type in types},
        )


def _hello_fields(fields: list[Any]) -> tuple[str, str, dict[str, str]]:
    if len(fields) not in (1, 2) or not is_text(fields[0]):
        raise ProtocolViolation("hello takes a token and, optionally, a map of options")
    options = fields[1] if len(fields) == 2 else {}
    if type(options) is not dict or not options.keys() <= {"client", "resume"}:
        raise ProtocolViolation("the options of hello are a map of client and resume")
    client = options.get("client", "")
    if not is_text(client):
        raise ProtocolViolation("client is a string: name/version")
    resume = options.get("resume", {})
    if type(resume) is not dict or not all(map(is_room, resume)):
        raise ProtocolViolation("resume is a map of room -> cursor")
    return fields[0], client[:_MAX_ECHOED_CHARACTERS], {room: _cursor(value) for room, value in resume.items()}


def _cursor(value: Any) -> str:
    # What no gateway can have written is a bad cursor, never a malformed hello: the room is joined with `recovered` false.
    return value if type(value) is str and value.isascii() and len(value) <= cursor.MAX_CHARACTERS else ""


def _room_field(fields: list[Any]) -> str:
    if len(fields) != 1 or not is_room(fields[0]):
        raise Refused(ErrorCode.BAD_REQUEST, "takes one room: 1..128 of A-Z a-z 0-9 . _ - : /")
    room: str = fields[0]
    return room


def _is_ping_value(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= MAX_PING_CHARACTERS and is_text(value)
    if type(value) is float:
        return isfinite(value)
    return type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER


def _wire_expiry(claims: Claims) -> int:
    return min(claims.expires_ms, MAX_INTEGER)
