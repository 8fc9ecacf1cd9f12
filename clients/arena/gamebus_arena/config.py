"""What the arena's processes are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

DEFAULT_ROOM: Final = "arena"
EVENT_TYPES: Final = ("shot", "arena")
"""Types that the gateway's catalog must have, as `gamebus.toml` beside this module has them."""


@dataclass(frozen=True, slots=True)
class GameConfig:
    """The game server.

    Attributes:
        gateway: websocket address.
        secret: HMAC secret that the gateway checks tokens with.
        fighters: opponents make up the numbers to so many; with as many people there are none, and without people neither.
        seed: of everything random.
    """

    gateway: str
    secret: str = field(repr=False)
    room: str = DEFAULT_ROOM
    fighters: int = 5
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The server of the page.

    Attributes:
        gateway: websocket address that the page connects to.
        hosts: allowed `Host` headers besides the loopback's, so that no other site's name leads here (DNS rebinding).
    """

    gateway: str
    secret: str = field(repr=False)
    room: str = DEFAULT_ROOM
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: tuple[str, ...] = ()
