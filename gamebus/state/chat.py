"""Chat: the newest lines of a room."""

from __future__ import annotations

from gamebus.record import DurableRecord
from gamebus.state.connection import Connection
from gamebus.state.effects import CHAT, Effect, RoomEvent, read_entries


def chat_effect(record: DurableRecord, offset: int) -> Effect:
    """What a `chat` does."""
    return Effect(record, offset, CHAT)


class ChatState:
    """Reads the chat history. Raises :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def history(self, room: str, count: int = 200) -> list[RoomEvent]:
        """Newest lines, newest first; a room keeps 200."""
        return await read_entries(self._connection, room, CHAT, count)
