"""Actions: what an operator may ask gateways for, checked before it is asked, and the audit of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gamebus.dashboard.gateways import process_name
from gamebus.events import is_player_id
from gamebus.state.commands import Action, CommandState, OperatorCommand
from gamebus.state.connection import Connection
from gamebus.state.vitals import VitalsState

_MAX_MINUTES: Final = 30 * 24 * 60
_MAX_REASON: Final = 200
_BOOT: Final = re.compile(r"[0-9a-f]{1,32}")


class ActionRefused(Exception):
    """An action that cannot be asked for; the message says why."""


class Actions:
    """Asks gateways through Redis; what became of it is on the page Audit."""

    def __init__(self, connection: Connection) -> None:
        self._commands = CommandState(connection)

    async def ask(self, operator: str, request: Any, now_ms: int) -> None:
        """Ask for an action.

        Args:
            operator: who asks.
            request: `{"action", "target", "minutes", "reason"}`, as it came from the browser.
        Raises:
            ActionRefused: it is none.
            StateError: Redis could not answer; ask again.
        """
        await self._commands.issue(parse_action(operator, request, now_ms))


def parse_action(operator: str, request: Any, now_ms: int) -> OperatorCommand:
    """The command that a request asks for.

    Raises:
        ActionRefused: it asks for none.
    """
    if not isinstance(request, Mapping):
        raise ActionRefused("an action is a JSON object")
    action, target, reason = request.get("action"), request.get("target"), request.get("reason")
    minutes = request.get("minutes", 0)
    if action not in set(Action):
        raise ActionRefused(f"the action is one of {', '.join(Action)}")
    if not isinstance(target, str) or not (_BOOT.fullmatch(target) if action == Action.DRAIN else is_player_id(target)):
        raise ActionRefused("the target of drain is the id of a gateway, of the others a player")
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= _MAX_REASON:
        raise ActionRefused(f"say why, in at most {_MAX_REASON} characters: it is kept with your name")
    if action == Action.MUTE and not (type(minutes) is int and 0 < minutes <= _MAX_MINUTES):
        raise ActionRefused(f"a mute lasts 1 to {_MAX_MINUTES} minutes")
    return OperatorCommand(
        at_ms=now_ms,
        operator=operator,
        action=Action(action),
        target=target,
        minutes=minutes if action == Action.MUTE else 0,
        reason=reason.strip(),
    )


class Audit:
    """Who asked for what, why, and what became of it; newest first."""

    def __init__(self, connection: Connection, *, enabled: bool) -> None:
        self._commands = CommandState(connection)
        self._vitals = VitalsState(connection)
        self._enabled = enabled

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        names = {vitals.id: process_name(vitals) for vitals in await self._vitals.read()}
        outcomes: dict[str, list[str]] = {}
        for outcome in await self._commands.outcomes():
            gateway = names.get(outcome.gateway, outcome.gateway)
            outcomes.setdefault(outcome.command, []).append(f"{gateway}: {outcome.detail}")
        commands = await self._commands.read("0")
        return {
            "enabled": self._enabled,
            "entries": [
                {
                    "id": id_,
                    "at_ms": command.at_ms,
                    "operator": command.operator,
                    "action": command.action,
                    "target": names.get(command.target, command.target),
                    "minutes": command.minutes,
                    "reason": command.reason,
                    "outcome": ", ".join(outcomes.get(id_, [])),
                }
                for id_, command in reversed(commands.items())
            ],
        }
