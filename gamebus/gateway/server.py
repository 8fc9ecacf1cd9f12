"""The websocket server: accepts connections, keeps their time, and takes leave of them.

Guarantees: at most `max_connections` are open (the next handshake gets 503); clients are let in at no more than `hello_per_second`
(:mod:`~gamebus.protocol.admission`), and the rest is told when to come back; a drain tells every client when to come back, spread
over time, and ends within its deadline.

When the gateway is full, a connection that has not said `hello` for a second gives its place to the newcomer (close code 4003), as nginx
reuses idle connections: sockets without a token cannot keep players out.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from gamebus.catalog import Catalog
from gamebus.errors import ConfigurationError
from gamebus.gateway.connection import Connection, Counters
from gamebus.gateway.handshake import PATH
from gamebus.gateway.keepalive import TimerWheel
from gamebus.gateway.outbox import Outbox
from gamebus.gateway.session_driver import Bus, SessionDriver
from gamebus.protocol.admission import Admission
from gamebus.protocol.claims import Verify
from gamebus.protocol.codes import CloseCode, ErrorCode
from gamebus.protocol.frames import Encoding
from gamebus.protocol.limits import Limits
from gamebus.protocol.session import Session
from gamebus.settings import AuthSettings, GatewaySettings
from gamebus.telemetry.histogram import Distribution
from gamebus.telemetry.metrics import counter, gauge, histogram

_BACKLOG: Final = 1024
_SWEEP_S: Final = 0.05
# Sockets in the opening handshake, beyond the open connections; more are cut at once.
_MAX_HANDSHAKES: Final = 1024
_SILENCE_S: Final = 1.0
# Goodbyes of a drain go out in groups; those of a group come back within the spread.
_GOODBYE_STEP_S: Final = 0.05
_RECONNECT_SPREAD_MS: Final = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Figures of the websocket server of one process."""

    connections: int = gauge("Open websocket connections.")
    sockets: int = gauge("Sockets, those in the handshake and those that are closing included.")
    messages_total: int = counter("Messages received.")
    refused_total: Mapping[str, int] = counter("Opening handshakes refused.", label="status")
    placements_total: Mapping[str, int] = counter("Answers to GET /place.", label="status")
    closed_total: Mapping[str, int] = counter("Connections closed by the gateway.", label="code")
    admitted_total: int = counter("Clients whose hello was accepted.")
    deferred_total: int = counter("Clients that were told to come back later, since too many came at once.")
    cut_total: int = counter("Connections cut because the peer let a deadline pass.")
    ack_seconds: Distribution = histogram("From taking a durable publish to its ack.")
    answers_total: Mapping[str, int] = counter(
        "Durable publishes of clients that were taken, by answer: ack, or why not.", label="answer"
    )
    errors_total: Mapping[str, int] = counter(
        "Messages of clients that were refused by an error or a nack; of errors at most ten a second and client.",
        label="code",
    )


