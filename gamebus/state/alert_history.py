"""Alerts that are over, for whoever looks later: they outlive the dashboard that judged them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import msgpack

from gamebus.state.connection import Connection
from gamebus.state.scripts import load_script

MAX_ALERTS: Final = 200
TTL_MS: Final = 30 * 24 * 3_600_000

_NOTE: Final = load_script("note_alert")


@dataclass(frozen=True, slots=True)
class PastAlert:
    """An alert that has fired and is over."""

    name: str
    process_id: str
    """Empty, as the two that follow, when it was about the whole fleet."""

    process: str
    role: str
    value: float
    """The last figure that was an alarm."""

    fired_ms: int
    resolved_ms: int


class AlertHistoryState:
    """The history in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.keys.shared("alerts", "history")

    async def note(self, alert: PastAlert) -> list[PastAlert]:
        """Note an alert unless somebody has; may be repeated. Returns the history, the newest first."""
        entry = msgpack.packb(astuple(alert))
        return _decoded(await self._connection.run(_NOTE, [self._key], (entry, MAX_ALERTS, TTL_MS)))

    async def read(self) -> list[PastAlert]:
        """The history, the newest first."""
        return _decoded(await self._connection.execute("LRANGE", self._key, 0, -1))


def _decoded(values: list[bytes]) -> list[PastAlert]:
    return [PastAlert(*msgpack.unpackb(value)) for value in values]
