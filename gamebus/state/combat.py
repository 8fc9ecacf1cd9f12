"""Combat: the kill feed and the scores of a room.

A fight is told by two events, and each counts its own part, so that together they count nothing twice: `kill` is a kill of the
killer and an assist of each assistant, `death` is a death of the victim. A death without a kill (a fall, the zone) is a
death all the same. Both appear in the feed.
"""

from __future__ import annotations

from dataclasses import dataclass

from gamebus.record import DurableRecord
from gamebus.state.connection import Connection
from gamebus.state.effects import FEED, Effect, RoomEvent, read_entries, score


@dataclass(frozen=True, slots=True)
class Score:
    """One player's counts in a room."""

    kills: int = 0
    deaths: int = 0
    assists: int = 0


def kill_effect(record: DurableRecord, offset: int) -> Effect:
    """What a `kill` does; its data has passed :func:`gamebus.events.kill`."""
    killer = record.data["killer"]
    assistants = dict.fromkeys(name for name in record.data.get("assists", ()) if name != killer)
    return Effect(record, offset, FEED, (score(killer, "kills"), *(score(name, "assists") for name in assistants)))


def death_effect(record: DurableRecord, offset: int) -> Effect:
    """What a `death` does; its data has passed :func:`gamebus.events.death`."""
    return Effect(record, offset, FEED, (score(record.data["victim"], "deaths"),))


class CombatState:
    """Reads combat state. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def feed(self, room: str, count: int = 100) -> list[RoomEvent]:
        """Newest kills and deaths, newest first; a room keeps 100."""
        return await read_entries(self._connection, room, FEED, count)

    async def scores(self, room: str) -> dict[str, Score]:
        """Player -> counts, of everybody who scored in the room."""
        fields = await self._connection.execute("HGETALL", self._connection.keys.room(room, "scores"))
        counts: dict[str, dict[str, int]] = {}
        for field, value in fields.items():
            player, _, kind = field.decode().partition("/")
            counts.setdefault(player, {})[kind] = int(value)
        return {player: Score(**kinds) for player, kinds in counts.items()}
