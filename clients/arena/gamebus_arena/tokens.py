"""Names and tokens of players. Pure: time and the secret are arguments.

Guarantees: two pages that play at the same time have two names; a page that comes back with its key keeps its name, on another
process of the same secret too.
Not guaranteed: that a name belongs to a person. Nobody logs in here; a real game hands out tokens where its players do.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import OrderedDict
from typing import Final, Literal

import jwt

BOT_SUFFIX: Final = ".bot"
"""End of the ids of opponents; no page gets a name that ends so."""

MAX_NAME: Final = 16
TOKEN_LIFE_S: Final = 900
_REMEMBERED: Final = 10_000

_OUTSIDE: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


def clean_name(wanted: str) -> str:
    """A player id as near to what somebody typed as the wire protocol allows; `player` when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode("ascii")
    # No dot: opponents and the game server have one in their ids.
    return _OUTSIDE.sub("-", plain).strip("-_")[:MAX_NAME].rstrip("-_") or "player"


def mint(secret: str, sub: str, role: Literal["player", "server"], room: str, *, now_s: float) -> str:
    """A token for one room (HS256)."""
    claims = {"sub": sub, "role": role, "aud": "gamebus", "rooms": [room], "exp": int(now_s) + TOKEN_LIFE_S}
    return jwt.encode(claims, secret, algorithm="HS256")


class Names:
    """Who plays under which name. Bounded: past :data:`_REMEMBERED` names the one that was asked for longest ago is forgotten.

    Args:
        secret: keys are made of it.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._taken: OrderedDict[str, float] = OrderedDict()

    def key(self, player: str) -> str:
        """What a page shows to get its name again."""
        return hmac.new(self._secret, b"arena name " + player.encode(), hashlib.sha256).hexdigest()[:32]

    def claim(self, wanted: str, key: str | None, *, now_s: float) -> str:
        """The name to play under: `wanted` itself for who holds its key, else one that nobody has had for the life of a token."""
        name = clean_name(wanted)
        if key is None or not hmac.compare_digest(self.key(name), key):
            base, number = name, 1
            while self._taken.get(name, 0.0) > now_s:
                number += 1
                suffix = f"-{number}"
                name = base[: MAX_NAME - len(suffix)] + suffix
        self._taken[name] = now_s + TOKEN_LIFE_S
        self._taken.move_to_end(name)
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return name
