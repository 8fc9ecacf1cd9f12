"""Calls that wait for an answer of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from gamebus_client.exceptions import RequestTimedOut

Key: TypeAlias = tuple[str, str | int | float]
"""What is awaited: kind of request, and its room, id or number."""


class Waiters:
    """Futures of the calls that wait, by what they wait for. Bounded by the calls of the program."""

    def __init__(self) -> None:
        self._futures: dict[Key, list[asyncio.Future[Any]]] = {}

    def expect(self, key: Key) -> asyncio.Future[Any]:
        """Future of the next answer to `key`; call it before the request is written."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(key, []).append(future)
        return future

    async def answer(self, key: Key, future: asyncio.Future[Any], timeout_s: float) -> Any:
        """Wait for an answer.

        Raises:
            RequestTimedOut: none came in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise RequestTimedOut(f"no answer to {key[0]} {key[1]!r} within {timeout_s} s") from None
        finally:
            self.forget(key, future)

    def forget(self, key: Key, future: asyncio.Future[Any]) -> None:
        """The call no longer waits."""
        futures = self._futures.get(key)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._futures[key]

    def resolve(self, key: Key, value: Any) -> None:
        """Give all calls that wait for `key` their answer."""
        for future in self._futures.pop(key, ()):
            if not future.done():
                future.set_result(value)

    def resolve_all(self, kind: str) -> None:
        """Answer every call of one kind without a value."""
        for key in [key for key in self._futures if key[0] == kind]:
            self.resolve(key, None)

    def reject(self, key: Key, error: Exception) -> bool:
        """Fail all calls that wait for `key`; False when none does."""
        futures = self._futures.pop(key, [])
        for future in futures:
            if not future.done():
                future.set_exception(error)
        return bool(futures)

    def reject_all(self, error: Exception, *, kinds: frozenset[str] | None = None) -> None:
        """Fail every call, or those of some kinds."""
        for key in list(self._futures):
            if kinds is None or key[0] in kinds:
                self.reject(key, error)
