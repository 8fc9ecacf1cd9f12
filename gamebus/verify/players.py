"""Players of a run: real clients on real websockets, that write down what they said, what they were told and what they were sent.

In each room a few players move and chat, and a referee (a game server) reports kills. All of them live in this process; their connections
come back by themselves, and their durable events are sent again under the same id, as any client of gamebus does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from gamebus.catalog import Catalog
from gamebus.verify import footsteps
from gamebus.verify.collect import killer_of
from gamebus.verify.history import Attempt, Delivered, HistoryWriter, Joined
from gamebus_client import (
    Ack,
    Event,
    GameClient,
    GameClientError,
    InvalidMessage,
    Message,
    OutcomeUnknown,
    Reconnected,
    Tick,
)
from gamebus_client import Joined as JoinedMessage

PUBLISH_TIMEOUT_S: Final = 45.0
"""How long a durable event is tried; longer than most faults, so that most outcomes are known."""

_MOVE_INTERVAL_S: Final = 0.1
_SAY_INTERVAL_S: Final = 0.5
_OPEN_TIMEOUT_S: Final = 60.0

Outcome = Literal["ok", "failed", "unknown"]
TokenOf = Callable[[str, str], str]
"""`(sub, role) -> token`."""


@dataclass(frozen=True, slots=True)
class PlayerConfig:
    """Who plays where."""

    name: str
    url: str
    room: str
    role: Literal["player", "server"]


class Player:
    """One client."""

    def __init__(self, config: PlayerConfig, *, token_of: TokenOf, catalog: Catalog, history: HistoryWriter) -> None:
        self._config = config
        self._token_of = token_of
        self._topics = {name: event_type.topic for name, event_type in catalog.types.items()}
        # Only those that are delivered at least once are seen by clients.
        self._topics[footsteps.TYPE] = footsteps.NEW_TOPIC
        self._history = history
        self._connections = 1
        self._said = self._moved = self._walked = 0
        self._stopping = asyncio.Event()
        self.acked: list[tuple[str, str, str]] = []
        """Room, client and id of what was acknowledged."""

    @property
    def connection(self) -> str:
        """Names the present connection."""
        return f"{self._config.name}#{self._connections}"

    def stop(self) -> None:
        """Say nothing more; :meth:`run` returns when every outcome is known."""
        self._stopping.set()

    async def run(self) -> None:
        """Play until stopped."""
        config = self._config
        client = GameClient(
            config.url,
            lambda: self._token_of(config.name, config.role),
            handler=self._on_message,
            connect_timeout_s=_OPEN_TIMEOUT_S,
        )
        # A client that is refused for good at the end of a run has nothing more to say.
        with contextlib.suppress(GameClientError):
            async with client as game, asyncio.TaskGroup() as outcomes:
                if config.role == "player":
                    await game.join(config.room, timeout_s=_OPEN_TIMEOUT_S)
                    outcomes.create_task(self._every(_MOVE_INTERVAL_S, lambda: self._move(game)))
                    outcomes.create_task(self._every(_SAY_INTERVAL_S, lambda: self._walk(game, outcomes)))
                await self._every(_SAY_INTERVAL_S, lambda: self._say(game, outcomes))

    async def _every(self, interval_s: float, act: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            act()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._stopping.wait()

    def _move(self, game: GameClient) -> None:
        self._moved += 1
        # What the gateway makes of it is written down there; here it may be dropped as well.
        game.send(self._config.room, "position", [self._moved, float(self._said), 0.0, 1.0])
        if self._moved % 20 == 0:
            game.heartbeat(self._config.room)

    def _walk(self, game: GameClient, outcomes: asyncio.TaskGroup) -> None:
        """Take a footstep, in the class that this session was told."""
        self._walked += 1
        name, room, data = self._config.name, self._config.room, {"n": self._walked}
        id_ = footsteps.footstep_id(name, data)
        try:
            sent = game.send(room, footsteps.TYPE, data)
        except InvalidMessage:
            saying = game.publish(room, footsteps.TYPE, data, id=id_, timeout_s=PUBLISH_TIMEOUT_S)
            outcomes.create_task(self._record(footsteps.TYPE, id_, self._walked, saying))
            return
        if sent:
            # Nobody answers: it may be there or not.
            at, topic = time.monotonic(), self._topics[footsteps.TYPE]
            seq, connection = self._walked, self.connection
            self._history.write(Attempt("durable", name, connection, topic, room, id_, seq, at, 0.0, 0.0, "unknown"))

    def _say(self, game: GameClient, outcomes: asyncio.TaskGroup) -> None:
        self._said += 1
        id_ = f"{self._config.name}-{self._said}"
        room = self._config.room
        if self._config.role == "server":
            data = {"killer": killer_of(id_), "victim": "victim", "weapon": "axe", "at_ms": self._said}
            saying = game.publish(room, "kill", data, id=id_, timeout_s=PUBLISH_TIMEOUT_S)
            outcomes.create_task(self._record("kill", id_, self._said, saying))
        else:
            saying = game.publish(room, "chat", {"text": id_}, id=id_, timeout_s=PUBLISH_TIMEOUT_S)
            outcomes.create_task(self._record("chat", id_, self._said, saying))

    async def _record(self, event_type: str, id_: str, seq: int, saying: Awaitable[Ack]) -> None:
        connection, at = self.connection, time.monotonic()
        attempts = 1
        outcome: Outcome = "ok"
        try:
            attempts = (await saying).attempts
        except OutcomeUnknown:
            outcome, attempts = "unknown", 2
        except GameClientError:
            outcome = "failed"
        if outcome == "ok":
            self.acked.append((self._config.room, self._config.name, id_))
        attempt = Attempt(
            "durable",
            self._config.name,
            connection,
            self._topics[event_type],
            self._config.room,
            id_,
            seq,
            at,
            time.monotonic() - at,
            0.0,
            outcome,
        )
        # Said more than once: each time is an attempt, and no order is promised.
        for _ in range(min(attempts, 2)):
            self._history.write(attempt)

    def _on_message(self, message: Message) -> None:
        now = time.monotonic()
        name, connection = self._config.name, self.connection
        match message:
            case Tick(room, server_ms, positions):
                ticked_at = now - (time.time() - server_ms / 1000)
                for player, data in positions.items():
                    if data is not None:
                        id_ = str(data[0])
                        self._history.write(
                            Delivered("realtime", name, connection, "position", room, player, id_, now, ticked_at)
                        )
            case Event():
                topic = self._topics[message.type]
                # Ids begin with the name of their publisher: `player` may be a name that a game server gave.
                publisher, id_ = message.id.rpartition("-")[0], message.id
                if message.type == footsteps.TYPE:
                    publisher, id_ = message.player, footsteps.footstep_id(message.player, message.data)
                self._history.write(Delivered("durable", name, connection, topic, message.room, publisher, id_, now))
            case JoinedMessage():
                self._history.write(Joined(name, connection, message.room, message.recovered, now))
            case Reconnected():
                self._connections += 1
            case _:
                pass
