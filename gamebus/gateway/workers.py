"""Several gateway processes that share one port (SO_REUSEPORT), and the parent that keeps them running.

The kernel spreads new connections over the workers. Guarantees: a worker that dies is started again, with back-off when it keeps
dying; SIGTERM and SIGINT reach all workers, which drain; workers notice the death of the parent, however it dies, and drain as well.
Not guaranteed: that the connections of a dead worker survive; clients reconnect and resume, here or elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog

from gamebus.errors import ConfigurationError
from gamebus.gateway.server import bind
from gamebus.settings import GatewaySettings

_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
# A worker that lived for so long was not failing at its start, so its back-off begins anew.
_HEALTHY_S: Final = 10.0
_READY_TIMEOUT_S: Final = 60.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)

Ready = Callable[[dict[str, Any]], None]


async def run(settings: GatewaySettings, *, ready: Ready | None = None) -> None:
    """Run `settings.workers` gateways until SIGTERM or SIGINT; a second signal kills them.

    Args:
        ready: called once, when all of them serve, with the shared address and what each worker said.
    Raises:
        ConfigurationError: the port is taken, or a worker cannot start; its log says why.
    """
    # Reserves the port for the workers without taking connections: only sockets that listen are given any.
    with bind(settings.host, settings.port, reuse_port=True) as reserved:
        port = reserved.getsockname()[1]
        workers = [Worker(index, settings, port=port) for index in range(settings.workers)]
        with _forward_signals(workers):
            try:
                await _serve(workers, ready)
            finally:
                await asyncio.gather(*(worker.end() for worker in workers))


async def _serve(workers: list[Worker], ready: Ready | None) -> None:
    lines = await asyncio.gather(*(worker.start() for worker in workers))
    if any(line is None for line in lines):
        if all(worker.stopping for worker in workers):
            return
        raise ConfigurationError("a gateway worker did not start; its log above says why")
    said = [line for line in lines if line is not None]
    log.info("workers.ready", workers=len(workers), url=said[0]["gateway"])
    if ready is not None:
        ready(
            {
                "gateway": said[0]["gateway"],
                "ops": said[0]["ops"],
                "boots": [line["boot"] for line in said],
                "workers": [
                    {"pid": worker.pid, "ops": line["ops"]} for worker, line in zip(workers, said, strict=True)
                ],
            }
        )
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.watch())


class Worker:
    """One worker process.

    Its standard input is a pipe that nobody writes to: it ends when this process does (:func:`stop_with_parent`).
    """

    def __init__(self, index: int, settings: GatewaySettings, *, port: int) -> None:
        self._stopping = asyncio.Event()
        self._index = index
        self._settings = settings
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the newest process."""
        return None if self._process is None else self._process.pid

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    async def start(self) -> dict[str, Any] | None:
        """Start the process; returns its ready line, or None when it ended or stayed silent."""
        ops_port = self._settings.ops_port + self._index if self._settings.ops_port else 0
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gamebus", "gateway", "--as-worker", "--workers", "1"),
            *("--host", self._settings.host, "--port", str(self._port), "--ops-port", str(ops_port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C in a terminal reaches the parent only, which forwards it.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_TIMEOUT_S):
                line = await self._process.stdout.readline()
        if not line:
            await self.end()
            return None
        ready: dict[str, Any] = json.loads(line)
        return ready

    async def watch(self) -> None:
        """Start the process again whenever it ends, until it is told to stop."""
        attempt = 0
        started = time.monotonic()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self.stopping:
                return
            attempt = 0 if time.monotonic() - started > _HEALTHY_S else attempt
            wait_s = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            log.warning("worker.died", worker=self._index, exit=code, again_in_s=wait_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
                    return
            attempt += 1
            started = time.monotonic()
            if await self.start() is not None:
                log.info("worker.restarted", worker=self._index, pid=self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Forward a signal that asks to stop."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def end(self) -> None:
        """Make sure that the process has ended: wait as long as a drain may take, then kill it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        # A second signal would end it at once.
        if not self.stopping:
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000 + 15):
                await process.wait()
        except TimeoutError:
            log.warning("worker.killed", worker=self._index)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def stop_with_parent(descriptor: int) -> None:
    """Send this process SIGTERM when the pipe at `descriptor` ends, which it does with the process that holds its other end."""

    def watch() -> None:
        while os.read(descriptor, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@contextlib.contextmanager
def _forward_signals(workers: list[Worker]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def forward(number: signal.Signals) -> None:
        for worker in workers:
            worker.signal(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, forward, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
