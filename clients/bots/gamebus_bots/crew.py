"""The processes that play a run together, and what they counted, added up.

Guarantees: all begin at the same instant; a process that dies or fails makes the run fail and ends the others; none is left
behind. Rooms are whole within one process, so each process judges delivery and order by itself, and sums are exact.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from gamebus_bots.bots import Bots
from gamebus_bots.clock import clock
from gamebus_bots.config import BotsConfig
from gamebus_bots.precedence import precedence
from gamebus_bots.tally import Tally
from gamebus_bots.worker import LINE_BYTES, config_document

# From the order to start to the start: the order must have reached every process.
_START_IN_S: Final = 0.25
_END_S: Final = 5.0


class CrewError(Exception):
    """The run failed as a whole; the message says why."""


class Crew:
    """One run by one process (this one) or several.

    Args:
        config: of the whole run.
    """

    def __init__(self, config: BotsConfig) -> None:
        self._members: list[_Member] = []
        self._bots: Bots | None = None
        if config.parts == 1:
            self._bots = Bots(config)
        else:
            self._members = [_Member(replace(config, part=part)) for part in range(config.parts)]
        self.started: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """When playing begins."""
        self.pids: list[int] = []
        """Processes that play, beside this one."""
        self.acked: tuple[tuple[str, str, str], ...] = ()

    @property
    def started_s(self) -> float | None:
        """When playing began; None before."""
        return self.started.result() if self.started.done() else None

    def request_stop(self) -> None:
        """Stop playing now, and end as after the full time."""
        if self._bots is not None:
            self._bots.request_stop()
        for member in self._members:
            member.tell({"stop": True})

    def live(self) -> Tally:
        """The run as it stands."""
        if self._bots is not None:
            return self._bots.live()
        return Tally.sum(member.live for member in self._members)

    async def run(self) -> Tally:
        """Play.

        Raises:
            CrewError: a process failed.
            gamebus_client.GameClientError: no gateway.
        """
        if self._bots is not None:
            with precedence():
                tally = await self._bots.run(self._begin)
            self.acked = tuple(self._bots.acked())
            return tally
        try:
            async with asyncio.TaskGroup() as tasks:
                outcomes = [tasks.create_task(member.play()) for member in self._members]
                for member in self._members:
                    await member.ready.wait()
                self.pids = [member.pid for member in self._members]
                start_s = clock() + _START_IN_S
                self.started.set_result(start_s)
                for member in self._members:
                    member.tell({"start_s": start_s})
        except* CrewError as errors:
            raise errors.exceptions[0] from None
        return Tally.sum(outcome.result() for outcome in outcomes)

    async def _begin(self) -> float:
        start_s = clock()
        self.started.set_result(start_s)
        return start_s


class _Member:
    """One process."""

    def __init__(self, config: BotsConfig) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        self.live = Tally()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def tell(self, order: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def play(self) -> Tally:
        """Start the process and read what it says, up to its outcome."""
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from gamebus_bots.worker import main; main()"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            # Ctrl-C is for the first process, which then tells the others.
            start_new_session=True,
        )
        try:
            self.tell(config_document(self._config))
            assert process.stdout is not None
            while line := await process.stdout.readline():
                said = json.loads(line)
                if "outcome" in said:
                    return Tally.decoded(said["outcome"])
                if "failed" in said:
                    raise CrewError(said["failed"])
                if "ready" in said:
                    self.ready.set()
                if "live" in said:
                    self.live = Tally.decoded(said["live"])
            raise CrewError(
                f"process {self._config.part + 1} of {self._config.parts} ended with {await process.wait()} before the run was over"
            )
        finally:
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """The process is gone: by itself when its input ends, else it is made to."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
