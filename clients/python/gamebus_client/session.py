"""What joins the protocol, the link, the inbox and the calls that wait: the client without its vocabulary."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from gamebus_client.codec import Codec, Frame, Pong, TokenAccepted, Welcome
from gamebus_client.dialling import Dial
from gamebus_client.exceptions import (
    ConnectError,
    ConnectionLost,
    Disconnected,
    HandshakeRefused,
    OutcomeUnknown,
    PublishError,
    PublishFailed,
    PublishRejected,
    RequestRefused,
)
from gamebus_client.inbox import Inbox
from gamebus_client.link import InboxFull, Link
from gamebus_client.messages import Ack, Closed, Error, Event, Joined, Left, Message, Reconnected, Reconnecting, Tick
from gamebus_client.placement import Placement
from gamebus_client.protocol import ClientProtocol, Notice, Refused, State
from gamebus_client.statistics import ClientStatistics
from gamebus_client.tokens import TokenSource
from gamebus_client.waiters import Key, Waiters

VERSION: Final = "gamebus-client/0.1.0 (python)"

_REFRESH_AT: Final = 0.8
"""Part of a token's life after which the next one is asked for."""

_REFRESH_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)

_OUTCOMES: Final[dict[type[PublishError], str]] = {
    PublishRejected: "rejected",
    PublishFailed: "failed",
    OutcomeUnknown: "unknown",
}


