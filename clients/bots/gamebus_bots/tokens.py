"""Tokens that the bots mint for themselves."""

from __future__ import annotations

import time
from typing import Final, Literal

import jwt

_LIFE_S: Final = 3600


def mint(sub: str, role: Literal["player", "server"], secret: str) -> str:
    """A token for one hour (HS256)."""
    claims = {"sub": sub, "role": role, "aud": "gamebus", "exp": int(time.time()) + _LIFE_S}
    return jwt.encode(claims, secret, algorithm="HS256")
