"""Commands of operators through a real Redis."""

from __future__ import annotations

import time

from gamebus.gateway.operators import Mutes, OperatorCommands
from gamebus.state.commands import Action, CommandState, OperatorCommand, Outcome
from gamebus.state.connection import Connection


def command(action: Action, target: str, *, at_ms: int | None = None, minutes: int = 0) -> OperatorCommand:
    now_ms = time.time_ns() // 1_000_000
    return OperatorCommand(now_ms if at_ms is None else at_ms, "ops", action, target, minutes, "because")


class Gateway:
    """A gateway as far as operators are concerned: alice is on it."""

    def __init__(self, state: CommandState, boot: str) -> None:
        self.done: list[str] = []
        self.mutes = Mutes()
        self.commands = OperatorCommands(
            state, gateway=boot, mutes=self.mutes, kick=self.kick, drain=lambda: self.done.append("drain")
        )

    def kick(self, player: str) -> int:
        self.done.append(f"kick {player}")
        return int(player == "alice")


class TestOperatorCommands:
    async def test_each_is_carried_out_once_where_it_belongs(self, connection: Connection) -> None:
        """Every gateway hears every command; outcomes name the gateway that had something to do."""
        state = CommandState(connection)
        here, there = Gateway(state, "aa"), Gateway(state, "bb")
        await state.issue(command(Action.KICK, "alice"))
        await state.issue(command(Action.KICK, "bob"))
        await state.issue(command(Action.DRAIN, "aa"))
        for _ in range(2):
            await here.commands.read()
        await there.commands.read()

        assert here.done == ["kick alice", "kick bob", "drain"]
        assert there.done == ["kick alice", "kick bob"]
        ids = list(await state.read("0"))
        found = {(outcome.command, outcome.gateway, outcome.detail) for outcome in await state.outcomes()}
        assert found == {
            (ids[0], "aa", "closed 1 connections"),
            (ids[0], "bb", "closed 1 connections"),
            (ids[2], "aa", "draining"),
        }

    async def test_a_gateway_that_begins_later_keeps_the_mutes_only(self, connection: Connection) -> None:
        """A kick or a drain of yesterday is over; a mute lasts as long as it was meant to, wherever the player connects."""
        state = CommandState(connection)
        now_ms = time.time_ns() // 1_000_000
        await state.issue(command(Action.KICK, "alice", at_ms=now_ms - 60_000))
        await state.issue(command(Action.DRAIN, "aa", at_ms=now_ms - 60_000))
        await state.issue(command(Action.MUTE, "alice", at_ms=now_ms - 60_000, minutes=10))
        await state.issue(command(Action.MUTE, "bob", at_ms=now_ms - 60_000, minutes=1))
        gateway = Gateway(state, "aa")
        await gateway.commands.read()

        assert gateway.done == []
        assert gateway.mutes.until_ms("alice", now_ms) == now_ms + 9 * 60_000
        assert gateway.mutes.until_ms("bob", now_ms) is None
        assert gateway.mutes.until_ms("alice", now_ms + 10 * 60_000) is None

    async def test_what_is_kept_is_bounded(self, connection: Connection) -> None:
        """An audit does not fill Redis."""
        state = CommandState(connection)
        for number in range(1100):
            await state.report(Outcome(str(number), "aa", 0, "done"))
        outcomes = await state.outcomes()
        assert (len(outcomes), outcomes[0].command) == (1000, "1099")