class Session:
    """One client's life: from `start` to `stop`, across its connections.

    Attributes:
        name: of the present (or last) session at the gateway.
        player: the token's player id, as the gateway read it.
        closed: how the client ended; None while it lives.
    """

    def __init__(
        self,
        url: str,
        tokens: TokenSource,
        codec: Codec,
        *,
        place: str | None,
        dial: Dial,
        handler: Callable[[Message], None] | None,
        outbox_events: int,
        inbox_messages: int,
        rng: Random,
    ) -> None:
        self._url = url
        self._place = place
        self._dial = dial
        self._codec = codec
        self._rng = rng
        self._handler = handler
        self.tokens = tokens
        self.protocol = ClientProtocol(codec, client=VERSION, outbox_limit=outbox_events)
        self.inbox = Inbox(inbox_messages)
        self._waiters = Waiters()
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        # What the handler or the token function raised.
        self._failure: Exception | None = None
        # Loop time at which the token should be refreshed; None: nothing is known or to be done.
        self._refresh_at: float | None = None
        self._refresh_changed = asyncio.Event()
        self.name: str | None = None
        self.player: str | None = None
        self.closed: Closed | None = None

    # Life

    async def start(self, timeout_s: float) -> None:
        """Connect, and return at the first `welcome`.

        Raises:
            HandshakeRefused, Disconnected: refused for good.
            ConnectError: no connection in time; the last failure is chained.
        """
        if self._task is not None:
            raise RuntimeError("a GameClient is entered once; make a new one")
        self._link = Link(
            Placement(self._url, self._place),
            self._dial,
            self._codec.subprotocol,
            self.protocol,
            self.tokens,
            self._rng,
            take=self._take,
            reconnecting=self._lost,
            may_connect=self.inbox.drained,
        )
        opened = self._waiters.expect(("open", ""))
        self._task = asyncio.create_task(self._run(self._link))
        try:
            async with asyncio.timeout(timeout_s):
                await opened
        except TimeoutError:
            await self.stop()
            raise ConnectError(f"no connection to {self._url} within {timeout_s} s") from self._link.last_error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> Exception | None:
        """Close; what the handler or the token function raised, if that was the end of it."""
        assert self._task is not None
        if self.closed is None:
            self._task.cancel()
        # Its exceptions are in `_failure`.
        await asyncio.gather(self._task, return_exceptions=True)
        return self._failure

    async def _run(self, link: Link) -> None:
        closed = Closed(1000, "closed by this client")
        refused: HandshakeRefused | None = None
        refreshing = asyncio.create_task(self._keep_token_fresh())
        try:
            closed = await link.run()
        except HandshakeRefused as error:
            closed, refused = Closed(1006, str(error)), error
        # Of the program's own functions; raised at the end of its `async with` block.
        except Exception as error:  # noqa: BLE001
            closed, self._failure = Closed(1000, f"{type(error).__name__}: {error}"), error
        finally:
            refreshing.cancel()
            self._finish(closed, refused or self._failure)
            await asyncio.wait((refreshing,))

    def _finish(self, closed: Closed, failure: Exception | None) -> None:
        self.closed = closed
        for error in self.protocol.outbox.close(f"the client closed: {closed.reason}"):
            self._waiters.reject(("publish", error.id), error)
        ended = Disconnected(closed.code, closed.reason)
        self._waiters.reject(("open", ""), failure or ended)
        self._waiters.reject_all(ended)
        if self._handler is None or self._failure is None:
            self._deliver(closed, force=True)
        self.inbox.close()

    # Requests

    def check_alive(self) -> None:
        """Raise what there is to say when the client does not run."""
        if self._task is None:
            raise RuntimeError("the client is not running: use `async with GameClient(...) as game`")
        if self.closed is not None:
            raise Disconnected(self.closed.code, self.closed.reason)

    def check_open(self) -> None:
        """Raise :exc:`ConnectionLost` when there is no connection at the moment."""
        self.check_alive()
        if self.protocol.state is not State.OPEN:
            raise ConnectionLost("not connected at the moment")

    def flush(self) -> None:
        """Write what the protocol has to say."""
        if self._link is not None:
            self._link.flush()

    async def request(self, key: Key, send: Callable[[], object], timeout_s: float) -> Any:
        """Send a request and wait for its answer."""
        self.check_alive()
        answer = self._waiters.expect(key)
        try:
            send()
            self.flush()
            return await self._waiters.answer(key, answer, timeout_s)
        finally:
            self._waiters.forget(key, answer)

    async def publish(
        self, room: str, event_type: str, data: Any, event_id: str, *, player: str | None, timeout_s: float
    ) -> Ack:
        """Publish a durable event and wait for its outcome."""
        self.check_alive()
        now = asyncio.get_running_loop().time()
        self.protocol.publish(room, event_type, data, event_id, player=player, now=now, deadline=now + timeout_s)
        key: Key = ("publish", event_id)
        answer = self._waiters.expect(key)
        self._counts["published"] += 1
        self.flush()
        try:
            ack: Ack = await answer
        except PublishError as error:
            self._counts[_OUTCOMES[type(error)]] += 1
            raise
        except asyncio.CancelledError:
            self._counts["cancelled"] += 1
            self.protocol.outbox.forget(event_id)
            raise
        finally:
            self._waiters.forget(key, answer)
        self._counts["acked"] += 1
        return ack

    async def refresh(self, token: str, timeout_s: float) -> int:
        """Refresh the token on the open connection; its expiry."""
        self.check_open()
        accepted: TokenAccepted = await self.request(("token", ""), lambda: self.protocol.refresh(token), timeout_s)
        self.tokens.replace(token)
        return accepted.expires_ms

    async def _keep_token_fresh(self) -> None:
        while True:
            self._refresh_changed.clear()
            try:
                async with asyncio.timeout_at(self._refresh_at):
                    await self._refresh_changed.wait()
            except TimeoutError:
                self._refresh_at = None
                try:
                    await self.refresh(await self.tokens.get(), _REFRESH_TIMEOUT_S)
                # The token expires with 4010, and the reconnect asks the function again: there its exception counts.
                except Exception as error:  # noqa: BLE001
                    _log.warning("token not refreshed: %s", error)

    def _plan_refresh(self, expires_ms: int) -> None:
        now = asyncio.get_running_loop().time()
        server_ms = self.protocol.clock.server_ms(now)
        if self.tokens.renewable and server_ms is not None:
            left_s = (expires_ms - server_ms) / 1000
            self._refresh_at = now + max(1.0, left_s * _REFRESH_AT)
            self._refresh_changed.set()

    # Realtime

    def send(self, room: str, event_type: str, data: Any, player: str | None) -> bool:
        """Write a realtime event now, or drop and count it."""
        return self._allowed(room) and self._write(self.protocol.realtime(room, event_type, data, player), 1)

    def send_batch(self, events: Iterable[tuple[str, str, Any]]) -> int:
        """Write many; how many were written."""
        ready = [event for event in events if self._allowed(event[0])]
        return sum(count for frame, count in self.protocol.batches(ready) if self._write(frame, count))

    def _allowed(self, room: str) -> bool:
        if self.protocol.ready(room):
            return True
        self._dropped["not_joined" if self.protocol.state is State.OPEN else "not_connected"] += 1
        return False

    def _write(self, frame: Frame, count: int) -> bool:
        assert self._link is not None
        if self._link.congested:
            self._dropped["backpressure"] += count
            return False
        if not self._link.write(frame):
            self._dropped["not_connected"] += count
            return False
        self._counts["realtime_sent"] += count
        return True

    # From the link

    def _take(self, notice: Notice) -> None:
        match notice:
            case Tick():
                self._deliver(notice)
            case Event():
                self._deliver(notice)
                self.protocol.delivered(notice)
            case Ack():
                self._waiters.resolve(("publish", notice.id), notice)
            case PublishError():
                self._waiters.reject(("publish", notice.id), notice)
            case Welcome():
                self._welcomed(notice)
            case Pong():
                self._waiters.resolve(("ping", notice.t), self.protocol.rtt_s)
            case TokenAccepted():
                self._plan_refresh(notice.expires_ms)
                self._waiters.resolve(("token", ""), notice)
            case Refused():
                self._refused(notice.error)
            case Joined():
                self._waiters.resolve(("join", notice.room), notice)
                self._deliver(notice)
            case Left():
                self._waiters.resolve(("leave", notice.room), notice)
                self._deliver(notice)
            case _:
                self._deliver(notice)

    def _welcomed(self, welcome: Welcome) -> None:
        assert self._link is not None
        self._link.opened()
        self.name, self.player = welcome.session, welcome.player
        if welcome.expires_ms is not None:
            self._plan_refresh(welcome.expires_ms)
        self._counts["connections"] += 1
        if self._counts["connections"] == 1:
            self._waiters.resolve(("open", ""), None)
        else:
            self._deliver(Reconnected(welcome.session))

    def _refused(self, error: Error) -> None:
        key: Key = ("token", "") if error.op == "token" else ("join", error.room or "")
        if not self._waiters.reject(key, RequestRefused(error.code, error.message)):
            # A room that was joined before is refused after a reconnect.
            self._deliver(error)
            if error.room is not None and error.room not in self.protocol.rooms:
                self._deliver(Left(error.room))

    def _lost(self, message: Reconnecting) -> None:
        self._waiters.reject_all(ConnectionLost(message.reason), kinds=frozenset({"ping", "token"}))
        # A room left on a connection that is gone is left.
        self._waiters.resolve_all("leave")
        self._deliver(message, force=True)

    def _deliver(self, message: Message, *, force: bool = False) -> None:
        if self._handler is not None:
            try:
                self._handler(message)
            except Exception as error:
                # Kept here too, since a cancellation while the socket closes would take its place.
                self._failure = error
                raise
        elif not self.inbox.put(message, force=force):
            raise InboxFull(f"{len(self.inbox)} messages wait to be taken: iterate over the client")

    def statistics(self) -> ClientStatistics:
        """What was counted so far."""
        counts = self._counts
        return ClientStatistics(
            reconnects=max(0, counts["connections"] - 1),
            realtime_sent=counts["realtime_sent"],
            realtime_dropped=dict(self._dropped),
            published=counts["published"],
            acked=counts["acked"],
            rejected=counts["rejected"],
            failed=counts["failed"],
            unknown=counts["unknown"],
            cancelled=counts["cancelled"],
            outbox=len(self.protocol.outbox),
            inbox=len(self.inbox),
            ticks_merged=self.inbox.ticks_merged,
            duplicates_dropped=self.protocol.duplicates_dropped,
            unknown_operations=self.protocol.unknown_operations,
            frames_received=0 if self._link is None else self._link.frames_received,
        )
