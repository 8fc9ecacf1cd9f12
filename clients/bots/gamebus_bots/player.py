"""One bot: a client that writes down what it sends and what it sees."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any, Literal

from gamebus_bots.config import BotsConfig
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

clock = time.perf_counter
"""The one clock of a run."""


class Publisher:
    """A connection that publishes durable events and notes what becomes of them."""

    def __init__(self, name: str, role: Literal["player", "server"], config: BotsConfig, recorder: Recorder) -> None:
        self.name = name
        self._recorder = recorder
        self.game = GameClient(
            config.url,
            lambda: mint(name, role, config.secret),
            encoding=recorder.codec,
            handler=self._on_message,
            connect_timeout_s=config.connect_timeout_s,
        )
        self._connected = False

    async def publish(self, room: str, event_type: str, data: dict[str, Any], planned_s: float) -> None:
        """Publish one event; its outcome goes into the ledger."""
        recorder = self._recorder
        event = recorder.ledger.publish(uuid.uuid4().hex, room, event_type, self.name, planned_s)
        outcome = "unknown"
        attempts = 1
        try:
            ack = await self.game.publish(room, event_type, data, id=event.id)
            outcome, attempts = "acked", ack.attempts
            recorder.ack.record(clock() - planned_s)
        except OutcomeUnknown as error:
            recorder.errors[error.code] += 1
        except PublishError as error:
            outcome = "nacked"
            recorder.errors[error.code] += 1
        except GameClientError as error:
            # Not taken by the client: it is closed.
            outcome = "nacked"
            recorder.errors[type(error).__name__] += 1
        finally:
            recorder.ledger.ended(event, outcome, attempts=attempts)

    def _set_connected(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._recorder.connected += 1 if connected else -1

    def _on_message(self, message: Message) -> None:
        match message:
            case Error():
                self._recorder.errors[message.code] += 1
            case Reconnecting():
                self._set_connected(connected=False)
                if message.code is not None:
                    self._recorder.reconnects += 1
                    self._recorder.errors[f"close {message.code}"] += 1
            case Closed():
                self._set_connected(connected=False)
                if message.code != 1000:
                    self._recorder.problem(self.name, f"closed with {message.code}: {message.reason}")


class Player(Publisher):
    """A player in one room."""

    def __init__(self, name: str, room: str, config: BotsConfig, recorder: Recorder) -> None:
        super().__init__(name, "player", config, recorder)
        self.room = room
        self.receiver = recorder.ledger.receiver(room)
        self._seq = 0
        # Player -> seq of its newest sampled position on this connection.
        self._newest: dict[str, int] = {}

    async def play(self, gate: asyncio.Semaphore, settled: asyncio.Barrier, leave: asyncio.Event) -> None:
        """Connect, join, stay until `leave`. A failed connection is noted, the others go on."""
        async with AsyncExitStack() as stack:
            try:
                async with gate:
                    await stack.enter_async_context(self.game)
                    await self.game.join(self.room)
            except GameClientError as error:
                self._recorder.problem(self.name, f"not connected: {error}")
            await settled.wait()
            await leave.wait()
            if self.game.connected:
                self._set_connected(connected=False)
                await self._leave()

    async def _leave(self) -> None:
        try:
            await self.game.leave(self.room)
        except GameClientError as error:
            self._recorder.problem(self.name, f"leave: {error}")

    def move(self, place: tuple[float, float, float], planned_s: float) -> None:
        """Send one position."""
        recorder = self._recorder
        self._seq += 1
        recorder.flights.sent(self.name, self._seq, planned_s)
        recorder.attempted += 1
        recorder.sent += self.game.send(self.room, "position", [self._seq, *place])
        if recorder.lag_sampler.pick(1):
            recorder.send_lag.record(clock() - planned_s)

    def heartbeat(self) -> None:
        """Tell that this player is alive."""
        self._recorder.attempted += 1
        self._recorder.sent += self.game.heartbeat(self.room)

    def _on_message(self, message: Message) -> None:
        match message:
            case Tick():
                self._on_tick(message)
            case Event():
                self._on_event(message)
            case Joined():
                self._set_connected(connected=True)
                self._newest.clear()
                self.receiver.joined(clock(), recovered=message.recovered)
            case _:
                super()._on_message(message)
                if isinstance(message, Closed) and message.code != 1000:
                    self.receiver.ended()

    def _on_tick(self, tick: Tick) -> None:
        now_s = clock()
        recorder = self._recorder
        positions = tick.positions
        count = len(positions)
        recorder.received += count - (self.name in positions)
        picked = recorder.sampler.pick(count)
        if not picked:
            return
        entries = list(positions.items())
        for index in picked:
            player, data = entries[index]
            if player == self.name or data is None:
                continue
            seq = int(data[0])
            if seq <= self._newest.get(player, 0):
                recorder.stale += 1
            self._newest[player] = seq
            planned_s = recorder.flights.planned_s(player, seq)
            if planned_s is not None:
                recorder.position.record(now_s - planned_s)

    def _on_event(self, event: Event) -> None:
        published = self._recorder.ledger.find(event.id, event.room)
        if published is None:
            return
        if self.receiver.got(published) and published.type == "chat" and published.publisher != self.name:
            self._recorder.chat.record(clock() - published.planned_s)
