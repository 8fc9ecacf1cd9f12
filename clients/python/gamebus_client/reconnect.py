"""When to come back: close codes and back-off. Pure: time (seconds, monotonic) and randomness are arguments."""

from __future__ import annotations

from random import Random
from typing import Final

BASE_S: Final = 0.25
CAP_S: Final = 15.0
STABLE_S: Final = 5.0
"""A connection that lasted so long was a good one: the back-off starts anew."""

TOKEN_EXPIRED: Final = 4010

# RFC 6455 section 7.4.1: invalid payload data and message too big. The same message would break the next connection too.
_OWN_FAULT: Final = frozenset({1007, 1009})


def is_terminal(code: int) -> bool:
    """Whether a close code means: do not come back.

    4500-4999 by the wire protocol's table, and the two transport codes that name a message which cannot pass. All others,
    4000-4499 and transport losses such as 1001, 1006, 1011 and 1012, are worth another connection.
    """
    return 4500 <= code <= 4999 or code in _OWN_FAULT


class Backoff:
    """Delays between attempts to connect: exponential with full jitter, 250 ms to 15 s.

    Full jitter spreads the clients of a restarted gateway evenly ("Exponential Backoff And Jitter", AWS Architecture Blog).

    Args:
        rng: source of the jitter.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._opened: float | None = None
        self.attempt = 0
        """Attempts since the last connection that lasted."""

    def opened(self, now: float) -> None:
        """A connection was welcomed."""
        self._opened = now

    def next_delay(self, now: float, *, at_least_s: float = 0.0) -> float:
        """Seconds to wait after a connection or an attempt ended.

        Args:
            at_least_s: what the gateway asked for (`reconnect_ms`, `Retry-After`); the jitter comes on top, since it asked
                every client for the same.
        """
        if self._opened is not None and now - self._opened >= STABLE_S:
            self.attempt = 0
        self._opened = None
        ceiling = min(CAP_S, BASE_S * 2 ** min(self.attempt, 16))
        self.attempt += 1
        return at_least_s + self._rng.uniform(0.0, ceiling)
