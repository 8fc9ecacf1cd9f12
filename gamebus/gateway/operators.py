"""Carries out what operators ask of this gateway: kick, mute, drain.

Guarantees: a command that was given while this gateway runs is carried out within about a second of Redis answering, once; a mute
outlives restarts of gateways. Not guaranteed: the second while Redis is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from gamebus.errors import StateError
from gamebus.state.commands import Action, CommandState, OperatorCommand, Outcome

_INTERVAL_S: Final = 1.0

log = structlog.get_logger(__name__)


class Mutes:
    """Players whose chat is refused, and until when."""

    def __init__(self) -> None:
        self._until_ms: dict[str, int] = {}

    def add(self, player: str, until_ms: int) -> None:
        """Mute a player; an earlier mute that lasts longer stays."""
        self._until_ms[player] = max(until_ms, self._until_ms.get(player, 0))

    def until_ms(self, player: str, now_ms: int) -> int | None:
        """When the mute of a player ends, Unix milliseconds; None when there is none."""
        until_ms = self._until_ms.get(player)
        if until_ms is None:
            return None
        if until_ms <= now_ms:
            del self._until_ms[player]
            return None
        return until_ms


class OperatorCommands:
    """Reads the commands and carries out those that are for this gateway.

    Args:
        gateway: boot of the gateway.
        kick: closes the connections of a player here; how many there were.
        drain: begins the graceful end of this gateway.
    """

    def __init__(
        self,
        state: CommandState,
        *,
        gateway: str,
        mutes: Mutes,
        kick: Callable[[str], int],
        drain: Callable[[], object],
    ) -> None:
        self._state = state
        self._gateway = gateway
        self._mutes = mutes
        self._kick = kick
        self._drain = drain
        self._last = "0"
        self._started_ms = time.time_ns() // 1_000_000
        self._current = True

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self.read()
            except StateError as error:
                if self._current:
                    log.warning("commands.delayed", error=str(error))
                self._current = False
            else:
                self._current = True
            await asyncio.sleep(_INTERVAL_S)

    async def read(self) -> None:
        """Carry out what is new.

        Raises:
            StateError: Redis could not answer.
        """
        for id_, command in (await self._state.read(self._last)).items():
            # Before anything else, so that a report that fails does not carry it out again.
            self._last = id_
            detail = self._carry_out(command)
            if detail is not None:
                log.info("command.carried_out", action=command.action, target=command.target, operator=command.operator)
                await self._state.report(Outcome(id_, self._gateway, time.time_ns() // 1_000_000, detail))

    def _carry_out(self, command: OperatorCommand) -> str | None:
        """What was done, in words; None when there was nothing to do here."""
        if command.action is Action.MUTE:
            self._mutes.add(command.target, command.until_ms)
            return "muted" if command.at_ms >= self._started_ms else None
        if command.at_ms < self._started_ms:
            # Given before this process: its connections, and itself, were not meant.
            return None
        if command.action is Action.KICK:
            closed = self._kick(command.target)
            return f"closed {closed} connections" if closed else None
        if command.target == self._gateway:
            self._drain()
            return "draining"
        return None
