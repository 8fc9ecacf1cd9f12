"""One websocket connection: the I/O driver of websockets' sans-I/O core (RFC 6455; docs/adr/0004).

A thin `asyncio.Protocol`: what arrives is handled where it arrives, without a task, a queue or a future per message. What the asyncio
layer of `websockets` would give for free is done here: the opening handshake and its deadline, the closing handshake and its
deadline, half-close, keep-alive, back-pressure in both directions.

Guarantees:

* a close by the gateway is seen as `bye` and a close frame, or as a cut after the close timeout where the socket takes neither;
* a close waits, as long as the close timeout, for the acks of what the client published (not for a peer that is dead or too slow);
* a peer that floods or does not read costs bounded memory: see :data:`~gamebus.gateway.session_driver.MAX_IN_FLIGHT` and
  :class:`~gamebus.gateway.outbox.Outbox`.
"""

from __future__ import annotations

import asyncio
import enum
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from websockets.http11 import Request
from websockets.protocol import State

from gamebus.gateway import place_request
from gamebus.gateway.handshake import bad_request, encoding_of, respond, server_protocol
from gamebus.gateway.keepalive import Keepalive, Liveness, TimerWheel
from gamebus.gateway.message_reader import MessageReader
from gamebus.gateway.outbox import Outbox
from gamebus.gateway.server_frame import server_frame
from gamebus.gateway.session_driver import SessionDriver
from gamebus.protocol import frames
from gamebus.protocol.codes import CloseCode
from gamebus.protocol.frames import Encoding
from gamebus.settings import GatewaySettings

# What a transport holds before the outbox takes over. Small, because what it holds can no longer be conflated.
_WRITE_BUFFER_BYTES: Final = 32_768
# The same bound for what the kernel holds unsent: without it a slow reader's ticks grow stale in megabytes of socket buffer.
_UNSENT_BYTES: Final = 65_536
# RFC 6455, section 5.5: the reason shares 125 bytes with the code.
_MAX_REASON_BYTES: Final = 123
# While a close waits for acks, how often it looks whether they have left.
_SETTLE_S: Final = 0.05
_PING: Final = b"\x89\x00"
_PONG: Final = 0x8A


class Phase(enum.Enum):
    """Where a connection stands."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    SETTLING = "settling"
    """A close was decided; the acks of what the client published are still to be sent. Messages are ignored."""
    CLOSING = "closing"
    """The last frame was written; the peer may close, and the close timeout runs."""
    LOST = "lost"
    """The transport is closed; uvloop's raises when it is written to."""


@dataclass(slots=True)
class Counters:
    """Counted by the connections of a process."""

    messages: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Handshakes by HTTP status."""
    placements: Counter[int] = field(default_factory=Counter)
    """Answers to `GET /place`, by HTTP status."""
    closed: Counter[int] = field(default_factory=Counter)
    """Connections closed by the gateway, by close code."""
    cut: int = 0
    """Connections aborted because the peer let the close timeout, or that of the handshake, pass."""


class Host(Protocol):
    """What a connection needs of its server."""

    settings: GatewaySettings
    timers: TimerWheel[Connection]
    counters: Counters

    def accepted(self, connection: Connection) -> None:
        """A socket was accepted."""

    def take_place(self, connection: Connection) -> bool:
        """Count an open connection; false when the gateway is full."""

    def place(self, room: str) -> str | None:
        """URL of the gateway that should take a room; None when it is not known."""

    def drive(self, connection: Connection, encoding: Encoding, outbox: Outbox, now: float) -> SessionDriver:
        """Make the driver of a connection that has just opened."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""


@dataclass(frozen=True, slots=True)
class _Farewell:
    code: CloseCode
    message: str
    reconnect_ms: int | None


