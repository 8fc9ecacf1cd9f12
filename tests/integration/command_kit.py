"""`gamebus` commands as a user runs them: processes with settings in their environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.durable_kit import WAIT_S


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """Standard output, which is one JSON document and nothing else."""
        assert self.code == 0, self.errors
        return json.loads(self.output)


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process with these settings of gamebus, and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GAMEBUS_")}
    return inherited | {f"GAMEBUS_{name.upper()}": value for name, value in settings.items()}


async def gamebus(settings: Mapping[str, str], *arguments: str, deadline_s: float = WAIT_S) -> Result:
    """Run a command to its end; it has no terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamebus", *arguments),
        env=settings,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(deadline_s):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Result(process.returncode, output.decode(), errors.decode())


async def at_terminal(settings: Mapping[str, str], *arguments: str, answer: str) -> Result:
    """Run a command whose standard input is a terminal, at which somebody types `answer`."""
    master, terminal = os.openpty()
    try:
        os.write(master, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gamebus", *arguments),
            env=settings,
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT_S):
            output, errors = await process.communicate()
    finally:
        os.close(master)
        os.close(terminal)
    assert process.returncode is not None
    return Result(process.returncode, output.decode(), errors.decode())


@dataclass(frozen=True)
class Service:
    """A command that runs until it is told to end."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    log: Path

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()

    def events(self) -> list[str]:
        """The names of what it logged, in order."""
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def serving(settings: Mapping[str, str], *arguments: str, log: Path) -> AsyncIterator[Service]:
    """A running command that has said that it is ready; killed at the end if it still runs."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gamebus", *arguments), env=settings, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S):
            line = await process.stdout.readline()
        assert line, f"it ended before it was ready, see {log}"
        yield Service(process, json.loads(line), log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
