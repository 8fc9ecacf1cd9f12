"""What an operator may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.dashboard.actions import ActionRefused, parse_action
from gamebus.settings import RedisSettings
from gamebus.state.commands import Action, CommandState, OperatorCommand
from gamebus.state.connection import connect
from tests.dashboard.kit import running_dashboard
from tests.redis_server import running_redis_server

KICK = {"action": "kick", "target": "alice", "reason": "throws chairs"}
JSON = {"Content-Type": "application/json"}


class TestParseAction:
    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (KICK, OperatorCommand(7, "ops", Action.KICK, "alice", 0, "throws chairs")),
            (
                {"action": "mute", "target": "alice", "minutes": 10, "reason": " spam "},
                OperatorCommand(7, "ops", Action.MUTE, "alice", 10, "spam"),
            ),
            (
                {"action": "drain", "target": "0a1b", "reason": "upgrade", "minutes": 3},
                OperatorCommand(7, "ops", Action.DRAIN, "0a1b", 0, "upgrade"),
            ),
        ],
    )
    def test_good_ones_become_commands(self, request_: dict[str, Any], expected: OperatorCommand) -> None:
        """With the name of who asks."""
        assert parse_action("ops", request_, 7) == expected

    @pytest.mark.parametrize(
        "request_",
        [
            None,
            [],
            {},
            KICK | {"action": "ban"},
            KICK | {"target": "no player!"},
            KICK | {"target": 1},
            KICK | {"reason": ""},
            KICK | {"reason": "  "},
            KICK | {"reason": "x" * 201},
            KICK | {"action": "mute"},
            KICK | {"action": "mute", "minutes": 0},
            KICK | {"action": "mute", "minutes": True},
            KICK | {"action": "mute", "minutes": 1e9},
            KICK | {"action": "drain"},
        ],
    )
    def test_bad_ones_are_refused(self, request_: Any) -> None:
        """Nothing is asked of any gateway."""
        with pytest.raises(ActionRefused):
            parse_action("ops", request_, 7)


class TestEndpoint:
    async def test_actions_are_off_unless_switched_on(self) -> None:
        """And then they need a reason, a page of this dashboard, and leave a trace."""
        with running_redis_server() as server:
            redis = RedisSettings(url=server.url)
            connection = connect(redis)
            async with running_dashboard(redis, insecure=True) as browser:
                assert (await browser.request("POST", "/api/actions", KICK, **JSON))[0] == 403
            async with running_dashboard(redis, insecure=True, actions=True) as browser:
                assert (await browser.request("POST", "/api/actions", KICK))[0] == 403
                foreign = JSON | {"Origin": "http://evil.example"}
                assert (await browser.request("POST", "/api/actions", KICK, **foreign))[0] == 403
                assert (await browser.request("POST", "/api/actions", KICK | {"reason": ""}, **JSON))[0] == 400
                assert await CommandState(connection).read("0") == {}
                assert (await browser.request("POST", "/api/actions", KICK, **JSON))[0] == 200
                (entry,) = (await browser.frame("audit"))["page"]["entries"]
                assert (entry["action"], entry["target"], entry["reason"]) == ("kick", "alice", "throws chairs")
            async with running_dashboard(redis, password="p4ss", actions=True) as browser:
                assert (await browser.request("POST", "/api/actions", KICK, **JSON))[0] == 401
            assert len(await CommandState(connection).read("0")) == 1
            await connection.close()
