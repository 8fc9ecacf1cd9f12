"""Dead letters that operators see at once."""

from __future__ import annotations

import time

import structlog

from gamebus.delivery.durable_handling import DeadLetterSink
from gamebus.delivery.partition_work import KafkaRecord
from gamebus.errors import RecordError, StateError
from gamebus.record import decode_durable
from gamebus.state.dead_letters import DeadLetterNote, DeadLetterState

_MAX_ERROR_CHARACTERS = 300

log = structlog.get_logger(__name__)


class NotedDeadLetters:
    """Writes dead letters to where they are kept, and a note of each to Redis; without Redis the note is missing."""

    def __init__(self, letters: DeadLetterSink, state: DeadLetterState) -> None:
        self._letters = letters
        self._state = state

    async def write(self, record: KafkaRecord, error: Exception) -> None:
        """See :class:`~gamebus.delivery.durable_handling.DeadLetterSink`."""
        await self._letters.write(record, error)
        try:
            await self._state.add(_note(record, error))
        except StateError as failure:
            log.warning("dead_letter.not_noted", topic=record.topic, offset=record.offset, error=str(failure))


def _note(record: KafkaRecord, error: Exception) -> DeadLetterNote:
    try:
        event = decode_durable(record.value or b"")
        about = (event.type, event.room, event.player, event.identity)
    except RecordError:
        about = ("", "", "", "")
    text = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]
    at_ms = time.time_ns() // 1_000_000
    return DeadLetterNote(at_ms, record.topic, record.partition, record.offset, *about, error=text)
