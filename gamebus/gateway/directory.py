"""Writes which rooms and players this gateway has to the directory, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from heapq import nlargest
from typing import Final, TypeVar

import structlog

from gamebus.errors import StateError
from gamebus.state.directory import DirectoryState, PlayerEntry, RoomEntry

_INTERVAL_S: Final = 2.0
_MAX_TROUBLED: Final = 50

log = structlog.get_logger(__name__)

Entry = TypeVar("Entry")
Census = Callable[[], tuple[dict[str, RoomEntry], dict[str, PlayerEntry]]]
"""Rooms and players of this moment."""


class Directory:
    """This gateway's part of the directory: the difference from what was written last, every two seconds.

    Args:
        gateway: boot of the gateway.
        census: a count of everyone; called from the event loop, so what it costs delays clients.
    """

    def __init__(self, state: DirectoryState, *, gateway: str, census: Census) -> None:
        self._state = state
        self._gateway = gateway
        self._census = census
        # As Redis has them; None when that is not known.
        self._written: tuple[dict[str, RoomEntry], dict[str, PlayerEntry], dict[str, PlayerEntry]] | None = None
        self._current = True

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.write()
            except StateError as error:
                if self._current:
                    log.warning("directory.delayed", error=str(error))
                self._current = False
            else:
                self._current = True

    async def write(self) -> None:
        """Write what changed since the last time; everything when Redis may have lost some of it.

        Raises:
            StateError: Redis could not answer.
        """
        rooms, players = self._census()
        troubled = _worst(players)
        written, self._written = self._written, None
        old_rooms, old_players, old_troubled = written or ({}, {}, {})
        there = await self._state.write(
            self._gateway,
            rooms=_changes(old_rooms, rooms),
            players=_changes(old_players, players),
            troubled=_changes(old_troubled, troubled),
            anew=written is None,
        )
        if there == (len(rooms), len(players), len(troubled)):
            self._written = rooms, players, troubled

    async def forget(self) -> None:
        """Say that the gateway ends in order."""
        try:
            await self._state.forget(self._gateway)
        except StateError as error:
            log.warning("directory.left_behind", error=str(error))


def _worst(players: Mapping[str, PlayerEntry]) -> dict[str, PlayerEntry]:
    """Those in trouble, so that an operator need not know their names; of many, those who send too much first."""
    found = (item for item in players.items() if item[1].troubled)
    return dict(nlargest(_MAX_TROUBLED, found, key=lambda item: (item[1].rate_limited, item[1].queued_bytes)))


def _changes(before: Mapping[str, Entry], now: Mapping[str, Entry]) -> dict[str, Entry | None]:
    changes: dict[str, Entry | None] = {name: entry for name, entry in now.items() if before.get(name) != entry}
    changes.update(dict.fromkeys(before.keys() - now.keys()))
    return changes
