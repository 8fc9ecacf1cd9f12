"""A migration as one more fault: footsteps move to the other delivery class while people play and other things break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

from gamebus.verify import footsteps
from gamebus.verify.cluster import Cluster

_COMMAND: Final = ("migrate", footsteps.TYPE, "--to", "at-least-once", "--yes", "--timeout", "60")
_INTERRUPTED_S: Final = (1.0, 6.0)
_ATTEMPTS: Final = 3


@asynccontextmanager
async def migrate(cluster: Cluster, rng: Random) -> AsyncIterator[None]:
    """The command is killed somewhere on its way, and run again until it is through; once in a run, since it goes one way."""
    with suppress(TimeoutError):
        async with asyncio.timeout(rng.uniform(*_INTERRUPTED_S)):
            await cluster.command(*_COMMAND)
    for _ in range(_ATTEMPTS):
        # While another fault holds it the command gives up, and goes on the next time.
        if await cluster.command(*_COMMAND) == 0:
            break
    yield
