"""Placement: which gateway should take a room, so that its players meet on few gateways and its partition is read by few.

Guarantees: gateways that know of the same living gateways give the same answer; a gateway that comes or goes moves only the
rooms that it gets or had. Rooms of one partition go to one gateway, because a tail reads whole partitions.

Not guaranteed: that everybody follows. It is a hint, and a room works wherever its players are. A gateway that died is named
until its announcement expires (4 s) and the next heartbeat.

While Redis is away the last list stands for as long as an announcement would; then a gateway names only itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Final, Protocol

import structlog

from gamebus.errors import StateError
from gamebus.settings import GatewaySettings
from gamebus.state.gateways import EXPIRY_MS

HEARTBEAT_S: Final = 1.0

_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

_log = structlog.get_logger(__name__)


class GatewayState(Protocol):
    """The living gateways in Redis (:class:`gamebus.state.gateways.GatewayState`)."""

    async def announce(self, url: str) -> tuple[str, ...]:
        """Say that the gateway at `url` lives; returns all that do."""

    async def withdraw(self, url: str) -> None:
        """Say that it takes no more clients."""


def choose(partition: int, urls: Collection[str]) -> str:
    """The gateway that takes the rooms of `partition`: highest random weight (Thaler and Ravishankar, 1998)."""

    def weight(url: str) -> tuple[bytes, str]:
        return blake2b(f"{partition} {url}".encode(), digest_size=8).digest(), url

    return max(urls, key=weight)


def advertised_url(settings: GatewaySettings, url: str) -> str:
    """URL to name to clients of a gateway that listens at `url`; empty: that is a wildcard, so only the setting could tell."""
    return settings.advertised_url or ("" if settings.host in _WILDCARDS else url)


class Placement:
    """Announces one gateway and answers for all.

    Args:
        state: where gateways announce themselves.
        partition: of a room.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        state: GatewayState,
        *,
        partition: Callable[[str], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._partition = partition
        self._clock = clock
        self._url = ""
        self._live: tuple[str, ...] = ()
        self._heard_at = 0.0
        self._degraded = False
        self._stopping = asyncio.Event()

    def place(self, room: str) -> str | None:
        """URL of the gateway that should take `room`; None while this gateway has no URL to give."""
        if not self._url:
            return None
        fresh = self._clock() - self._heard_at < EXPIRY_MS / 1000
        return choose(self._partition(room), self._live if fresh and self._live else (self._url,))

    async def run(self, url: str) -> None:
        """Announce the gateway at `url` until :meth:`stop`, then withdraw it; an empty one is not announced."""
        if not url:
            _log.info(
                "placement.off", meaning="the gateway listens on a wildcard and has no GAMEBUS_GATEWAY__ADVERTISED_URL"
            )
            return
        self._url = url
        while not self._stopping.is_set():
            try:
                self._live = await self._state.announce(url)
            except StateError as error:
                self._degrade(error)
            else:
                self._heard_at = self._clock()
                self._degraded = False
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        try:
            await self._state.withdraw(url)
        except StateError as error:
            self._degrade(error)

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopping.set()

    def _degrade(self, error: StateError) -> None:
        if not self._degraded:
            self._degraded = True
            _log.warning("placement.degraded", error=str(error), meaning="rooms are placed without other gateways")
