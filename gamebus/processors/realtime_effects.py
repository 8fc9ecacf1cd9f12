"""What at-most-once events do to the state: positions and presence.

A poll is conflated before it is written: of each player and room only the newest position and heartbeat reach Redis, in two round
trips whatever the poll holds. Types that a studio has added are fanned out by the gateways and leave no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gamebus import events
from gamebus.errors import PayloadError
from gamebus.record import RealtimeRecord
from gamebus.state.positions import PositionState
from gamebus.state.presence import Heartbeat, PresenceState
from gamebus.telemetry.metrics import counter


@dataclass(frozen=True, slots=True)
class RealtimeEffectsStatistics:
    """What became of the records of at-most-once topics."""

    records_total: int = counter("Records handled.")
    positions_total: int = counter("Positions written to Redis.")
    heartbeats_total: int = counter("Heartbeats that kept a player present.")
    invalid_total: int = counter("Records whose room, player or data no gateway lets pass.")


class RealtimeEffects:
    """Handler of the realtime consumer."""

    def __init__(self, positions: PositionState, presence: PresenceState) -> None:
        self._positions = positions
        self._presence = presence
        self._records = 0
        self._written = 0
        self._kept = 0
        self._invalid = 0
        self._rooms: set[str] = set()

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        """Write the newest of each player.

        Raises:
            StateError: Redis could not answer; the next position replaces what was lost.
        """
        self._records += len(records)
        newest: dict[str, dict[tuple[str, str], RealtimeRecord]] = {"position": {}, "heartbeat": {}}
        for record in records:
            kind = newest.get(record.type)
            if kind is not None:
                kind[record.room, record.player] = record
        positions = self._by_room(newest["position"])
        if positions:
            await self._positions.write(
                {
                    room: {player: (record.server_ms, record.data) for player, record in players.items()}
                    for room, players in positions.items()
                }
            )
            self._rooms.update(positions)
            self._written += sum(map(len, positions.values()))
        heartbeats = self._by_room(newest["heartbeat"])
        if heartbeats:
            self._kept += await self._presence.extend(
                {
                    room: {player: _heartbeat(record) for player, record in players.items()}
                    for room, players in heartbeats.items()
                }
            )

    def take_rooms(self) -> set[str]:
        """Rooms whose positions were written since the last call: those that may have something to prune."""
        rooms, self._rooms = self._rooms, set()
        return rooms

    def statistics(self) -> RealtimeEffectsStatistics:
        """Counters since the start."""
        return RealtimeEffectsStatistics(
            records_total=self._records,
            positions_total=self._written,
            heartbeats_total=self._kept,
            invalid_total=self._invalid,
        )

    def _by_room(self, newest: dict[tuple[str, str], RealtimeRecord]) -> dict[str, dict[str, RealtimeRecord]]:
        rooms: dict[str, dict[str, RealtimeRecord]] = {}
        for (room, player), record in newest.items():
            # Anything can write to a topic; only what a gateway lets pass becomes the name of a key.
            if _valid(room, player, record.type, record.data):
                rooms.setdefault(room, {})[player] = record
            else:
                self._invalid += 1
        return rooms


def _valid(room: str, player: str, type_: str, data: Any) -> bool:
    if not (events.is_room(room) and events.is_player_id(player)):
        return False
    try:
        events.VALIDATORS[type_](data)
    except PayloadError:
        return False
    return True


def _heartbeat(record: RealtimeRecord) -> Heartbeat:
    return Heartbeat(record.server_ms, record.data[2] if len(record.data) > 2 else None)
