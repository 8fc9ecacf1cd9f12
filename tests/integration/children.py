"""Processes that tests kill: `python -m MODULE ROLE JSON`.

A process says one word a line of what it has come to; the test reads them and kills it at the right one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.durable_kit import WAIT_S


def say(word: str, *values: object) -> None:
    """In the process: say a word, with values, in one line."""
    sys.stdout.write(" ".join(map(str, (word, *values))) + "\n")
    sys.stdout.flush()


def play(roles: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]]) -> None:
    """In the process: play the role of the command line."""

    async def main() -> None:
        await roles[sys.argv[1]](json.loads(sys.argv[2]))

    asyncio.run(main())


@asynccontextmanager
async def running(module: str, role: str, **settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; killed at the end if it was not before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.integration.{module}", role, json.dumps(settings)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str, *, at_least: int = 0) -> list[list[str]]:
    """What the process says, up to a line that begins with `word` and a number that is large enough."""
    assert process.stdout is not None
    lines: list[list[str]] = []
    async with asyncio.timeout(WAIT_S):
        while True:
            line = (await process.stdout.readline()).decode().split()
            assert line, f"the process ended before it said {word!r}; it said {lines}"
            lines.append(line)
            if line[0] == word and (len(line) == 1 or int(line[1]) >= at_least):
                return lines