class Connection(asyncio.Protocol):
    """See the module. Made by the server for every socket that it accepts."""

    __slots__ = (
        "_deadline",
        "_driver",
        "_encoding",
        "_farewell",
        "_host",
        "_keepalive",
        "_last_received",
        "_outbox",
        "_pong",
        "_reader",
        "_reading",
        "_transport",
        "_writing",
        "phase",
    )

    def __init__(self, host: Host) -> None:
        settings = host.settings
        self.phase = Phase.HANDSHAKE
        self._host = host
        self._reader = MessageReader(
            server_protocol(origins=settings.origins, max_message_bytes=settings.frame_bytes), self._on_pong
        )
        self._encoding = Encoding.JSON
        # Set with the connection: the transport; with the handshake: the outbox, the driver and the keep-alive.
        self._transport: asyncio.Transport | None = None
        self._outbox: Outbox | None = None
        self._driver: SessionDriver | None = None
        self._keepalive: Keepalive | None = None
        self._farewell: _Farewell | None = None
        # Of the phase, in monotonic seconds. In the open phase the keep-alive and the session have their own.
        self._deadline = 0.0
        self._last_received = 0.0
        self._reading = True
        # The transport takes bytes (asyncio's `pause_writing` has not been called).
        self._writing = True
        # The answer to the newest ping of a peer that does not read; older ones need none (RFC 6455, section 5.5.3).
        self._pong: bytes | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the opening handshake."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)
        self._enter(self.phase, time.monotonic() + self._host.settings.hello_timeout_ms / 1000)
        self._host.accepted(self)

    def data_received(self, data: bytes) -> None:
        """Handle what arrived, completely."""
        now = self._last_received = time.monotonic()
        driver = self._driver
        if driver is None:
            self._receive_request(data, now)
            return
        messages = self._reader.receive(data)
        if messages and self.phase is Phase.OPEN:
            self._host.counters.messages += len(messages)
            driver.receive(messages, now)
        if self._reader.protocol.writes:
            self._send_control_frames()

    def eof_received(self) -> None:
        """The peer sends no more. Without a close frame before it that is the end (seen as 1006); the transport closes itself."""
        self._reader.protocol.receive_eof()
        self._reader.protocol.data_to_send()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget everything."""
        self.phase = Phase.LOST
        self._host.timers.remove(self)
        if self._driver is not None:
            self._driver.end()
        self._host.lost(self)

    def pause_writing(self) -> None:
        """The peer reads slower than it is sent to."""
        self._writing = False
        if self._outbox is not None:
            self._outbox.pause()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writing = True
        pong, self._pong = self._pong, None
        if pong is not None:
            self._write(pong)
        if self._outbox is not None:
            self._outbox.resume()

    # What the driver and the server ask for

    def close(self, code: CloseCode, message: str, *, reconnect_ms: int | None) -> None:
        """Say `bye` and close, once what the client published is answered. Only the first call counts."""
        if self.phase is Phase.HANDSHAKE:
            self.abort()
        if self.phase is not Phase.OPEN:
            return
        assert self._driver is not None
        self._farewell = _Farewell(code, message, reconnect_ms)
        # The answers to a dead or a slow peer would only wait behind what it does not take.
        if self._driver.settled or code in (CloseCode.NO_PONG, CloseCode.TOO_SLOW):
            self._say_bye()
        else:
            now = time.monotonic()
            self._enter(Phase.SETTLING, now + self._host.settings.close_timeout_ms / 1000)
            self._host.timers.schedule(self, now + _SETTLE_S)

    def deadline_changed(self) -> None:
        """The session's deadline has moved."""
        if self.phase is Phase.OPEN and self._driver is not None:
            self._schedule()

    def settled(self) -> None:
        """The last durable publish in flight was answered."""
        if self.phase is Phase.SETTLING and self._driver is not None and self._driver.settled:
            self._say_bye()

    def abort(self) -> None:
        """Cut the connection; the peer sees 1006."""
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Take nothing more from the peer."""
        if self._reading and self.phase is Phase.OPEN:
            assert self._transport is not None
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        if not self._reading:
            assert self._transport is not None
            self._reading = True
            # Silence that was ours.
            self._last_received = time.monotonic()
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def on_time(self, now: float) -> None:
        """Do what is due; called by the server's sweeper, which may have decided to before the connection was lost."""
        if self.phase is Phase.LOST:
            return
        if self.phase is Phase.OPEN:
            self._keep_alive(now)
        elif self.phase is Phase.SETTLING:
            assert self._driver is not None
            if self._driver.settled or now >= self._deadline:
                self._say_bye()
            else:
                self._host.timers.schedule(self, now + _SETTLE_S)
        elif now >= self._deadline:
            self._host.counters.cut += 1
            self.abort()
        else:
            self._host.timers.schedule(self, self._deadline)

    # Opening

    def _receive_request(self, data: bytes, now: float) -> None:
        protocol = self._reader.protocol
        if self.phase is not Phase.HANDSHAKE:
            # The handshake was refused; the rest of what the peer sends is discarded.
            protocol.receive_data(data)
            return
        request = self._reader.request(data)
        if request is not None:
            self._answer(request, now)
        elif protocol.handshake_exc is not None:
            if protocol.writes == [b""]:
                self._host.counters.refused[400] += 1
                self._write(bad_request())
            self._send_control_frames()

    def _answer(self, request: Request, now: float) -> None:
        protocol, host = self._reader.protocol, self._host
        if place_request.asks(request):
            response = place_request.respond(protocol, request, place=host.place, origins=host.settings.origins)
            answered = host.counters.placements
        else:
            response = respond(protocol, request, has_room=lambda: host.take_place(self))
            answered = host.counters.refused
        protocol.send_response(response)
        # The core keeps the request for the life of the connection (in the frame of its parser); its headers are 2 kB.
        request.headers.clear()
        if protocol.state is not State.OPEN:
            answered[response.status_code] += 1
            self._send_control_frames()
            return
        assert self._transport is not None
        self._send_control_frames()
        settings = host.settings
        self._encoding = encoding_of(protocol)
        self._outbox = Outbox(
            self._transport.write,
            encoding=self._encoding,
            on_overflow=self._on_overflow,
            call_soon=asyncio.get_running_loop().call_soon,
            limit_bytes=settings.outbox_bytes,
        )
        self._driver = host.drive(self, self._encoding, self._outbox, now)
        interval_s = settings.ping_interval_ms / 1000
        # The first ping comes at a random time, so that connections made together, after a restart, are not pinged together.
        self._keepalive = Keepalive(
            interval_s=interval_s,
            timeout_s=settings.ping_timeout_ms / 1000,
            first_s=interval_s * random.uniform(0.5, 1.0),  # noqa: S311 - spreads load, keeps no secret
            now=now,
        )
        self.phase = Phase.OPEN
        self._schedule()
        self.data_received(b"")

    # Staying open

    def _keep_alive(self, now: float) -> None:
        assert self._driver is not None
        assert self._keepalive is not None
        session_deadline = self._driver.deadline
        if session_deadline is not None and now >= session_deadline:
            self._driver.on_time(now)
        # While nothing is read from the peer, its silence means nothing.
        match self._keepalive.on_time(now, self._last_received if self._reading else now):
            case Liveness.PING:
                self._write(_PING)
            case Liveness.DEAD:
                code = CloseCode.NO_PONG
                self.close(code, "nothing arrived after a ping", reconnect_ms=code.reconnect_ms)
            case Liveness.WAIT:
                pass
        if self.phase is Phase.OPEN:
            self._schedule()

    def _on_pong(self) -> None:
        assert self._driver is not None
        assert self._keepalive is not None
        rtt_s = self._keepalive.answered(self._last_received)
        if rtt_s is not None:
            self._driver.rtt_ms = round(rtt_s * 1000, 1)

    def _schedule(self) -> None:
        """Wake at the next thing that an open connection has to do."""
        assert self._driver is not None
        assert self._keepalive is not None
        at, session_deadline = self._keepalive.deadline, self._driver.deadline
        self._host.timers.schedule(self, at if session_deadline is None else min(at, session_deadline))

    def _on_overflow(self) -> None:
        code = CloseCode.TOO_SLOW
        self.close(code, "durable events overflowed the outbox", reconnect_ms=code.reconnect_ms)

    # Closing

    def _say_bye(self) -> None:
        """Write `bye` and the close frame, then give the peer the close timeout to take them and to close."""
        assert self._driver is not None
        assert self._farewell is not None
        code, message, reconnect_ms = self._farewell.code, self._farewell.message, self._farewell.reconnect_ms
        self._driver.end(replaced=code is CloseCode.REPLACED)
        self._write(server_frame(frames.bye(code, message, reconnect_ms), self._encoding))
        self._reader.protocol.send_close(code, _reason(message))
        self._host.counters.closed[code] += 1
        self._send_control_frames()
        # The answer to the close frame has to be read.
        self.resume_reading()

    def _send_control_frames(self) -> None:
        """Write what the core has to say: handshake responses, pongs, close frames, the end of the stream."""
        transport, protocol = self._transport, self._reader.protocol
        assert transport is not None
        for data in protocol.data_to_send():
            if not data:
                if transport.can_write_eof() and not transport.is_closing():
                    transport.write_eof()
            elif data[0] == _PONG and not self._writing:
                self._pong = data
            else:
                transport.write(data)
        if protocol.close_expected():
            self._end()

    def _end(self) -> None:
        """No frame of ours follows any more; what is left is the peer's to do, within the close timeout."""
        if self._driver is not None:
            self._driver.end()
        if self.phase is not Phase.CLOSING:
            self._enter(Phase.CLOSING, time.monotonic() + self._host.settings.close_timeout_ms / 1000)

    def _enter(self, phase: Phase, deadline: float) -> None:
        self.phase = phase
        self._deadline = deadline
        self._host.timers.schedule(self, deadline)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


def _reason(message: str) -> str:
    """The message, cut to what a close frame can hold without splitting a character."""
    return message.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
