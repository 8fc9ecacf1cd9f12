"""One connection per player: the newest one wins (close code 4501 for the others).

Guarantees: of the connections of a player on this gateway at most one is open; on other gateways the older ones are closed as soon as
they hear of the new one through Redis; those that could not hear of it, within a few seconds of both being in one room. Not
guaranteed: the latter two while Redis is away. Servers and spectators may be many.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from gamebus.catalog import Role
from gamebus.errors import StateError
from gamebus.gateway.session_driver import SessionDriver
from gamebus.state.sessions import SessionState

# Announcements that wait for Redis; past it other gateways keep an older connection until its pings go unanswered.
_MAX_WAITING: Final = 10_000

log = structlog.get_logger(__name__)


class PlayerRegistry:
    """The open connection of every player on this gateway.

    Args:
        sessions: the channel on which gateways tell each other.
    """

    def __init__(self, sessions: SessionState) -> None:
        self._sessions = sessions
        self._drivers: dict[str, SessionDriver] = {}
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_MAX_WAITING)
        self._degraded = False
        self.replaced = 0
        """Connections closed because their player connected elsewhere."""

    def claim(self, driver: SessionDriver) -> None:
        """Make `driver` the player's connection, here at once and elsewhere soon."""
        if driver.role is not Role.PLAYER:
            return
        older = self._drivers.get(driver.player)
        self._drivers[driver.player] = driver
        if older is not None:
            self._replace(older)
        if not self._waiting.full():
            self._waiting.put_nowait((driver.player, driver.session))

    def release(self, driver: SessionDriver) -> None:
        """The driver's connection has ended."""
        if self._drivers.get(driver.player) is driver:
            del self._drivers[driver.player]

    def kick(self, player: str) -> int:
        """Close the connection of a player here, for good; how many there were."""
        driver = self._drivers.get(player)
        if driver is None:
            return 0
        driver.remove()
        return 1

    async def missed(self, player: str, session: str) -> None:
        """Redis shows another session of a player where `session` of this gateway is: it took over, and nobody heard.

        Raises:
            StateError: Redis does not answer which of them is the newest.
        """
        driver = self._drivers.get(player)
        if driver is None or driver.session != session:
            return
        # Unless it is the other one that was late to hear, or to say that it joined.
        if await self._sessions.holder(player) != session and self._drivers.get(player) is driver:
            self._replace(driver)

    async def run(self) -> None:
        """Announce and listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._announce())
            tasks.create_task(self._listen())

    async def _announce(self) -> None:
        while True:
            player, session = await self._waiting.get()
            try:
                await self._sessions.announce(player, session)
            except StateError as error:
                self._degrade(error)
            else:
                self._degraded = False

    async def _listen(self) -> None:
        async for player, session in self._sessions.listen():
            driver = self._drivers.get(player)
            if driver is None or driver.session == session:
                continue
            try:
                holder = await self._sessions.holder(player)
            except StateError as error:
                self._degrade(error)
                continue
            # Two connections in the same moment hear of each other; only the one announced last stays.
            driver = self._drivers.get(player)
            if driver is not None and holder is not None and holder != driver.session:
                self._replace(driver)

    def _replace(self, driver: SessionDriver) -> None:
        self.replaced += 1
        driver.replace()

    def _degrade(self, error: StateError) -> None:
        if not self._degraded:
            self._degraded = True
            log.warning("takeover.degraded", error=str(error), meaning="takeovers from other gateways are not seen")
