"""What was applied in a room, for proof: every acknowledged event once, none twice.

The totals rise in the same script as the effects, once for each event that the script applied; the identities are a set.
An event applied twice raises a total twice and the set once, so `duplicates_applied` shows it, and so do the scores, which the
same event raises twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.state.connection import Connection


@dataclass(frozen=True, slots=True)
class RoomAudit:
    """The durable events that a room has seen."""

    identities: frozenset[str]
    """`publisher/id` of the events applied within the window (an hour of record time)."""

    forgotten: int
    """Identities that were applied and have left the window."""

    totals: Mapping[str, int]
    """Event type -> events applied since the room began."""

    kills: int
    """Sum of the kills of all players."""

    deaths: int
    """Sum of the deaths of all players."""

    @property
    def applied(self) -> int:
        """Effects of all types since the room began."""
        return sum(self.totals.values())

    @property
    def duplicates_applied(self) -> int:
        """Effects beyond the first of each event; 0, or exactly-once is broken."""
        return self.applied - len(self.identities) - self.forgotten


class AuditState:
    """Reads audits."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._connection = connection
        self._topics = [topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)]

    async def read(self, room: str) -> RoomAudit:
        """Audit of one room. Exact while no processor is writing to it.

        Raises:
            StateError: Redis could not answer.
        """
        key = self._connection.keys.room
        totals, scores, forgotten, *windows = await self._connection.pipeline(
            [
                ("HGETALL", key(room, "totals")),
                ("HGETALL", key(room, "scores")),
                ("HGET", key(room, "applied"), "forgotten"),
                *(("ZRANGE", key(room, f"ids:{topic}"), 0, -1) for topic in self._topics),
            ]
        )
        return RoomAudit(
            identities=frozenset(identity.decode() for window in windows for identity in window),
            forgotten=int(forgotten or 0),
            totals={name.decode(): int(count) for name, count in totals.items()},
            kills=_sum(scores, b"/kills"),
            deaths=_sum(scores, b"/deaths"),
        )


def _sum(scores: Mapping[bytes, bytes], suffix: bytes) -> int:
    return sum(int(count) for field, count in scores.items() if field.endswith(suffix))
