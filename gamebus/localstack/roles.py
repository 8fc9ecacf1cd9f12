"""gamebus's own processes on this machine: started, watched, started again.

A role is one `gamebus` command (`gateway`, `processor realtime`, ...) as a child process. It says that it is ready by one JSON line
on its standard output; its logs go to a file. A role that ends without being told to is started again with back-off, and the
loss is reported. Children die with this process, even when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from gamebus.errors import StackError
from gamebus.localstack.process import last_lines, parent_death_wrapper

_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
# A role that lived for so long was not failing at start-up, so its back-off begins anew.
_HEALTHY_S: Final = 10.0

log = structlog.get_logger(__name__)


class Role:
    """One gamebus process, kept running until :meth:`stop`.

    Args:
        name: for people and for the log file.
        arguments: of the `gamebus` command.
        module: what is run with them; another one may watch the command.
        environment: settings, added to this process's own.
        folder: where the log file goes.
        ready_timeout_s: how long the process may take to its ready line.
        on_ready: called with the decoded ready line, at every start.
    """

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        *,
        environment: Mapping[str, str],
        folder: Path,
        module: tuple[str, ...] = ("gamebus",),
        ready_timeout_s: float = 60.0,
        on_ready: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.log_path = folder / f"{name}.log"
        self._command = (sys.executable, "-m", *module, *arguments)
        self._environment = {**os.environ, **environment}
        self._ready_timeout_s = ready_timeout_s
        self._on_ready = on_ready
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> dict[str, Any]:
        """Start the process and return its ready line.

        Raises:
            StackError: it ended or stayed silent; the message holds the last lines of its log.
        """
        with self.log_path.open("ab") as log_file:
            self._process = await asyncio.create_subprocess_exec(
                *parent_death_wrapper(self._command),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log_file,
                # Ctrl-C in a terminal reaches the parent only, which stops its roles in order.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ready_timeout_s):
                line = await self._process.stdout.readline()
        if not line:
            await self._end()
            raise StackError(
                f"{self.name} did not become ready within {self._ready_timeout_s:.0f} s; the end of {self.log_path}:\n"
                f"{last_lines(self.log_path)}"
            )
        ready: dict[str, Any] = json.loads(line)
        if self._on_ready is not None:
            self._on_ready(ready)
        return ready

    async def watch(self) -> None:
        """Start the process again whenever it ends, until :meth:`stop`."""
        attempt = 0
        while not self._stopping.is_set():
            process = self._process
            if process is not None and process.returncode is None:
                started = time.monotonic()
                code = await process.wait()
                if self._stopping.is_set():
                    return
                attempt = 0 if time.monotonic() - started > _HEALTHY_S else attempt
                log.warning("role.died", role=self.name, exit=_exit_name(code), log=str(self.log_path))
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1
            if self._stopping.is_set():
                return
            self.restarts += 1
            try:
                await self.start()
            except StackError as error:
                log.warning("role.failed", role=self.name, error=str(error))
            else:
                log.info("role.restarted", role=self.name, pid=self.pid, restarts=self.restarts)

    async def stop(self, *, deadline_s: float = 20.0) -> None:
        """Ask the process to end (SIGTERM); kill it when the deadline passes."""
        self._stopping.set()
        await self._end(deadline_s=deadline_s)

    async def _end(self, *, deadline_s: float = 5.0) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(deadline_s):
                await process.wait()
        except TimeoutError:
            log.warning("role.killed", role=self.name, after_s=deadline_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _exit_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else str(code)
