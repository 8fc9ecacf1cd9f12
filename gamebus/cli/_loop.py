"""The event loop of a long-running command: uvloop where it installs, unless the settings say otherwise.

Garbage collection is made rarer there. By CPython's default a collection begins after 700 containers, and a thousand players have more
than that in every tick, so that full collections, 30 ms each, came every second: the p99 age of a position was 92 ms, and is 62
(1,200 players on one core; docs/performance.md). Nothing here depends on the collector: reference counts free what a message leaves
behind, and what a connection does waits for a full collection, of which there is one for each million containers, at most.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeVar

from gamebus.delivery import closed_transport
from gamebus.errors import ConfigurationError

T = TypeVar("T")

# Containers before a collection of the young; young before one of the middle; middle before a full one.
_THRESHOLDS: Final = (10_000, 10, 10)


def run(main: Coroutine[Any, Any, T], *, loop: Literal["auto", "uvloop", "asyncio"]) -> T:
    """Run `main` to its end, as :func:`asyncio.run` does.

    Raises:
        ConfigurationError: uvloop is asked for and not installed.
    """
    gc.set_threshold(*_THRESHOLDS)
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
