"""Players: who is where, found by name."""

from __future__ import annotations

from typing import Any, Final

from gamebus.dashboard.gateways import live_gateways
from gamebus.state.connection import Connection
from gamebus.state.directory import DirectoryState
from gamebus.state.presence import PresenceState
from gamebus.state.vitals import VitalsState

_MAX_PLAYERS: Final = 100


class Players:
    """Players whose name holds a text, a hundred at most."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._vitals = VitalsState(connection)
        self._directory = DirectoryState(connection)
        self._presence = PresenceState(connection)
        self._text = text

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        names = await live_gateways(self._vitals)
        found = await self._directory.search(names, self._text, limit=_MAX_PLAYERS)
        beats = await self._presence.last_heartbeats(
            [(entry.rooms[0], player) for player, _, entry in found if entry.rooms]
        )
        players = []
        for player, gateway, entry in sorted(found):
            beat = beats.get(player)
            players.append(
                {
                    "player": player,
                    "gateway": names[gateway],
                    "session": entry.session,
                    "role": entry.role,
                    "rooms": list(entry.rooms),
                    "queued_bytes": entry.queued_bytes,
                    "rate_limited": entry.rate_limited,
                    "rtt_ms": beat.rtt_ms if beat else None,
                    "heard_ms": beat.server_ms if beat else None,
                }
            )
        return {"text": self._text, "limit": _MAX_PLAYERS, "players": players}
