"""The client of a gamebus gateway.

Guarantees: what `publish` (and `chat`, `kill`, `death`) returns an `Ack` for is written on all in-sync replicas; otherwise it
raises what is known, and never reports an event that may have been written as failed. Durable events are re-sent under the
same id across reconnects, in order. Realtime sends never wait: they are written at once or dropped and counted.

Not guaranteed: that a realtime event arrives; that events missed during a reconnect can be recovered (`Joined.recovered`).

Not safe for several threads. `*_s` are seconds, `*_ms` Unix milliseconds.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from random import Random
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from gamebus_client import payloads
from gamebus_client.codec import CODECS, Codec
from gamebus_client.dialling import Dial, dial
from gamebus_client.exceptions import GameClientError
from gamebus_client.messages import Ack, Closed, Joined, Message
from gamebus_client.payloads import Vector
from gamebus_client.protocol import State
from gamebus_client.session import Session
from gamebus_client.statistics import ClientStatistics
from gamebus_client.tokens import Token, TokenSource

_REQUEST_TIMEOUT_S: Final = 10.0
_PUBLISH_TIMEOUT_S: Final = 30.0


class GameClient:
    """A connection to a gateway that comes back by itself.

        async with GameClient("ws://127.0.0.1:8000", token) as game:
            await game.join("arena-1")
            async for message in game:
                ...

    Entering waits for the first `welcome`. Whoever joins rooms must iterate (or give a `handler`): messages wait in a bounded
    queue, see :mod:`gamebus_client.inbox` for what happens when nobody takes them.

    Args:
        url: `ws://` or `wss://`; the path `/v1` is added where none is given.
        token: a token, or a function (plain or async) that gives a fresh one. Only with a function can the client come back
            after its token has expired. OSError and TimeoutError of the function count as a failed attempt; any other
            exception ends the client.
        encoding: `json` for reading along with a proxy; else leave it. Or a codec of one's own for one of the two subprotocols.
        place: a room. The gateway is asked which one should take it, before each connection, and that one is connected to; when it
            cannot be asked, `url` is. Rooms work everywhere; so players of a room meet on few gateways, which costs less.
        handler: called with each message in place of iteration, between two reads of the socket: it must be quick. An
            exception in it ends the client and is raised at the end of the `async with` block.
        outbox_events: durable events that may wait for their outcome; past it `OutboxFull` is raised.
        inbox_messages: messages (ticks aside) that may wait to be taken.
        connect_timeout_s: how long entering tries to connect.
        rng: source of the back-off's jitter.
        dial: opens a websocket, see :mod:`gamebus_client.dialling`.

    Raises:
        ValueError: `url` is not one of a websocket.
        ConnectError: on entering, no connection in time (`HandshakeRefused`: refused for good).
        Disconnected: on entering, closed with a terminal code.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        encoding: Literal["msgpack", "json"] | Codec = "msgpack",
        place: str | None = None,
        handler: Callable[[Message], None] | None = None,
        outbox_events: int = 256,
        inbox_messages: int = 10_000,
        connect_timeout_s: float = 10.0,
        rng: Random | None = None,
        dial: Dial = dial,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._session = Session(
            _gateway_url(url),
            TokenSource(token),
            CODECS[encoding] if isinstance(encoding, str) else encoding,
            place=place,
            dial=dial,
            handler=handler,
            outbox_events=outbox_events,
            inbox_messages=inbox_messages,
            rng=rng or Random(),  # noqa: S311 - jitter, no secret
        )
        self._protocol = self._session.protocol
        self._pings = 0
        # Round trip of the last ping, told in heartbeats.
        self._rtt_ms: float | None = None

    async def __aenter__(self) -> Self:
        await self._session.start(self._connect_timeout_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = await self._session.stop()
        if failure is not None and error is None:
            raise failure

    @property
    def player(self) -> str | None:
        """The token's player id, as the gateway read it."""
        return self._session.player

    @property
    def session(self) -> str | None:
        """Name of the present (or last) session, as in the gateway's logs."""
        return self._session.name

    @property
    def connected(self) -> bool:
        """Whether realtime events can be sent at the moment."""
        return self._protocol.state is State.OPEN

    @property
    def closed(self) -> Closed | None:
        """How the client ended; None while it lives."""
        return self._session.closed

    def server_ms(self) -> float | None:
        """Unix milliseconds by the gateway's clock, as far as the round trips of this connection tell; None before the first."""
        return self._protocol.clock.server_ms(asyncio.get_running_loop().time())

    def statistics(self) -> ClientStatistics:
        """What was counted so far."""
        return self._session.statistics()

    # Rooms

    async def join(self, room: str, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> Joined:
        """Enter a room and stay in it across reconnects.

        Raises:
            RequestRefused: the token does not allow the room, or too many are joined.
            RequestTimedOut, Disconnected, InvalidMessage: no answer; the room is left again.
        """
        try:
            joined: Joined = await self._session.request(("join", room), lambda: self._protocol.join(room), timeout_s)
        except (GameClientError, asyncio.CancelledError):
            if self._protocol.joining(room):
                self._protocol.leave(room)
                self._session.flush()
            raise
        return joined

    async def leave(self, room: str, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> None:
        """Leave a room.

        Raises:
            RequestTimedOut, Disconnected: no answer; the room is not joined again after a reconnect.
        """
        self._session.check_alive()
        if self.connected:
            await self._session.request(("leave", room), lambda: self._protocol.leave(room), timeout_s)
        else:
            self._protocol.leave(room)

    # Realtime: written at once or dropped

    def move(
        self,
        room: str,
        x: float,
        y: float,
        z: float,
        *,
        velocity: Vector | None = None,
        heading: float | None = None,
        player: str | None = None,
    ) -> bool:
        """Send one's position (a game server: that of `player`); False when it was dropped and counted."""
        data = payloads.position(self._protocol.next_seq(), x, y, z, velocity, heading)
        return self._session.send(room, "position", data, player)

    def heartbeat(self, room: str) -> bool:
        """Tell that this player is alive, with the round trip of the last `ping`; False when it was dropped."""
        data = payloads.heartbeat(self._protocol.next_seq(), _now_ms(), self._rtt_ms)
        return self._session.send(room, "heartbeat", data, None)

    def send(self, room: str, event_type: str, data: Any, *, player: str | None = None) -> bool:
        """Publish a realtime event: at most once, without an answer, without waiting.

        Returns:
            False when it was dropped and counted: not connected, the room not joined yet, or the socket congested.

        Raises:
            InvalidMessage: it can never be sent as it is.
        """
        return self._session.send(room, event_type, data, player)

    def send_batch(self, events: Iterable[tuple[str, str, Any]]) -> int:
        """Publish many realtime events `(room, type, data)` in as few frames as they fit in; how many were written."""
        return self._session.send_batch(events)

    # Durable: awaits the outcome

    async def publish(
        self,
        room: str,
        event_type: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - the protocol's word
        player: str | None = None,
        timeout_s: float = _PUBLISH_TIMEOUT_S,
    ) -> Ack:
        """Publish a durable event and wait for its outcome, across reconnects and refusals that pass.

        Cancelling stops the re-sending and leaves the outcome unknown.

        Args:
            id: name of the event, 1..64 characters; the same event under the same id has its effect once.
            player: a game server publishes in this player's name.
            timeout_s: how long to try; at most 10 minutes after the first attempt.

        Raises:
            PublishRejected: refused for good.
            PublishFailed: surely not written in time.
            OutcomeUnknown: it may have been written.
            OutboxFull, InvalidMessage, Disconnected: it was not taken at all.
        """
        event_id = uuid.uuid4().hex if id is None else id
        return await self._session.publish(room, event_type, data, event_id, player=player, timeout_s=timeout_s)

    async def chat(self, room: str, text: str, *, id: str | None = None) -> Ack:  # noqa: A002 - the protocol's word
        """Say something in a room: 1..500 characters, delivered trimmed. Raises as :meth:`publish`."""
        return await self.publish(room, "chat", {"text": text}, id=id)

    async def kill(
        self,
        room: str,
        *,
        killer: str,
        victim: str,
        weapon: str,
        at_ms: int | None = None,
        place: Vector | None = None,
        assists: Sequence[str] = (),
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> Ack:
        """Report a kill (role `server`), now unless `at_ms` is given. Raises as :meth:`publish`."""
        data = payloads.kill(killer, victim, weapon, _now_ms() if at_ms is None else at_ms, place, assists)
        return await self.publish(room, "kill", data, id=id)

    async def death(
        self,
        room: str,
        *,
        victim: str,
        cause: str,
        at_ms: int | None = None,
        place: Vector | None = None,
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> Ack:
        """Report a death (role `server`), now unless `at_ms` is given. Raises as :meth:`publish`."""
        data = payloads.death(victim, cause, _now_ms() if at_ms is None else at_ms, place)
        return await self.publish(room, "death", data, id=id)

    # Session

    async def ping(self, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> float:
        """Round trip through the gateway's application, in seconds; it also makes `server_ms` better.

        Raises:
            ConnectionLost, RequestTimedOut, Disconnected: no answer.
        """
        self._session.check_open()
        self._pings += 1
        number = self._pings
        now = asyncio.get_running_loop().time()
        rtt_s: float = await self._session.request(
            ("ping", number), lambda: self._protocol.ping(number, now), timeout_s
        )
        self._rtt_ms = round(rtt_s * 1000, 3)
        return rtt_s

    async def refresh_token(self, token: str, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> int:
        """Refresh the token on the open connection; its expiry in Unix milliseconds.

        A client that was made with a token function does this by itself. A client that was made with a string also says hello with this token from then on.

        Raises:
            RequestRefused: the token is bad; the old one stands.
            ConnectionLost, RequestTimedOut, Disconnected: no answer.
        """
        return await self._session.refresh(token, timeout_s)

    # Receiving

    async def messages(self) -> AsyncIterator[Message]:
        """Messages as they come; ends after `Closed`. Several iterations share the messages."""
        while (message := await self._session.inbox.get()) is not None:
            yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _gateway_url(url: str) -> str:
    try:
        path = parse_uri(url).path
    except InvalidURI as error:
        raise ValueError(f"{url!r} is not the address of a gateway (ws://host:port/v1): {error}") from error
    return url if path not in ("", "/") else urlunsplit(urlsplit(url)._replace(path="/v1"))
