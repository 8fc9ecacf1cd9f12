"""Events of the at-least-once types that a studio has added: the newest of each type in a room."""

from __future__ import annotations

from gamebus.record import DurableRecord
from gamebus.state.connection import Connection
from gamebus.state.effects import Effect, RoomEvent, own_type_list, read_entries


def event_effect(record: DurableRecord, offset: int) -> Effect:
    """What an event of a studio's own type does."""
    return Effect(record, offset, own_type_list(record.type))


class EventState:
    """Reads those events. Raises :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, room: str, event_type: str, count: int = 100) -> list[RoomEvent]:
        """Newest events of a type, newest first; a room keeps 100 of each type."""
        return await read_entries(self._connection, room, own_type_list(event_type), count)
