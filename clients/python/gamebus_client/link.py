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

from gamebus_client.codec import Frame
from gamebus_client.dialling import OPEN_TIMEOUT_S, Dial, Websocket
from gamebus_client.exceptions import ConnectError, HandshakeRefused, ProtocolViolation
from gamebus_client.messages import Closed, Reconnecting
from gamebus_client.placement import Placement
from gamebus_client.protocol import ClientProtocol, Lost, Notice
from gamebus_client.reconnect import TOKEN_EXPIRED, Backoff
from gamebus_client.tokens import TokenSource

_log = logging.getLogger(__name__)

# The kernel holds far more than this, so a buffer in the process means that the path is full: what is written now is stale
# when it arrives.
_BACKPRESSURE_BYTES: Final = 16 * 1024


class InboxFull(Exception):
    """The program does not keep up; the connection is closed and resumed when it does."""


class Link:
    """Keeps one connection open.

    Args:
        placement: chooses the gateway of each attempt.
        dial: opens a websocket.
        take: called for each notice of the protocol; raises :exc:`InboxFull` to have the connection closed.
        reconnecting: called before each pause.
        may_connect: awaited after the pause: when the program is ready for more.
    """

    def __init__(
        self,
        placement: Placement,
        dial: Dial,
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
        self._dial = dial
        # Of the present or last attempt.
        self._url = ""
        self._subprotocol = subprotocol
        self._protocol = protocol
        self._tokens = tokens
        self._take = take
        self._reconnecting = reconnecting
        self._may_connect = may_connect
        self._backoff = Backoff(rng)
        self._loop = asyncio.get_running_loop()
        self._connection: Websocket | None = None
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
        return connection is None or connection.unsent_bytes > _BACKPRESSURE_BYTES

    def write(self, frame: Frame) -> bool:
        """Write one frame at once; False when there is no open connection."""
        return self._connection is not None and self._connection.write(frame)

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
            connection = await self._dial(self._url, self._subprotocol)
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

    async def _read(self, connection: Websocket) -> None:
        deadline = self._welcome = asyncio.timeout(OPEN_TIMEOUT_S)
        try:
            async with deadline:
                await connection.read(self._on_frame)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ProtocolViolation(f"no welcome within {OPEN_TIMEOUT_S} s") from None
        finally:
            self._welcome = None

    def _on_frame(self, frame: Frame) -> None:
        self.frames_received += 1
        for notice in self._protocol.receive(frame, self._loop.time()):
            self._take(notice)
        self.flush()

    def _lost(self, connection: Websocket, code: int, reason: str) -> Lost:
        if not reason:
            code, reason = connection.ended
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
