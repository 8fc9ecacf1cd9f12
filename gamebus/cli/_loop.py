"""The event loop of a long-running command: uvloop where it installs, unless the settings say otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from gamebus.delivery import closed_transport
from gamebus.errors import ConfigurationError

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, loop: Literal["auto", "uvloop", "asyncio"]) -> T:
    """Run `main` to its end, as :func:`asyncio.run` does.

    Raises:
        ConfigurationError: uvloop is asked for and not installed.
    """
    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        return runner.run(main)


def _loop_factory(loop: Literal["auto", "uvloop", "asyncio"]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as error:
        if loop == "auto":
            return None
        raise ConfigurationError(
            "GAMEBUS_LOOP is uvloop, which is not installed: pip install 'gamebus[fast]'"
        ) from error
    closed_transport.install()
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
