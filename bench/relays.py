"""The rivals of a gateway that relays positions; those in Node are installed when they are first needed, which takes npm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import psutil

from bench.servers import module, running

Relay = Literal["socketio naive", "socketio batched", "colyseus", "websockets"]

_FOLDER: Final = Path(__file__).parent / "rivals"


@contextmanager
def relay(kind: Relay, *, cpus: Collection[int] | None = None) -> Iterator[tuple[psutil.Process, str]]:
    """A relay until the block ends; its process and its URL.

    Args:
        kind: `naive`: each position is emitted to its room; `batched`: the newest of each player, at 20 Hz; `colyseus`: schema
            state with patches at 20 Hz; `websockets`: naive, in Python.
        cpus: that it may use.
    """
    name, *arguments = kind.split()
    command = module("bench.rival_relay") if name == "websockets" else _node(name, *arguments)
    with running(command, os.environ, cpus=cpus) as (process, port):
        yield process, f"ws://127.0.0.1:{port.strip()}"


def _node(name: str, *arguments: str) -> list[str]:
    folder = _FOLDER / name
    if not (folder / "node_modules" / ".package-lock.json").exists():
        install = ["npm", "ci", "--no-audit", "--no-fund", "--no-progress"]
        subprocess.run(install, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return ["node", "--expose-gc", str(folder / "relay.js"), *arguments]
