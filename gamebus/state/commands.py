"""Commands of operators to gateways, and what became of each: the audit.

A command is an entry of a stream that every gateway reads; it stays there as the record of who asked for what and why. Gateways
that carried it out say so beside it. Bounded: the last :data:`MAX_COMMANDS`, for :data:`TTL_MS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Final

import msgpack

from gamebus.state.connection import Connection

MAX_COMMANDS: Final = 1000
TTL_MS: Final = 30 * 24 * 3_600_000

_FIELD: Final = "command"


class Action(StrEnum):
    """What an operator may ask for."""

    KICK = "kick"
    """Close the connections of a player (4503)."""

    MUTE = "mute"
    """Refuse the chat of a player for a while."""

    DRAIN = "drain"
    """Let a gateway send its clients away and end."""


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """One request of an operator."""

    at_ms: int
    operator: str
    action: Action
    target: str
    """A player, or the id of a gateway's boot."""

    minutes: int
    """Of a mute."""

    reason: str

    @property
    def until_ms(self) -> int:
        """When a mute ends."""
        return self.at_ms + self.minutes * 60_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """That a gateway carried a command out."""

    command: str
    gateway: str
    at_ms: int
    detail: str


class CommandState:
    """Commands in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stream = connection.keys.shared("commands", "stream")
        self._outcomes = connection.keys.shared("commands", "outcomes")

    async def issue(self, command: OperatorCommand) -> None:
        """Ask all gateways; after a lost answer it may stand there twice, which does no harm."""
        value = msgpack.packb(astuple(command))
        await self._connection.pipeline(
            [
                ("XADD", self._stream, "MAXLEN", "~", MAX_COMMANDS, "*", _FIELD, value),
                ("PEXPIRE", self._stream, TTL_MS),
            ]
        )

    async def read(self, after: str) -> dict[str, OperatorCommand]:
        """Commands after an id (`0`: all that are kept), by their ids, oldest first."""
        entries = await self._connection.execute("XRANGE", self._stream, f"({after}" if after != "0" else "-", "+")
        return {id_.decode(): _decode(fields) for id_, fields in entries}

    async def report(self, outcome: Outcome) -> None:
        """Say that a command was carried out."""
        await self._connection.pipeline(
            [
                ("LPUSH", self._outcomes, msgpack.packb(astuple(outcome))),
                ("LTRIM", self._outcomes, 0, MAX_COMMANDS - 1),
                ("PEXPIRE", self._outcomes, TTL_MS),
            ]
        )

    async def outcomes(self) -> list[Outcome]:
        """What gateways said, newest first."""
        values = await self._connection.execute("LRANGE", self._outcomes, 0, -1)
        return [Outcome(*msgpack.unpackb(value)) for value in values]


def _decode(fields: list[bytes] | Mapping[bytes, bytes]) -> OperatorCommand:
    value = fields[_FIELD.encode()] if isinstance(fields, Mapping) else fields[1]
    at_ms, operator, action, target, minutes, reason = msgpack.unpackb(value)
    return OperatorCommand(at_ms, operator, Action(action), target, minutes, reason)
