"""Who may look: operators with the password of the settings, or with a token of the role `operator`.

Pure but for random numbers; time is an argument.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from gamebus.settings import AuthSettings, DashboardSettings

ROLE: Final = "operator"
SESSION_S: Final = 12 * 3600
"""A browser is asked again after so long."""

_MAX_SESSIONS: Final = 1000
_FREE_FAILURES: Final = 5
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 300.0
_FORGET_S: Final = 3600.0
_MAX_SOURCES: Final = 10_000


class Credentials:
    """Knows an operator.

    Args:
        settings: the password.
        auth: keys of tokens; those signed with the shared secret are taken here.
    """

    def __init__(self, settings: DashboardSettings, auth: AuthSettings) -> None:
        self._password = settings.password.get_secret_value() if settings.password else None
        self._secret = auth.secret.get_secret_value() if auth.secret else None
        self._audience = auth.audience
        self._leeway_s = auth.leeway_s

    @property
    def any(self) -> bool:
        """Whether anybody could sign in."""
        return self._password is not None or self._secret is not None

    def operator(self, given: str) -> str | None:
        """Name of the operator who knows `given`, a password or a token; None for a stranger."""
        if self._password is not None and hmac.compare_digest(given.encode(), self._password.encode()):
            return ROLE
        if self._secret is None:
            return None
        try:
            claims: Mapping[str, Any] = jwt.decode(
                given,
                self._secret,
                algorithms=["HS256"],
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "sub", "aud"]},
            )
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"]) if claims.get("role") == ROLE else None


class Sessions:
    """Browsers that have signed in, by the secret in their cookie. The oldest goes when there are too many."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def open(self, operator: str, now: float) -> str:
        """A new session; returns its secret."""
        secret = secrets.token_urlsafe(32)
        self._sessions[secret] = (operator, now + SESSION_S)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return secret

    def operator(self, secret: str | None, now: float) -> str | None:
        """Whose session it is; None when it is over or never was."""
        operator, until = self._sessions.get(secret or "", ("", 0.0))
        return operator if now < until else None

    def close(self, secret: str | None) -> None:
        """End a session."""
        self._sessions.pop(secret or "", None)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class Throttle:
    """Slows down whoever guesses: after five failures of one source each one doubles its wait, up to five minutes.

    Bounded: past :data:`_MAX_SOURCES` sources the one that was quiet for longest is forgotten.
    """

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, source: str, now: float) -> float:
        """How long this source has to wait before its next try; 0: it may try now."""
        failures = self._sources.get(source)
        if failures is None or failures.count < _FREE_FAILURES or now - failures.last > _FORGET_S:
            return 0.0
        wait_s = min(_FIRST_WAIT_S * 2.0 ** (failures.count - _FREE_FAILURES), _LONGEST_WAIT_S)
        return max(0.0, failures.last + wait_s - now)

    def failed(self, source: str, now: float) -> None:
        """A try of this source failed."""
        failures = self._sources.pop(source, None)
        if failures is None or now - failures.last > _FORGET_S:
            failures = _Failures(0, now)
        failures.count, failures.last = failures.count + 1, now
        self._sources[source] = failures
        if len(self._sources) > _MAX_SOURCES:
            self._sources.popitem(last=False)

    def succeeded(self, source: str) -> None:
        """A try of this source was right."""
        self._sources.pop(source, None)