class Server:
    """The server of one process. Implements :class:`~gamebus.gateway.connection.Host`.

    Args:
        auth: how much clock difference a token's expiry forgives.
        verify: checks tokens.
        place: gives the URL of the gateway that should take a room; None when it is not known.
        reuse_port: share the port with other processes (SO_REUSEPORT).
    Raises:
        ConfigurationError: the address cannot be had.
    """

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        auth: AuthSettings,
        catalog: Catalog,
        verify: Verify,
        bus: Bus,
        place: Callable[[str], str | None],
        reuse_port: bool = False,
    ) -> None:
        self.settings = settings
        self.timers: TimerWheel[Connection] = TimerWheel(now=time.monotonic(), resolution_s=_SWEEP_S)
        self.counters = Counters()
        self._catalog = catalog
        self._verify = verify
        self._bus = bus
        self.place = place
        self._admission = Admission(per_second=settings.hello_per_second, burst=settings.hello_burst)
        self._limits = Limits(
            frame_bytes=settings.frame_bytes,
            batch=settings.max_batch,
            rooms=settings.max_rooms,
            ping_interval_ms=settings.ping_interval_ms,
            hello_timeout_ms=settings.hello_timeout_ms,
            token_leeway_ms=auth.leeway_s * 1000,
        )
        self._sockets: set[Connection] = set()
        # The open ones of them.
        self._places: set[Connection] = set()
        # Those that may not have said hello yet and since when they are open, oldest first; cleaned up when it is needed.
        self._silent: dict[Connection, tuple[SessionDriver, float]] = {}
        # Bound before anything else starts, so that a taken port is an early error; until it listens, clients are refused.
        self._socket = bind(settings.host, settings.port, reuse_port=reuse_port)
        self._listener: asyncio.Server | None = None
        self._draining = False
        # Set while no socket is left.
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken."""
        return self._listener is not None and not self._draining

    def follow(self, catalog: Catalog) -> None:
        """Open sessions by another generation of the catalog from now on; those that are open keep to what they were told."""
        self._catalog = catalog

    async def listen(self) -> str:
        """Listen; returns the websocket URL."""
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=self._socket, backlog=_BACKLOG
        )
        host, port = self._socket.getsockname()[:2]
        return f"ws://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    def close(self) -> None:
        """Stop listening. May be repeated."""
        if self._listener is None:
            self._socket.close()
        else:
            self._listener.close()

    async def run(self) -> None:
        """Keep the time of all connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for connection in self.timers.advance(now):
                # By the loop, so that an error in one connection is reported and stops no other one's time.
                loop.call_soon(connection.on_time, now)

    async def drain(self) -> None:
        """Stop accepting, say goodbye to everyone (4000), and return when all sockets are gone or the deadline has passed.

        The goodbyes are spread over the time in which the other gateways can let everyone in, half of the deadline at most: whoever
        has not been sent away plays on, and everyone is away for a moment only.
        """
        deadline_s = self.settings.drain_timeout_ms / 1000
        self._draining = True
        self.close()
        log.info("gateway.draining", connections=len(self._places), deadline_s=deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                await self._say_goodbye(longest_s=deadline_s / 2)
                await self._empty.wait()
        except TimeoutError:
            pass
        left = list(self._sockets)
        for connection in left:
            connection.abort()
        log.info("gateway.drained", cut=len(left))

    async def _say_goodbye(self, *, longest_s: float) -> None:
        connections = list(self._sockets)
        window_s = min(longest_s, len(connections) / self.settings.hello_per_second)
        size = math.ceil(len(connections) * min(1.0, _GOODBYE_STEP_S / window_s)) if window_s else len(connections)
        code = CloseCode.DRAINING
        for start in range(0, len(connections), size or 1):
            if start:
                await asyncio.sleep(window_s * size / len(connections))
            for connection in connections[start : start + size]:
                reconnect_ms = (code.reconnect_ms or 0) + random.randrange(_RECONNECT_SPREAD_MS)  # noqa: S311 - spreads load only
                connection.close(code, "the gateway restarts", reconnect_ms=reconnect_ms)

    def statistics(self) -> ServerStatistics:
        """Figures of this moment."""
        counters = self.counters
        return ServerStatistics(
            connections=len(self._places),
            sockets=len(self._sockets),
            messages_total=counters.messages,
            refused_total={str(status): count for status, count in counters.refused.items()},
            placements_total={str(status): count for status, count in counters.placements.items()},
            closed_total={str(int(code)): count for code, count in counters.closed.items()},
            admitted_total=self._admission.admitted,
            deferred_total=self._admission.deferred,
            cut_total=counters.cut,
            ack_seconds=self._bus.ack_seconds.snapshot(),
            answers_total={"ack": 0, str(ErrorCode.UNKNOWN_OUTCOME): 0} | self._bus.answers,
            errors_total={str(ErrorCode.RATE_LIMITED): 0} | self._bus.errors,
        )

    # Host

    def accepted(self, connection: Connection) -> None:
        """A socket was accepted."""
        self._sockets.add(connection)
        self._empty.clear()
        if self._draining or len(self._sockets) > self.settings.max_connections + _MAX_HANDSHAKES:
            connection.abort()

    def take_place(self, connection: Connection) -> bool:
        """Count an open connection; false when the gateway is full."""
        if len(self._places) >= self.settings.max_connections and not self._evict(time.monotonic()):
            return False
        self._places.add(connection)
        return True

    def drive(self, connection: Connection, encoding: Encoding, outbox: Outbox, now: float) -> SessionDriver:
        """Make the driver of a connection that has just opened."""
        session_id = secrets.token_hex(8)
        session = Session(
            self._catalog, self._limits, self._verify, session_id, encoding, now=now, admit=self._admission.admit
        )
        driver = SessionDriver(
            session, session_id=session_id, encoding=encoding, outbox=outbox, line=connection, bus=self._bus
        )
        self._silent[connection] = (driver, now)
        return driver

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        self._sockets.discard(connection)
        self._places.discard(connection)
        self._silent.pop(connection, None)
        if not self._sockets:
            self._empty.set()

    def _evict(self, now: float) -> bool:
        """Free the place of the oldest connection that has not said hello in time to be above suspicion; false when all have."""
        for connection, (driver, since) in list(self._silent.items()):
            if driver.open:
                del self._silent[connection]
            elif now - since < _SILENCE_S:
                return False
            else:
                self._places.discard(connection)
                del self._silent[connection]
                code = CloseCode.TOO_MANY_CONNECTIONS
                connection.close(
                    code, "the gateway is full, and this connection is silent", reconnect_ms=code.reconnect_ms
                )
                return True
        return False


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """A socket that is bound and does not listen yet.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; set GAMEBUS_GATEWAY__HOST and "
            "GAMEBUS_GATEWAY__PORT (0 takes a free port)"
        ) from error
    return listener
