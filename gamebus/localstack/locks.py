"""Locks among the processes of one user, on files, and the folder where what they share is kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """What all stacks of a user share: Kafka's jars, port reservations (XDG base directory specification)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    return (Path(root) if root.startswith("/") else Path.home() / ".cache") / "gamebus"


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold `path` exclusively; waits for the holder, in another process or thread.

    The kernel releases it when the holder dies. The holder may move the file away, with its folder: who waits then takes the
    file that is there now.
    """
    while True:
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            # The folder was moved away between its making and the opening.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Lock `path` without waiting: the descriptor that holds it until it is closed, or None while another holds it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is still the one at `path`: the holder before may have moved it away."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
