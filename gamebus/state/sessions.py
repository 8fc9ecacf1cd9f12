"""One session per player across all gateways: a new one is announced, the gateway of the old one hears it.

Guaranteed: of the sessions of a player that announce themselves, :meth:`SessionState.holder` names the last, and every
gateway that listens at that time hears of it.

Not guaranteed: that a gateway hears what is announced while it has lost Redis. It learns of the replaced session by the next
:meth:`~gamebus.state.presence.PresenceState.refresh` of a room that both are in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgpack
import structlog

from gamebus.errors import StateError
from gamebus.state.connection import Connection
from gamebus.state.scripts import load_script

HOLDER_TTL_MS: Final = 60_000
"""How long the holder is remembered: it settles races between announcements, which take milliseconds."""

_ANNOUNCE: Final = load_script("announce_session")
_FIRST_BACKOFF_S: Final = 0.1
_LAST_BACKOFF_S: Final = 5.0

log = structlog.get_logger(__name__)


class SessionState:
    """The takeover channel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = f"{connection.keys.prefix}sessions"

    async def announce(self, player: str, session: str) -> None:
        """Make `session` the player's and tell every gateway, this one included.

        Raises:
            StateError: Redis could not answer; announce again or go on without.
        """
        message: bytes = msgpack.packb([player, session])
        key = self._connection.keys.player(player, "session")
        await self._connection.run(_ANNOUNCE, [key], (session, HOLDER_TTL_MS, self._channel, message))

    async def holder(self, player: str) -> str | None:
        """The session announced last, or None when that is longer ago than :data:`HOLDER_TTL_MS`.

        A gateway that hears of another session of a player of its own asks here before it closes its own: when two connect
        within the same moments, each gateway hears both, and only the holder stays.
        """
        session = await self._connection.execute("GET", self._connection.keys.player(player, "session"))
        return None if session is None else session.decode()

    async def listen(self) -> AsyncIterator[tuple[str, str]]:
        """Yield (player, session) as they are announced, for ever; a lost Redis is dialled again with back-off."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                async with self._connection.subscription(self._channel) as messages:
                    log.debug("sessions.subscribed", channel=self._channel)
                    backoff_s = _FIRST_BACKOFF_S
                    async for message in messages:
                        player, session = msgpack.unpackb(message)
                        yield player, session
            except StateError as error:
                log.warning("sessions.lost", error=str(error), again_in_s=backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)
