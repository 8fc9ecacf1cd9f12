"""The Socket.IO relay of `rivals/socketio`, installed when it is first needed; it takes Node and npm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench.servers import running

_FOLDER: Final = Path(__file__).parent / "rivals" / "socketio"


@contextmanager
def relay(kind: str, *, cpus: Collection[int] | None = None) -> Iterator[tuple[psutil.Process, str]]:
    """A relay until the block ends; its process and its URL.

    Args:
        kind: `naive`: each position is emitted to its room; `batched`: the newest of each player, at 20 Hz.
        cpus: that it may use.
    """
    if not (_FOLDER / "node_modules" / ".package-lock.json").exists():
        install = ["npm", "ci", "--no-audit", "--no-fund", "--no-progress"]
        subprocess.run(install, cwd=_FOLDER, stdout=subprocess.DEVNULL, check=True)
    command = ["node", "--expose-gc", str(_FOLDER / "relay.js"), kind]
    with running(command, os.environ, cpus=cpus) as (process, port):
        yield process, f"ws://127.0.0.1:{port.strip()}"
