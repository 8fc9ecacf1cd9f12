"""Timeline: what the whole fleet did, by second and by minute, for the charts of operators.

Every process adds what it did to the same two buckets, so a reader finds sums and needs to know no process. A level (players,
lag) is added once a second: its sum over a minute, divided by 60, is its mean. Latencies are added by bucket of
:mod:`gamebus.telemetry.histogram`: percentiles are those of all processes together.

Bounded: :data:`SECONDS` and :data:`MINUTES` buckets, each of a field for each series and process role, which expire. A write that
is repeated after a lost reply counts twice: these are charts, the loss ledger (:mod:`gamebus.state.ledger`) is the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gamebus.state.connection import Command, Connection

SECONDS: Final = 300
"""Buckets of a second that are kept."""

MINUTES: Final = 60
"""Buckets of a minute that are kept."""

_SLACK_S: Final = 120


class TimelineState:
    """The timeline in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, second: int, amounts: Mapping[str, float]) -> None:
        """Add to the buckets of a second (Unix) and of its minute."""
        commands: list[Command] = []
        for key, ttl_s in (
            (self._second(second), SECONDS + _SLACK_S),
            (self._minute(second // 60), MINUTES * 60 + _SLACK_S),
        ):
            commands += (("HINCRBYFLOAT", key, series, f"{amount:.6g}") for series, amount in amounts.items() if amount)
            commands.append(("EXPIRE", key, ttl_s))
        await self._connection.pipeline(commands)

    async def seconds(self, first: int, count: int) -> list[dict[str, float]]:
        """The buckets of `count` seconds from `first` on; what nobody wrote is empty."""
        return await self._read([self._second(first + index) for index in range(count)])

    async def minutes(self, first: int, count: int) -> list[dict[str, float]]:
        """The buckets of `count` minutes (Unix time / 60) from `first` on."""
        return await self._read([self._minute(first + index) for index in range(count)])

    async def _read(self, keys: Sequence[str]) -> list[dict[str, float]]:
        buckets = await self._connection.pipeline([("HGETALL", key) for key in keys])
        return [{name.decode(): float(amount) for name, amount in bucket.items()} for bucket in buckets]

    def _second(self, second: int) -> str:
        return self._connection.keys.shared("second", str(second))

    def _minute(self, minute: int) -> str:
        return self._connection.keys.shared("minute", str(minute))
