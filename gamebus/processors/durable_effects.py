"""What at-least-once events do to the state: feed, scores, chat, events of a studio's own types; each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gamebus import events
from gamebus.catalog import Catalog
from gamebus.delivery.durable_consumer import SourcedRecord
from gamebus.errors import RecordError
from gamebus.record import DurableRecord
from gamebus.state.chat import chat_effect
from gamebus.state.combat import death_effect, kill_effect
from gamebus.state.effects import Effect, EffectState
from gamebus.state.events import event_effect
from gamebus.telemetry.metrics import counter

_EFFECTS: Final[dict[str, Callable[[DurableRecord, int], Effect]]] = {
    "kill": kill_effect,
    "death": death_effect,
    "chat": chat_effect,
}


@dataclass(frozen=True, slots=True)
class DurableEffectsStatistics:
    """What became of the records of at-least-once topics."""

    applied_total: int = counter("Events that had their effect.")
    duplicates_total: int = counter(
        "Events that had it before: sent again by a publisher, or delivered again by Kafka."
    )


class DurableEffects:
    """Handler of the durable consumer."""

    def __init__(self, state: EffectState, catalog: Catalog) -> None:
        self._state = state
        self._catalog = catalog
        self._applied = 0
        self._duplicates = 0

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        """Apply events of one room and partition, in order, in one round trip.

        Raises:
            StateError: Redis could not answer; nothing is known of the effects, so call again.
            RecordError, PayloadError: a record is not what any gateway writes; nothing was applied.
        """
        effects = [self._effect(source) for source in records]
        applied = sum(await self._state.apply(room, records[0].topic, records[0].partition, effects))
        self._applied += applied
        self._duplicates += len(records) - applied

    def follow(self, catalog: Catalog) -> None:
        """Know the types of another generation of the catalog; before any record of its topics is handled."""
        self._state.follow(catalog)
        self._catalog = catalog

    def statistics(self) -> DurableEffectsStatistics:
        """Counters since the start."""
        return DurableEffectsStatistics(applied_total=self._applied, duplicates_total=self._duplicates)

    def _effect(self, source: SourcedRecord) -> Effect:
        # Anything can write to a topic; only what a gateway lets pass becomes the name of a key or a field.
        record = source.record
        event_type = self._catalog.entry(record.type, source.topic)
        if event_type is None:
            published = self._catalog.types.get(record.type)
            if published is None:
                raise RecordError(f"type {record.type!r} is not in the catalog; add it there and replay the record")
            raise RecordError(f"type {record.type!r} belongs to topic {published.topic}, not to {source.topic}")
        if not events.is_room(record.room):
            raise RecordError(f"room {record.room[:200]!r} is not a room name")
        if not (events.is_player_id(record.player) and events.is_player_id(record.publisher)):
            raise RecordError(
                f"player {record.player[:100]!r} or publisher {record.publisher[:100]!r} is not a player id"
            )
        if not events.is_event_id(record.id):
            raise RecordError("the event id is not 1..64 characters without control characters")
        data = event_type.validate(record.data)
        if data is not record.data:
            record = replace(record, data=data)
        return _EFFECTS.get(record.type, event_effect)(record, source.offset)
