"""What a verified token says. Verifying is the gateway's part (`gateway/auth.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gamebus.catalog import Role
from gamebus.errors import GamebusError


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a verified token.

    Attributes:
        sub: player id; also the publisher of its durable events.
        expires_ms: `exp`, in Unix milliseconds.
        rooms: allowed rooms, exact or with a trailing `*`; None allows all, an empty tuple none.
    """

    sub: str
    role: Role
    expires_ms: int
    rooms: tuple[str, ...] | None = None

    def allows(self, room: str) -> bool:
        """Whether the token lets its bearer into `room`."""
        if self.rooms is None:
            return True
        return any(room.startswith(rule[:-1]) if rule.endswith("*") else room == rule for rule in self.rooms)


class TokenRefused(GamebusError):
    """A token is not valid.

    Attributes:
        expired: it would be valid had it not expired (close code 4010 instead of 4502).
        reason: what is wrong, for the developer of a client; holds nothing of the token.
    """

    def __init__(self, *, expired: bool, reason: str) -> None:
        self.expired = expired
        self.reason = reason
        super().__init__(reason)


Verify: TypeAlias = Callable[[str, int], Claims]
"""`verify(token, now_ms)`: the claims of a token, or :exc:`TokenRefused`."""
