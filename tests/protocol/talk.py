"""A session under test, its clock, and the tokens that its gateway believes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgpack

from gamebus.catalog import Catalog, Role
from gamebus.catalog_file import parse_catalog
from gamebus.protocol.claims import Claims, TokenRefused
from gamebus.protocol.codes import CloseCode
from gamebus.protocol.effects import Close, Effect, Send
from gamebus.protocol.frames import Encoding
from gamebus.protocol.limits import Limits
from gamebus.protocol.session import Session

CATALOG = parse_catalog()
START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
ROOM = "arena:1"
POSITION = [1, 10.5, 0.25, 33.125]


class Talk:
    """One connection: what is said goes through a real encoding, what comes back are the session's effects.

    Attributes:
        tokens: what `verify` answers; any other token is no token.
    """

    def __init__(
        self,
        role: Role = Role.PLAYER,
        *,
        sub: str = "alice",
        rooms: tuple[str, ...] | None = None,
        encoding: Encoding = Encoding.JSON,
        catalog: Catalog = CATALOG,
        limits: Limits | None = None,
        hello: bool = True,
        wait_ms: int | None = None,
        joined: Sequence[str] = (),
    ) -> None:
        self.now = 5_000.0
        self.now_ms = START_MS
        self.encoding = encoding
        self.tokens: dict[str, Claims | TokenRefused] = {
            "good": Claims(sub, role, START_MS + HOUR_MS, rooms),
            "old": TokenRefused(expired=True, reason="the token expired"),
        }
        self.session = Session(
            catalog, limits or Limits(), self._verify, "s-1", encoding, now=self.now, admit=lambda _: wait_ms
        )
        if hello:
            self.say("hello", "good")
        for room in joined:
            self.say("join", room)

    def _verify(self, token: str, now_ms: int) -> Claims:
        assert now_ms == self.now_ms
        claims = self.tokens.get(token) or TokenRefused(expired=False, reason="no token of ours")
        if isinstance(claims, TokenRefused):
            raise claims
        return claims

    def say(self, *message: Any) -> list[Effect]:
        """Send one message."""
        return self.frame(pack(list(message), self.encoding))

    def frame(self, payload: bytes | str) -> list[Effect]:
        """Send one frame."""
        return self.session.receive(payload, self.now, self.now_ms)

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass."""
        self.now += seconds
        self.now_ms += round(seconds * 1000)
        return self.session.on_time(self.now, self.now_ms)


def pack(value: Any, encoding: Encoding) -> bytes | str:
    """A frame, written by the encoding's own library rather than by gamebus."""
    if encoding is Encoding.JSON:
        return json.dumps(value)
    packed: bytes = msgpack.packb(value)
    return packed


def answers(effects: Sequence[Effect]) -> list[Any]:
    """The messages among `effects`."""
    return [effect.message for effect in effects if isinstance(effect, Send)]


def answer(effects: Sequence[Effect]) -> Any:
    """The only effect, which is a message."""
    assert len(effects) == 1, effects
    return answers(effects)[0]


def code_of(effects: Sequence[Effect]) -> str:
    """The code of the only effect, an `error` or a `nack`."""
    message = answer(effects)
    code: str = message[2] if message[0] == "nack" else message[1]
    assert message[0] in ("error", "nack")
    return code


def closed(effects: Sequence[Effect]) -> CloseCode:
    """The code of the close that ends `effects`."""
    assert isinstance(effects[-1], Close), effects
    return effects[-1].code
