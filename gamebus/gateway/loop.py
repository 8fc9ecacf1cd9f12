"""What the hub needs of an event loop, so that its tests can turn the clock themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class TimerHandle(Protocol):
    """Handle of a timer."""

    def cancel(self) -> None:
        """Call it off."""


class Loop(Protocol):
    """The part of :class:`asyncio.AbstractEventLoop` that the hub uses."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call back in the next iteration."""

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        """Call back at a time."""
