"""The restart of a broker of the local stack, in the middle of a run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gamebus_bots.scenario import BrokerRestart


class NoStack(Exception):
    """There is no local stack to break; the message says what to do."""


async def find_broker(scenario: BrokerRestart, folder: Path) -> int:
    """Process id of the broker.

    Raises:
        NoStack: it does not run.
    """
    for server in await _status(folder):
        if server["name"] == scenario.broker and server["running"]:
            return int(server["pid"])
    raise NoStack(
        f"no broker {scenario.broker} runs in {folder}: this scenario needs `gamebus dev` or `gamebus stack up` on this machine "
        "(--folder names theirs)"
    )


async def kill(scenario: BrokerRestart, folder: Path) -> None:
    """Kill the broker."""
    os.kill(await find_broker(scenario, folder), signal.SIGKILL)


async def bring_back(folder: Path) -> None:
    """See to it that a killed broker comes back; returns when it serves again.

    `gamebus dev` may be quicker in starting it again: the stack's lock lets one of the two do it.
    """
    process = await _gamebus("stack", "up", "--folder", str(folder))
    await process.communicate()
    if process.returncode != 0:
        raise NoStack(
            f"the broker did not come back: `gamebus stack up --folder {folder}` ended with {process.returncode}"
        )


async def _status(folder: Path) -> list[dict[str, Any]]:
    process = await _gamebus("stack", "status", "--json", "--folder", str(folder))
    out, _ = await process.communicate()
    try:
        found: list[dict[str, Any]] = json.loads(out)
    except ValueError:
        return []
    return found


async def _gamebus(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamebus", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # What it starts outlives this run, and its Ctrl-C.
        start_new_session=True,
    )
