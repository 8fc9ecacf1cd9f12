"""One bot: a client that writes down what it sends and what it sees."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import Any, Literal

from gamebus_bots.clock import clock
from gamebus_bots.config import BotsConfig
from gamebus_bots.flights import Watch
from gamebus_bots.lean_connection import LeanConnection, lean_dial
from gamebus_bots.recorder import Recorder
from gamebus_bots.tokens import mint
from gamebus_client import (
    Closed,
    Error,
    Event,
    GameClient,
    GameClientError,
    Joined,
    Message,
    OutcomeUnknown,
    PublishError,
    Reconnecting,
    Tick,
)


class Publisher:
    """A connection that publishes durable events and notes what becomes of them."""

    def __init__(self, name: str, role: Literal["player", "server"], config: BotsConfig, recorder: Recorder) -> None:
        self.name = name
        self._recorder = recorder
        self._connection: LeanConnection | None = None
        self.game = GameClient(
            config.url,
            lambda: mint(name, role, config.secret),
            encoding=recorder.codec,
            handler=self._on_message,
            connect_timeout_s=config.connect_timeout_s,
            dial=lean_dial(recorder.traffic, recorder.inbox, opened=self._opened),
        )
        self._connected = False
        self.measured = True
        """Whether what it waits for is a latency of the servers."""

    async def publish(self, room: str, event_type: str, data: dict[str, Any], planned_s: float) -> None:
        """Publish one event; its outcome goes into the ledger."""
        recorder = self._recorder
        sent_s = clock()
        recorder.lagged(planned_s, sent_s)
        event = recorder.ledger.publish(uuid.uuid4().hex, room, event_type, self.name, planned_s, sent_s)
        errors = recorder.tally.errors
        outcome = "unknown"
        attempts = 1
        try:
            ack = await self.game.publish(room, event_type, data, id=event.id)
            outcome, attempts = "acked", ack.attempts
            if self.measured:
                recorder.took("ack", planned_s, sent_s, clock())
        except OutcomeUnknown as error:
            errors[error.code] += 1
        except PublishError as error:
            outcome = "nacked"
            errors[error.code] += 1
        except GameClientError as error:
            # Not taken by the client: it is closed.
            outcome = "nacked"
            errors[type(error).__name__] += 1
        finally:
            recorder.ledger.ended(event, outcome, clock(), attempts=attempts)

    def _opened(self, connection: LeanConnection) -> None:
        self._connection = connection

    def _set_connected(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._recorder.counts["connected"] += 1 if connected else -1

    def _on_message(self, message: Message) -> None:
        recorder = self._recorder
        match message:
            case Error():
                recorder.tally.errors[message.code] += 1
            case Reconnecting():
                self._set_connected(connected=False)
                if message.code is not None:
                    recorder.counts["reconnects"] += 1
                    recorder.tally.errors[f"close {message.code}"] += 1
            case Closed():
                self._set_connected(connected=False)
                if message.code != 1000:
                    recorder.tally.problem(self.name, f"closed with {message.code}: {message.reason}")


class Player(Publisher):
    """A player in one room."""

    def __init__(self, name: str, room: str, config: BotsConfig, recorder: Recorder) -> None:
        super().__init__(name, "player", config, recorder)
        self.room = room
        self.receiver = recorder.ledger.receiver(room)
        self.watch = Watch(recorder.flights)
        self.joined = False
        """Whether this player came: it has been in its room."""
        self._seq = 0

    async def connect(self, stack: AsyncExitStack, planned_s: float) -> None:
        """Connect and join. A failed connection is noted, the others go on."""
        try:
            await stack.enter_async_context(self.game)
            await self.game.join(self.room)
            self._recorder.tally.latencies["connect"].record(clock() - planned_s)
        except GameClientError as error:
            self._recorder.tally.problem(self.name, f"not connected: {error}")

    async def leave(self) -> None:
        """Leave the room, when there is a connection."""
        if not self.game.connected:
            return
        self._set_connected(connected=False)
        try:
            await self.game.leave(self.room)
        except GameClientError as error:
            self._recorder.tally.problem(self.name, f"leave: {error}")

    def cut(self) -> None:
        """Break the connection: it comes back by itself, and resumes."""
        if self._connection is not None:
            self._connection.cut()

    def read_slowly(self, *, paused: bool) -> None:
        """Take nothing from the socket for a while, or go on."""
        if self._connection is not None:
            self._connection.read_slowly(paused=paused)

    def move(self, place: tuple[float, float, float], planned_s: float) -> None:
        """Send one position."""
        recorder = self._recorder
        self._seq += 1
        seq = self._seq
        recorder.flights.planned(self.name, seq, planned_s)
        recorder.counts["attempted"] += 1
        if self.game.send(self.room, "position", [seq, *place]):
            sent_s = clock()
            recorder.counts["sent"] += 1
            recorder.flights.sent(self.name, seq, sent_s)
            if recorder.lag_sampler.pick(1):
                recorder.lagged(planned_s, sent_s)

    def heartbeat(self) -> None:
        """Tell that this player is alive."""
        self._recorder.counts["attempted"] += 1
        self._recorder.counts["sent"] += self.game.heartbeat(self.room)

    def _on_message(self, message: Message) -> None:
        match message:
            case Tick():
                self._on_tick(message)
            case Event():
                self._on_event(message)
            case Joined():
                self.joined = True
                self._set_connected(connected=True)
                self.watch.reconnected()
                away_s = self.receiver.joined(clock(), recovered=message.recovered)
                if away_s is not None:
                    self._recorder.tally.latencies["resume"].record(away_s)
            case _:
                super()._on_message(message)
                if isinstance(message, Reconnecting):
                    self.receiver.lost(clock())
                elif isinstance(message, Closed) and message.code != 1000:
                    self.receiver.ended()

    def _on_tick(self, tick: Tick) -> None:
        recorder = self._recorder
        positions = tick.positions
        recorder.counts["received"] += len(positions) - (self.name in positions)
        for player in self.watch.players:
            if player not in positions:
                continue
            data = positions[player]
            if data is None:
                self.watch.out_of_view(player)
                continue
            for planned_s, sent_s in self.watch.saw(player, int(data[0])):
                recorder.took("position", planned_s, sent_s, recorder.inbox.came_s)

    def _on_event(self, event: Event) -> None:
        recorder = self._recorder
        published = recorder.ledger.find(event.id, event.room)
        if published is None:
            return
        fresh = self.receiver.got(published) and self.measured
        if fresh and published.type == "chat" and published.publisher != self.name and recorder.chat_sampler.pick(1):
            recorder.took("chat", published.planned_s, published.sent_s, recorder.inbox.came_s)
