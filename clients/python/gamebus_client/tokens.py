"""Where the client gets its tokens from."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Token: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or a function (plain or async) that gives a fresh one; it is called before every connection."""


class TokenSource:
    """The token to say hello with."""

    def __init__(self, token: Token) -> None:
        self._token = token

    @property
    def renewable(self) -> bool:
        """Whether `get` can give another token than before."""
        return not isinstance(self._token, str)

    async def get(self) -> str:
        """A token for the next hello. What the function raises, this raises."""
        if isinstance(self._token, str):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    def replace(self, token: str) -> None:
        """A token that was given by hand takes the place of the one before it."""
        if isinstance(self._token, str):
            self._token = token
