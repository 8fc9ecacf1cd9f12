"""One room of a gateway: who listens here, what moved since the last tick, who is behind.

A room exists while clients of this gateway are in it; nothing is kept of the others but their durable events (history).

A tick holds the newest position of every player that moved since the tick before, and null for those who left. It is encoded
once per encoding and the same bytes go to every client. A client whose transport is full is *behind*: it gets no tick, and when
its transport takes bytes again one catch-up frame with everything that changed meanwhile. So its view is the same as that of
the others, and what it costs does not grow with the time that it is behind.

Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from gamebus import events
from gamebus.catalog import Role
from gamebus.errors import PayloadError
from gamebus.gateway.history import LoggedEvent
from gamebus.gateway.outbox import Outbox
from gamebus.gateway.roster import Roster
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol import frames
from gamebus.protocol.frames import Encoding

# Sweeps of the roster (one a second) after which a player is forgotten that does not move and is not here: a server may
# publish for players without a connection, and such names must not pile up.
STRANGER_SWEEPS: Final = 20


class Client(Protocol):
    """A connection that said hello."""

    @property
    def session(self) -> str:
        """Names the connection; no two have the same."""

    @property
    def player(self) -> str:
        """The token's `sub`."""

    @property
    def role(self) -> Role:
        """The token's role; only `player` is shown to others."""

    @property
    def outbox(self) -> Outbox:
        """Where frames for this client go."""

    @property
    def rate_limited(self) -> int:
        """Messages of this client that were refused because too many came."""

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the last ping that this client answered."""


class Room:
    """Fan-out of one room.

    Args:
        name: of the room.
        tick_hz: ticks a second while something moves.
    """

    def __init__(self, name: str, tick_hz: float) -> None:
        self.name = name
        self.tick_hz = tick_hz
        self.roster = Roster()
        # What other gateways know of the room has been read, or the wait for it is over.
        self.loaded = False
        # Newest position per player since the last tick; None: no longer known. The hub writes to it for each record.
        self.moved: dict[str, Any] = {}
        # When a gateway took the first of them, Unix ms; 0: unknown.
        self.oldest_ms = 0
        # Player -> when it left (Unix ms): positions published before may still arrive, and must not bring it back.
        self.departed: dict[str, int] = {}
        # Monotonic seconds before which the room has no further tick.
        self.next_tick_at = 0.0
        # Client -> the player that it shows to others, or None.
        self._clients: dict[Client, str | None] = {}
        # Outboxes that get frames, by encoding; rebuilt after a change of clients.
        self._listeners: dict[Encoding, tuple[Outbox, ...]] | None = None
        self._listening: dict[Client, None] = {}
        # Positions as of the last tick.
        self._latest: dict[str, Any] = {}
        # Players whose null is in `moved`, or was before they moved again.
        self._forgotten: set[str] = set()
        self._tick = 0
        self._tick_ms = 0
        # Outbox -> number of the last tick that it got.
        self._behind: dict[Outbox, int] = {}
        # Player -> number of the tick in which it moved last; kept only while someone is behind.
        self._changed: dict[str, int] = {}
        # Player that is not here -> its position, and for how many sweeps it has been the same.
        self._strangers: dict[str, tuple[Any, int]] = {}

    def __len__(self) -> int:
        """Clients in the room."""
        return len(self._clients)

    def __contains__(self, client: Client) -> bool:
        """Whether a client is in the room."""
        return client in self._clients

    # -- clients -----------------------------------------------------------------------------------------------------

    def join(self, client: Client) -> None:
        """A client came in; it gets frames from :meth:`listen` on."""
        player = client.player if client.role is Role.PLAYER else None
        self._clients[client] = player
        if player is not None:
            self.roster.join(player, client.session)
            self.departed.pop(player, None)

    def shown(self, client: Client) -> str | None:
        """The player that a client shows to others, if any."""
        return self._clients[client]

    def hide(self, client: Client, now_ms: int, *, replaced: bool) -> str | None:
        """Show a client no longer; returns the player that it had shown."""
        player = self._clients[client]
        self._clients[client] = None
        if player is not None:
            self.roster.leave(player, client.session, replaced=replaced)
            if player not in self.roster.players:
                self._depart(player, now_ms)
        return player

    def is_listening(self, client: Client) -> bool:
        """Whether a client has had its `joined`."""
        return client in self._listening

    def listen(self, client: Client) -> None:
        """Let a client have every frame from now on."""
        if client in self._listening:
            return
        self._listening[client] = None
        self._listeners = None

    def leave(self, client: Client) -> None:
        """A client went, after :meth:`hide`."""
        del self._clients[client]
        if client in self._listening:
            del self._listening[client]
            self._listeners = None
        client.outbox.forget(self.name, self)
        self._caught_up(client.outbox)

    # -- what the room knows -----------------------------------------------------------------------------------------

    def positions(self, _client: Client) -> list[tuple[str, Any]]:
        """Last known position of everyone of whom a client is to know: what the others in the room have seen, or will in the next
        tick."""
        return [(player, data) for player, data in (self._latest | self.moved).items() if _is_position(data)]

    def load_positions(self, positions: Mapping[str, Any]) -> None:
        """Take in positions of players here that were published before this gateway listened; newer ones win."""
        players = self.roster.players
        # Clients whose wait was over before this was known have had their `joined`: they get it with the next tick.
        into = self.moved if self.loaded else self._latest
        for player, data in positions.items():
            if player in players and player not in self.moved and player not in self._latest:
                into[player] = data
        self.loaded = True

    # -- fan-out -----------------------------------------------------------------------------------------------------

    def broadcast(self, message: list[Any]) -> int:
        """Send a control message to everyone, encoded once per encoding; returns the number of frames."""
        count = 0
        for encoding, outboxes in self.listeners().items():
            frame = server_frame(message, encoding)
            count += len(outboxes)
            for outbox in outboxes:
                outbox.send(frame)
        return count

    def publish(self, event: LoggedEvent) -> int:
        """Send a durable event to everyone; returns the number of frames."""
        count = 0
        name = self.name
        for encoding, outboxes in self.listeners().items():
            frame = event.frame(encoding)
            count += len(outboxes)
            for outbox in outboxes:
                if outbox.writable:
                    outbox.write(frame)
                else:
                    outbox.event(name, event)
        return count

    def tick(self, now_ms: int) -> tuple[int, int]:
        """Send what moved to everyone who is not behind; returns the number of entries and of frames."""
        moved, self.moved = self.moved, {}
        # Strictly rising: between two ticks of the same time a value would win over a null.
        self._tick_ms = max(now_ms, self._tick_ms + 1)
        try:
            encoded = self._encode(moved)
        except (TypeError, ValueError, OverflowError):
            # A position that no gateway let in: somebody else writes to the topic.
            moved = {player: data for player, data in moved.items() if data is None or _is_position(data)}
            encoded = self._encode(moved)
        self._remember(moved)
        before, self._tick = self._tick, self._tick + 1
        count = 0
        for frame, outboxes in encoded:
            count += len(outboxes)
            for outbox in outboxes:
                if outbox.writable:
                    outbox.write(frame)
                elif outbox.miss_tick(self):
                    self._behind.setdefault(outbox, before)
        if self._behind:
            self._changed.update(dict.fromkeys(moved, self._tick))
        return len(moved), count

    def pass_over(self) -> int:
        """Keep what moved as last known without sending it, because it is no news any more; returns the number of positions.

        Who left is told all the same.
        """
        stale = {player: data for player, data in self.moved.items() if data is not None}
        self.moved = {player: None for player in self.moved if player not in stale}
        self._latest.update(stale)
        return len(stale)

    def catch_up(self, outbox: Outbox) -> bytes | None:
        """All that changed while a client was behind, as of the last tick; None when nothing did."""
        since = self._behind.get(outbox, self._tick)
        latest = self._latest
        moved = [(player, latest.get(player)) for player, tick in self._changed.items() if tick > since]
        entries = [(player, data) for player, data in moved if data is None or _is_position(data)]
        self._caught_up(outbox)
        if not entries:
            return None
        return server_frame(frames.tick(self.name, self._tick_ms, entries), outbox.encoding)

    def announce(self, now_ms: int) -> int:
        """Tell everyone who came and went since the last call; returns the number of frames."""
        joined, left = self.roster.changes()
        for player in left:
            self._depart(player, now_ms)
        for player in joined:
            self.departed.pop(player, None)
        if not joined and not left:
            return 0
        return self.broadcast(frames.presence(self.name, joined, left))

    def sweep(self, oldest_ms: int, *, present: bool) -> None:
        """Forget what nobody needs any longer; call it once a second.

        Args:
            oldest_ms: positions published before are refused anyway (Unix ms).
            present: the roster is up to date, so a player that is not in it is not here.
        """
        self.departed = {player: at_ms for player, at_ms in self.departed.items() if at_ms >= oldest_ms}
        if self._behind:
            since = min(self._behind.values())
            self._changed = {player: tick for player, tick in self._changed.items() if tick > since}
        if present:
            self._forget_strangers()

    def listeners(self) -> Mapping[Encoding, tuple[Outbox, ...]]:
        """Outboxes that get frames, by the encodings in use."""
        listeners = self._listeners
        if listeners is None:
            grouped: dict[Encoding, list[Outbox]] = {}
            for client in self._listening:
                grouped.setdefault(client.outbox.encoding, []).append(client.outbox)
            # Tuples: a broadcast goes on over the old one when a client leaves meanwhile.
            listeners = self._listeners = {encoding: tuple(outboxes) for encoding, outboxes in grouped.items()}
        return listeners

    def _encode(self, moved: Mapping[str, Any]) -> list[tuple[bytes, tuple[Outbox, ...]]]:
        message = frames.tick(self.name, self._tick_ms, list(moved.items()))
        return [(server_frame(message, encoding), outboxes) for encoding, outboxes in self.listeners().items()]

    def _remember(self, moved: Mapping[str, Any]) -> None:
        latest = self._latest
        latest.update(moved)
        for player in self._forgotten:
            if latest.get(player) is None:
                latest.pop(player, None)
        self._forgotten.clear()

    def _depart(self, player: str, now_ms: int) -> None:
        self._forget(player)
        # Its last positions may still be on their way through Kafka.
        self.departed[player] = now_ms

    def _forget(self, player: str) -> None:
        """Send null for a player with the next tick, if anyone may have seen its position."""
        if self._latest.pop(player, None) is not None or self.moved.get(player) is not None:
            self.moved[player] = None
            self._forgotten.add(player)

    def _caught_up(self, outbox: Outbox) -> None:
        if self._behind.pop(outbox, None) is not None and not self._behind:
            self._changed.clear()

    def _forget_strangers(self) -> None:
        players = self.roster.players
        strangers: dict[str, tuple[Any, int]] = {}
        for player in self._latest.keys() - players:
            data = self._latest[player]
            before, sweeps = self._strangers.get(player, (None, 0))
            sweeps = sweeps + 1 if before is data else 0
            if sweeps < STRANGER_SWEEPS:
                strangers[player] = (data, sweeps)
            else:
                self._forget(player)
        self._strangers = strangers


def _is_position(data: Any) -> bool:
    try:
        events.position(data)
    except PayloadError:
        return False
    return True
