"""Admission: how many clients may say `hello` at the same time, and when the others come back.

After a restart or a broken network everybody returns within a second or two. What a hello costs (token, rooms, missed events) would
then be taken from those who play; so clients are let in at a rate that leaves them their share, and the rest is sent away with
moments to come back that are as far apart as the rate lets clients in.

Pure. Not safe for several threads.
"""

from __future__ import annotations

from typing import Final

from gamebus.protocol.rate_limit import TokenBucket

LONGEST_WAIT_S: Final = 30.0
"""No client is sent away for longer; when that many wait, they share moments."""


class Admission:
    """Lets clients in at a bounded rate.

    Guarantees: in any span of `t` seconds at most `burst + per_second * t` are admitted; of those that are sent away no two are told
    the same moment, unless more than :data:`LONGEST_WAIT_S` of them wait. Not guaranteed: that who comes back as told is admitted: a
    moment is no reservation, and newcomers may be there first.

    Args:
        per_second: clients admitted a second.
        burst: clients admitted at once.
    """

    __slots__ = ("_bucket", "_interval_s", "_last_moment", "admitted", "deferred")

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._bucket = TokenBucket(per_second, burst)
        self._interval_s = 1 / per_second
        # The latest one that a client was told.
        self._last_moment = 0.0
        self.admitted = 0
        self.deferred = 0

    def admit(self, now: float) -> int | None:
        """Admit a client, which is None, or tell it when to come back, in milliseconds. `now`: monotonic seconds, never falling."""
        if self._bucket.take(now):
            self.admitted += 1
            return None
        self.deferred += 1
        moment = max(self._last_moment, now) + self._interval_s
        if moment - now > LONGEST_WAIT_S:
            moment = now + self._interval_s
        self._last_moment = moment
        return max(1, round((moment - now) * 1000))
