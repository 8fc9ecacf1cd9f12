"""Who may look."""

from __future__ import annotations

import time
from typing import Literal

import pytest
from pydantic import SecretStr

from gamebus.catalog import Role
from gamebus.dashboard.sign_in import SESSION_S, Credentials, Sessions, Throttle
from gamebus.gateway.auth import mint_token
from gamebus.settings import AuthSettings, DashboardSettings
from tests.dashboard.kit import SECRET

NOW_MS = time.time_ns() // 1_000_000


def token(role: Role | Literal["operator"] = "operator", *, secret: str = SECRET, ttl_s: float = 3600) -> str:
    return mint_token(secret, sub="ops", role=role, now_ms=NOW_MS, ttl_s=ttl_s)


class TestCredentials:
    credentials = Credentials(DashboardSettings(password=SecretStr("p4ss")), AuthSettings(secret=SecretStr(SECRET)))

    def test_the_password_and_a_token_of_an_operator_are_known(self) -> None:
        """Either of the two; the token names its operator."""
        assert self.credentials.operator("p4ss") == "operator"
        assert self.credentials.operator(token()) == "ops"

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "p4sS",
            "p4ss ",
            "ünïcode",
            pytest.param(token(Role.PLAYER), id="player"),
            pytest.param(token(Role.SERVER), id="server"),
            pytest.param(token(ttl_s=-60), id="expired"),
            pytest.param(token(secret=SECRET[::-1]), id="forged"),
            pytest.param(token()[:-2], id="cut"),
        ],
    )
    def test_nobody_else_is(self, given: str) -> None:
        """Players' tokens are good for playing only; what is expired, forged or cut is nothing."""
        assert self.credentials.operator(given) is None

    def test_without_a_secret_there_are_no_tokens(self) -> None:
        """And without both nobody could ever sign in, which start-up refuses."""
        assert Credentials(DashboardSettings(), AuthSettings()).operator(token()) is None
        assert not Credentials(DashboardSettings(), AuthSettings()).any


class TestSessions:
    def test_a_session_ends(self) -> None:
        """By time and by signing out."""
        sessions = Sessions()
        secret = sessions.open("ops", 0.0)
        assert sessions.operator(secret, SESSION_S - 1) == "ops"
        assert sessions.operator(secret, SESSION_S) is None
        sessions.close(secret)
        assert sessions.operator(secret, 0.0) is None
        assert sessions.operator(None, 0.0) is None
        assert sessions.operator("guess", 0.0) is None

    def test_they_are_bounded(self) -> None:
        """The oldest goes."""
        sessions = Sessions()
        first = sessions.open("ops", 0.0)
        for _ in range(1000):
            last = sessions.open("ops", 0.0)
        assert sessions.operator(first, 0.0) is None
        assert sessions.operator(last, 0.0) == "ops"


class TestThrottle:
    def test_guessing_becomes_slow(self) -> None:
        """Five failures are a person's; each one after that doubles the wait, up to five minutes."""
        throttle = Throttle()
        waits = []
        now = 0.0
        for _ in range(20):
            throttle.failed("here", now)
            waits.append(throttle.wait_s("here", now))
            now += waits[-1]
        assert waits[:8] == [0, 0, 0, 0, 1, 2, 4, 8]
        assert max(waits) == waits[-1] == 300
        assert throttle.wait_s("elsewhere", now) == 0

    def test_success_and_time_forgive(self) -> None:
        """A password that was found again is no attack, and an hour of quiet is enough."""
        throttle = Throttle()
        for _ in range(9):
            throttle.failed("here", 0.0)
            throttle.failed("there", 0.0)
        throttle.succeeded("here")
        assert throttle.wait_s("here", 0.0) == 0
        assert throttle.wait_s("there", 0.0) > 0
        assert throttle.wait_s("there", 3601.0) == 0
