"""Rooms: all of them, and one of them with everything that Redis knows about it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

from gamebus.dashboard.gateways import live_gateways
from gamebus.state.chat import ChatState
from gamebus.state.combat import CombatState
from gamebus.state.connection import Connection
from gamebus.state.directory import DirectoryState
from gamebus.state.effects import RoomEvent
from gamebus.state.positions import PositionState
from gamebus.state.presence import PresenceState
from gamebus.state.vitals import VitalsState

_MAX_ROOMS: Final = 500
_MAX_EVENTS: Final = 50


class Rooms:
    """The largest rooms whose name holds a text.

    Args:
        text: empty: all rooms.
    """

    def __init__(self, connection: Connection, text: str) -> None:
        self._vitals = VitalsState(connection)
        self._directory = DirectoryState(connection)
        self._text = text

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        names = await live_gateways(self._vitals)
        rooms = await self._directory.rooms(list(names))
        found: list[dict[str, Any]] = [
            {
                "room": room,
                "clients": sum(entry.clients for entry in entries.values()),
                "tick_hz": max(entry.tick_hz for entry in entries.values()),
                "gateways": sorted(names[id_] for id_ in entries),
            }
            for room, entries in rooms.items()
            if self._text in room
        ]
        found.sort(key=lambda room: (-room["clients"], room["room"]))
        return {"total": len(rooms), "found": len(found), "rooms": found[:_MAX_ROOMS]}


class RoomDetail:
    """One room: players on the map, scores, kill feed, chat."""

    def __init__(self, connection: Connection, room: str) -> None:
        self._room = room
        self._vitals = VitalsState(connection)
        self._directory = DirectoryState(connection)
        self._presence = PresenceState(connection)
        self._positions = PositionState(connection)
        self._combat = CombatState(connection)
        self._chat = ChatState(connection)

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        now_ms = time.time_ns() // 1_000_000
        names = await live_gateways(self._vitals)
        rooms = await self._directory.room(list(names), self._room)
        members = await self._presence.members([self._room], now_ms)
        positions = await self._positions.read(self._room)
        beats = await self._presence.heartbeats(self._room)
        scores = await self._combat.scores(self._room)
        feed = await self._combat.feed(self._room, _MAX_EVENTS)
        chat = await self._chat.history(self._room, _MAX_EVENTS)
        here = members[self._room]
        players = sorted(here | positions.keys() | scores.keys())
        entries = await self._directory.players(list(rooms), players)
        return {
            "room": self._room,
            "gateways": [
                {"gateway": names[id_], "clients": entry.clients, "tick_hz": entry.tick_hz}
                for id_, entry in rooms.items()
            ],
            "players": [
                {
                    "player": player,
                    "present": player in here,
                    "position": _place(positions.get(player)),
                    "rtt_ms": entries[player].rtt_ms if player in entries else None,
                    "heard_ms": beats[player].server_ms if player in beats else None,
                }
                | (asdict(scores[player]) if player in scores else {"kills": 0, "deaths": 0, "assists": 0})
                for player in players
            ],
            "feed": [_event(event) for event in feed],
            "chat": [_event(event) for event in chat],
            "last_event_ms": max((event.server_ms for event in (*feed[:1], *chat[:1])), default=None),
        }


def _place(data: Any) -> list[float] | None:
    """`[x, y, z]` of a position's data, `[seq, x, y, z, ...]`."""
    return list(data[1:4]) if isinstance(data, list) and len(data) >= 4 else None


def _event(event: RoomEvent) -> dict[str, Any]:
    return {
        "type": event.type,
        "player": event.player,
        "server_ms": event.server_ms,
        "id": event.id,
        "data": event.data,
    }
