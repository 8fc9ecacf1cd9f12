"""The gateway's clock, as far as round trips tell. Pure: local times (seconds, monotonic) are arguments.

Guarantee: for each sample the true offset lies within half its round trip of the estimate, provided that neither clock jumps; the
sample with the shortest round trip counts (the clock filter of NTP, RFC 5905 section 10).

Not guaranteed: that it is monotonic across samples or connections, or that two gateways agree.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_KEPT_SAMPLES: Final = 8


class ClockOffset:
    """Server time minus local time, from the last few round trips of one connection."""

    def __init__(self) -> None:
        # (round trip in seconds, offset in milliseconds), newest last.
        self._samples: deque[tuple[float, float]] = deque(maxlen=_KEPT_SAMPLES)

    def reset(self) -> None:
        """A new connection, maybe to a gateway with another clock."""
        self._samples.clear()

    def add(self, sent: float, received: float, server_ms: int) -> None:
        """A message left at `sent`, the gateway stamped its answer with `server_ms`, the answer came at `received`."""
        self._samples.append((received - sent, server_ms - (sent + received) / 2 * 1000))

    def server_ms(self, now: float) -> float | None:
        """Unix milliseconds by the gateway's clock at the local time `now`; None before the first sample."""
        if not self._samples:
            return None
        # Of equal round trips the newest: clocks drift.
        _, offset_ms = min(reversed(self._samples), key=lambda sample: sample[0])
        return now * 1000 + offset_ms
