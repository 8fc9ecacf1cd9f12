"""The gateways that live, by the URL under which clients reach them.

A gateway lives from :meth:`GatewayState.announce` until :meth:`GatewayState.withdraw`, or until :data:`EXPIRY_MS` after its last
announcement by the clock of Redis. Workers that share a port share a URL, and it lives as long as one of them does.
"""

from __future__ import annotations

from typing import Final

from gamebus.state.connection import Connection
from gamebus.state.scripts import load_script

EXPIRY_MS: Final = 4_000
"""A gateway of which nothing was heard for so long is dead."""

_ANNOUNCE: Final = load_script("announce_gateway")


class GatewayState:
    """Gateways in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.keys.shared("gateways", "live")

    async def announce(self, url: str) -> tuple[str, ...]:
        """Say that the gateway at `url` lives; returns all that do, `url` among them."""
        urls = await self._connection.run(_ANNOUNCE, [self._key], (url, EXPIRY_MS))
        return tuple(other.decode() for other in urls)

    async def withdraw(self, url: str) -> None:
        """Say that the gateway at `url` takes no more clients."""
        await self._connection.execute("ZREM", self._key, url)
