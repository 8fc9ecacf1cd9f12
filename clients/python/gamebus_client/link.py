"""The link: one websocket at a time, dialled again for as long as the close codes allow.

A thin driver of :class:`~gamebus_client.protocol.ClientProtocol`: it reads, writes, waits and measures time, and decides
nothing that the protocol can decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    NegotiationError,
)
from websockets.protocol import State as SocketState
from websockets.typing import Subprotocol

from gamebus_client.codec import Frame
from gamebus_client.exceptions import ConnectError, HandshakeRefused, ProtocolViolation
from gamebus_client.messages import Closed, Reconnecting
from gamebus_client.placement import Placement
from gamebus_client.protocol import ClientProtocol, Lost, Notice
from gamebus_client.reconnect import TOKEN_EXPIRED, Backoff
from gamebus_client.tokens import TokenSource

_log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 5.0
_PING_INTERVAL_S: Final = 10.0
_MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024

# The kernel holds far more than this, so a buffer in the process means that the path is full: what is written now is stale
# when it arrives.
_BACKPRESSURE_BYTES: Final = 16 * 1024

_RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class InboxFull(Exception):
    """The program does not keep up; the connection is closed and resumed when it does."""


class Link:
    """Keeps one connection open.

    Args:
        placement: chooses the gateway of each attempt.
        take: called for each notice of the protocol; raises :exc:`InboxFull` to have the connection closed.
        reconnecting: called before each pause.
        may_connect: awaited after the pause: when the program is ready for more.
    """

    def __init__(
        self,
        placement: Placement,
        subprotocol: str,
        protocol: ClientProtocol,
        tokens: TokenSource,
        rng: Random,
        *,
        take: Callable[[Notice], None],
        reconnecting: Callable[[Reconnecting], None],
        may_connect: Callable[[], Awaitable[None]],
    ) -> None:
        self._placement = placement
        # Of the present or last attempt.
        self._url = ""
        self._subprotocol = Subprotocol(subprotocol)
        self._protocol = protocol
        self._tokens = tokens
        self._take = take
        self._reconnecting = reconnecting
        self._may_connect = may_connect
        self._backoff = Backoff(rng)
        self._loop = asyncio.get_running_loop()
        self._connection: ClientConnection | None = None
        # Limits the wait for `welcome`.
        self._welcome: asyncio.Timeout | None = None
        # Calls `wake` when the outbox has something to do.
        self._timer: asyncio.TimerHandle | None = None
        self.frames_received = 0
        self.last_error: ConnectError | None = None
        """Why the last attempt to connect failed."""

    async def run(self) -> Closed:
        """Connect and reconnect until a terminal end, which is returned.

        Raises:
            HandshakeRefused: connecting is useless.
        """
        try:
            while True:
                lost = await self._attempt()
                if lost.terminal:
                    return Closed(1006 if lost.code is None else lost.code, lost.reason)
                delay_s = self._backoff.next_delay(self._loop.time(), at_least_s=lost.at_least_s)
                self._reconnecting(Reconnecting(self._backoff.attempt, delay_s, lost.code, lost.reason))
                await asyncio.sleep(delay_s)
                await self._may_connect()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def opened(self) -> None:
        """`welcome` has come."""
        self._backoff.opened(self._loop.time())
        if self._welcome is not None:
            self._welcome.reschedule(None)

    @property
    def congested(self) -> bool:
        """Whether the socket takes no more: a realtime event written now would be late."""
        connection = self._connection
        return connection is None or connection.transport.get_write_buffer_size() > _BACKPRESSURE_BYTES

    def write(self, frame: Frame) -> bool:
        """Write one frame at once; False when there is no open connection."""
        connection = self._connection
        if connection is None or connection.state is not SocketState.OPEN:
            return False
        # The one way of websockets to write without waiting; it works for clients by its documentation.
        broadcast((connection,), frame)
        return True

    def flush(self) -> None:
        """Write what the protocol has to say, and see to it that its next deadline is kept."""
        if not self._protocol.busy:
            return
        for frame in self._protocol.frames_to_send():
            self.write(frame)
        wake = self._protocol.next_wake()
        if wake is not None and (self._timer is None or wake < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(wake, self._wake)

    def _wake(self) -> None:
        self._timer = None
        for error in self._protocol.wake(self._loop.time()):
            self._take(error)
        self.flush()

    async def _attempt(self) -> Lost:
        self._url = ""
        try:
            token = await self._token()
            self._url = await self._placement.url()
            connection = await self._dial()
        except ConnectError as error:
            named = self._placement.failed(self._url)
            if isinstance(error, HandshakeRefused) and not named:
                raise
            self.last_error = error
            return Lost(None, str(error), terminal=False, at_least_s=error.retry_after_s or 0.0)
        close_code, reason = 1000, ""
        self._connection = connection
        try:
            self._protocol.connect(token, self._loop.time())
            self.flush()
            await self._read(connection)
        except ProtocolViolation as error:
            close_code, reason = 1002, str(error)
        except InboxFull as error:
            # 1013, try again later (IANA registry of close codes).
            close_code, reason = 1013, str(error)
        finally:
            self._connection = None
            await connection.close(close_code, reason[:100])
            lost = self._lost(connection, close_code, reason)
        return lost

    async def _read(self, connection: ClientConnection) -> None:
        deadline = self._welcome = asyncio.timeout(_OPEN_TIMEOUT_S)
        try:
            async with deadline:
                while True:
                    frame = await connection.recv()
                    self.frames_received += 1
                    for notice in self._protocol.receive(frame, self._loop.time()):
                        self._take(notice)
                    self.flush()
        except ConnectionClosed:
            return
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ProtocolViolation(f"no welcome within {_OPEN_TIMEOUT_S} s") from None
        finally:
            self._welcome = None

    def _lost(self, connection: ClientConnection, code: int, reason: str) -> Lost:
        if not reason:
            code = connection.close_code or 1006
            reason = connection.close_reason or ""
        else:
            _log.warning("connection to %s given up: %s", self._url, reason)
        lost = self._protocol.disconnect(code, reason)
        if lost.code == TOKEN_EXPIRED and not self._tokens.renewable:
            why = f"{lost.reason or 'token expired'}; give a function as token to have it renewed"
            return Lost(lost.code, why, terminal=True, at_least_s=0.0)
        return lost

    async def _token(self) -> str:
        try:
            return await self._tokens.get()
        except OSError as error:
            raise ConnectError(f"no token: {error}") from error

    async def _dial(self) -> ClientConnection:
        try:
            connection = await connect(
                self._url,
                subprotocols=[self._subprotocol],
                compression=None,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=_PING_INTERVAL_S,
                ping_timeout=_PING_INTERVAL_S,
                max_size=_MAX_MESSAGE_BYTES,
                # The reader never waits for the program, so frames do not pile up in front of it.
                max_queue=64,
            )
        except InvalidStatus as error:
            raise self._refused(error) from error
        except NegotiationError as error:
            raise HandshakeRefused(f"{self._url} does not speak {self._subprotocol}: {error}", status=None) from error
        except (OSError, EOFError, InvalidMessage) as error:
            raise ConnectError(f"cannot connect to {self._url}: {error or type(error).__name__}") from error
        except InvalidHandshake as error:
            raise HandshakeRefused(f"{self._url} is not a gamebus gateway: {error}", status=None) from error
        if connection.subprotocol is None:
            await connection.close()
            raise HandshakeRefused(f"{self._url} does not speak {self._subprotocol}", status=None)
        return connection

    def _refused(self, error: InvalidStatus) -> ConnectError:
        response = error.response
        status = response.status_code
        words = bytes(response.body or b"").decode(errors="replace").strip()[:200]
        message = f"{self._url} answered HTTP {status}{': ' if words else ''}{words}"
        if status not in _RETRIED_STATUSES:
            return HandshakeRefused(f"{message}; {_HINTS.get(status, 'the request must change')}", status=status)
        retry_after = response.headers.get("Retry-After", "")
        return ConnectError(message, retry_after_s=float(retry_after) if retry_after.isdecimal() else None)


_HINTS: Final = {
    400: "it offers none of this client's subprotocols",
    403: "the Origin is not allowed, or the address belongs to something else",
    404: "the path of a gateway is /v1",
    426: "something on the way removed the websocket upgrade",
}
