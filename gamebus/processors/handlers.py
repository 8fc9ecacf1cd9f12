"""What is done with the records of each class: at-most-once events overwrite, at-least-once events take effect once."""

from __future__ import annotations

from collections.abc import Sequence

from gamebus.delivery.partition_work import SourcedRecord
from gamebus.errors import RecordError
from gamebus.record import DurableRecord, RealtimeRecord
from gamebus.state.chat import chat_effect
from gamebus.state.combat import death_effect, kill_effect
from gamebus.state.effects import Effect, EffectState
from gamebus.state.events import event_effect
from gamebus.state.positions import PositionState
from gamebus.state.presence import Heartbeat, PresenceState

_EFFECTS = {"kill": kill_effect, "death": death_effect, "chat": chat_effect}


class RealtimeStateHandler:
    """Positions: the last known one of each player. Heartbeats: presence goes on. Other types have no state."""

    def __init__(self, positions: PositionState, presence: PresenceState) -> None:
        self._positions = positions
        self._presence = presence

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        """Write the newest of each player, in one round trip per kind."""
        positions: dict[str, dict[str, tuple[int, object]]] = {}
        heartbeats: dict[str, dict[str, Heartbeat]] = {}
        for record in records:
            if record.type == "position":
                positions.setdefault(record.room, {})[record.player] = (record.server_ms, record.data)
            elif record.type == "heartbeat":
                rtt_ms = record.data[2] if len(record.data) > 2 else None
                heartbeats.setdefault(record.room, {})[record.player] = Heartbeat(record.server_ms, rtt_ms)
        if positions:
            await self._positions.write(positions)
        if heartbeats:
            await self._presence.extend(heartbeats)


class DurableStateHandler:
    """Kill feed, scores, chat history, and lists of a studio's own types: each event has its effect once."""

    def __init__(self, effects: EffectState) -> None:
        self._effects = effects

    async def handle(self, room: str, records: Sequence[SourcedRecord]) -> None:
        """Apply the events of one room; may be called again with the same ones."""
        effects = [_effect(source.record, source.offset) for source in records]
        await self._effects.apply(room, records[0].topic, records[0].partition, effects)


def _effect(record: DurableRecord, offset: int) -> Effect:
    try:
        return _EFFECTS.get(record.type, event_effect)(record, offset)
    except (KeyError, TypeError) as error:
        raise RecordError(f"{record.type} without what its effect needs: {error!r}") from error
