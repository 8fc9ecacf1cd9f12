"""Membership across gateways: tells Redis who is in the rooms of this gateway, and reads who is there on others.

Local joins and leaves are told as soon as they happen; every second the rooms with local clients are read, in one round trip;
every three seconds the local players are refreshed, so that those of a gateway that died expire. A player that vanished from
another gateway is known to be gone within the expiry in Redis (10 s) and one poll.

While Redis cannot be reached the last known state stands, and nothing here ever waits for it: joins go on with what is known
locally (:class:`~gamebus.gateway.hub.Hub` has the deadline). After an outage, or when Redis turns out to have forgotten our own
players (it came back empty), nobody is declared gone until every gateway has had the time to refresh its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gamebus.errors import StateError
from gamebus.gateway.room import Room
from gamebus.telemetry.metrics import counter, gauge

POLL_S: Final = 1.0
REFRESH_S: Final = 3.0
GRACE_S: Final = REFRESH_S + POLL_S

# Deadline of one step against a Redis that accepts connections and does not answer.
_STEP_TIMEOUT_S: Final = 2.0
# By then Redis has expired a session on its own.
_FORGET_AFTER_S: Final = 10.0
_CONCURRENT: Final = 32

_log = structlog.get_logger(__name__)


class PresenceState(Protocol):
    """Presence in Redis (:class:`gamebus.state.presence.PresenceState`)."""

    async def join(self, room: str, player: str, session: str, now_ms: int) -> None:
        """Put a player into a room, replacing an older session."""

    async def leave(self, room: str, player: str, session: str) -> object:
        """Take a player out of a room, unless another session has it."""

    async def refresh(self, members: Iterable[tuple[str, str, str]], now_ms: int) -> Sequence[tuple[str, str, str]]:
        """Keep (room, player, session) from expiring; those whom Redis has lost come back. Returns those of older sessions."""

    async def members(self, rooms: Sequence[str], now_ms: int) -> Mapping[str, AbstractSet[str]]:
        """Who is in each room."""


class PositionState(Protocol):
    """Last known positions in Redis (:class:`gamebus.state.positions.PositionState`)."""

    async def read(self, room: str) -> Mapping[str, Any]:
        """Player -> data."""


@dataclass(frozen=True, slots=True)
class MembershipStatistics:
    """Figures of membership."""

    reachable: int = gauge("1 while Redis answers.")
    pending: int = gauge("Joins and leaves that Redis was not told yet.")
    polls_total: int = counter("Polls of the rooms' members.")
    failures_total: int = counter("Polls and updates that Redis did not answer.")


class Membership:
    """Keeps rosters and Redis in step.

    Args:
        presence: who is where.
        positions: where they are.
        rooms: rooms with local clients; read, never changed.
        on_replaced: called with a player and his session here, when another session of his is in a room of it: the word of the
            takeover did not come through. Called again until the session has ended.
        on_read: called with a room whose roster was read, and at the first time with the positions in it.
        clock: monotonic seconds.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        *,
        presence: PresenceState,
        positions: PositionState,
        rooms: Mapping[str, Room],
        on_replaced: Callable[[str, str], Awaitable[None]],
        on_read: Callable[[Room, Mapping[str, Any] | None], None],
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._presence = presence
        self._positions = positions
        self._rooms = rooms
        self._on_replaced = on_replaced
        self._on_read = on_read
        self._clock = clock
        self._now_ms = now_ms
        # (room, player, session) -> here or gone, and since when: the last word of each session.
        self._pending: dict[tuple[str, str, str], tuple[bool, float]] = {}
        # Rooms that have not been read yet.
        self._unread: dict[Room, None] = {}
        self._wake = asyncio.Event()
        self._reachable = True
        self._complete_at = self._poll_at = self._refresh_at = clock()
        self._polls = 0
        self._failures = 0

    @property
    def complete(self) -> bool:
        """Whether a player that Redis does not name is not here."""
        return self._reachable and self._clock() >= self._complete_at

    def open(self, room: Room) -> None:
        """Read a new room as soon as possible."""
        self._unread[room] = None
        self._wake.set()

    def tell(self, room: str, player: str, session: str, *, here: bool) -> None:
        """Tell Redis that a session of a player came into a room, or went."""
        self._pending[room, player, session] = (here, self._clock())
        self._wake.set()

    async def run(self) -> None:
        """Keep in step until cancelled."""
        while True:
            wait_s = max(0.0, self._poll_at - self._clock())
            if self._reachable:
                await self._wait(wait_s)
            else:
                # Joins and leaves wait for the next poll, so that a dead Redis is asked once a second.
                await asyncio.sleep(wait_s)
            await self.step()

    async def step(self) -> None:
        """Tell and read what is due. A Redis that does not answer is noted, and asked again with the next poll."""
        now = self._clock()
        try:
            await self.flush()
            await self._read_new()
            if now >= self._poll_at:
                self._poll_at = now + POLL_S
                await self._poll(now)
        except (StateError, TimeoutError) as error:
            self._failed(error)

    async def flush(self) -> None:
        """Tell Redis what it was not told yet.

        Raises:
            StateError, TimeoutError: it could not be told; what is left is kept.
        """
        while self._pending:
            batch = list(self._pending.items())[:_CONCURRENT]
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                results = await asyncio.gather(*(self._tell(*item) for item in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    def statistics(self) -> MembershipStatistics:
        """Figures of this moment."""
        return MembershipStatistics(
            reachable=int(self._reachable),
            pending=len(self._pending),
            polls_total=self._polls,
            failures_total=self._failures,
        )

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _tell(self, key: tuple[str, str, str], word: tuple[bool, float]) -> None:
        here, since = word
        room, player, session = key
        # A session that is gone for longer than the expiry is gone in Redis as well; one that is here gets refreshed.
        if self._clock() - since < _FORGET_AFTER_S:
            if here:
                await self._presence.join(room, player, session, self._now_ms())
            else:
                await self._presence.leave(room, player, session)
        if self._pending.get(key) == word:
            del self._pending[key]
            if not here and (known := self._rooms.get(room)) is not None:
                known.roster.departed(player)

    async def _read_new(self) -> None:
        while self._unread:
            rooms = list(self._unread)[:_CONCURRENT]
            for room in rooms:
                del self._unread[room]
            names = [room.name for room in rooms]
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                members, *positions = await asyncio.gather(
                    self._presence.members(names, self._now_ms()), *(self._positions.read(name) for name in names)
                )
            for room, known in zip(rooms, positions, strict=True):
                room.roster.read(members[room.name], complete=self.complete)
                self._on_read(room, known)
            self._succeeded()

    async def _poll(self, now: float) -> None:
        if now >= self._refresh_at:
            await self._refresh(now)
        rooms = list(self._rooms.values())
        if rooms:
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                members = await self._presence.members([room.name for room in rooms], self._now_ms())
            self._succeeded()
            if any(self._is_forgotten(room, members[room.name]) for room in rooms):
                _log.warning("presence.lost", rooms=len(rooms))
                self._complete_at = now + GRACE_S
                self._refresh_at = 0.0
            for room in rooms:
                room.roster.read(members[room.name], complete=self.complete)
                self._on_read(room, None)
        self._polls += 1

    async def _refresh(self, now: float) -> None:
        sessions = [
            (room.name, player, session) for room in self._rooms.values() for player, session in room.roster.local
        ]
        if sessions:
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                replaced = await self._presence.refresh(sessions, self._now_ms())
                for player, session in dict.fromkeys(replaced_session[1:] for replaced_session in replaced):
                    await self._on_replaced(player, session)
            self._succeeded()
        self._refresh_at = now + REFRESH_S

    def _is_forgotten(self, room: Room, members: AbstractSet[str]) -> bool:
        """Whether Redis does not know a player of ours that it was told of."""
        return any(
            player not in members and (room.name, player, session) not in self._pending
            for player, session in room.roster.local
        )

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._poll_at = self._clock() + POLL_S
        self._refresh_at = 0.0
        if self._reachable:
            self._reachable = False
            _log.warning("presence.unreachable", error=str(error) or type(error).__name__)

    def _succeeded(self) -> None:
        if not self._reachable:
            self._reachable = True
            self._complete_at = self._clock() + GRACE_S
            _log.info("presence.recovered", failures=self._failures)
