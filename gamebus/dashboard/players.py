"""Players: who is where, those in trouble first, the others found by name."""

from __future__ import annotations

from typing import Any, Final

from gamebus.dashboard.gateways import live_gateways
from gamebus.state.connection import Connection
from gamebus.state.directory import SLOW_RTT_MS, DirectoryState, PlayerEntry
from gamebus.state.presence import PresenceState
from gamebus.state.vitals import VitalsState

_MAX_PLAYERS: Final = 100


class Players:
    """Players whose name holds a text, a hundred at most: whoever is in trouble is among them, and stands first."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._vitals = VitalsState(connection)
        self._directory = DirectoryState(connection)
        self._presence = PresenceState(connection)
        self._text = text

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        names = await live_gateways(self._vitals)
        troubled = await self._directory.troubled(list(names))
        found = {
            (player, gateway): entry
            for player, gateway, entry in (
                *await self._directory.search(names, self._text, limit=_MAX_PLAYERS),
                *(found for found in troubled if self._text in found[0]),
            )
        }
        shown = sorted(found.items(), key=_worst_first)[:_MAX_PLAYERS]
        beats = await self._presence.last_heartbeats(
            [(entry.rooms[0], player) for (player, _), entry in shown if entry.rooms]
        )
        players = []
        for (player, gateway), entry in shown:
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
                    "rtt_ms": entry.rtt_ms,
                    "trouble": _trouble(entry),
                    "heard_ms": beat.server_ms if beat else None,
                }
            )
        return {"text": self._text, "limit": _MAX_PLAYERS, "players": players}


def _trouble(entry: PlayerEntry) -> list[str]:
    """What is wrong with a player, for people."""
    return [
        name
        for name, wrong in (
            ("floods", entry.rate_limited),
            ("reads slowly", entry.queued_bytes),
            ("slow line", (entry.rtt_ms or 0.0) > SLOW_RTT_MS),
        )
        if wrong
    ]


def _worst_first(found: tuple[tuple[str, str], PlayerEntry]) -> tuple[object, ...]:
    who, entry = found
    return (
        not entry.troubled,
        -entry.rate_limited,
        -entry.queued_bytes,
        -(entry.rtt_ms or 0.0) if entry.troubled else 0.0,
        who,
    )
