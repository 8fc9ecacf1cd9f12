"""Orders that a run gives to a watched process: what no signal and no proxy can do to it from outside.

An order is written to a file beside the process's history, and SIGUSR1 tells the process to read it. It is carried out by the
recorder (:mod:`gamebus.verify.recorded`), around the code under test and never in it.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Step(StrEnum):
    """Where a processor can die; which come first is the difference between the two classes."""

    BEFORE_HANDLER = "before_handler"
    AFTER_HANDLER = "after_handler"
    BEFORE_COMMIT = "before_commit"
    DURING_COMMIT = "during_commit"
    """The request is on its way, the answer is not there."""
    AFTER_COMMIT = "after_commit"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process shall do from now on; the default is nothing.

    Attributes:
        block_s: keep the event loop for so long, once, now.
        slow_s: each call of a handler takes so much longer.
        clock_s: the wall clock (`time.time`, `time.time_ns`) is off by so much.
        die_at: die by SIGKILL when it comes to this step the next time.
    """

    block_s: float = 0.0
    slow_s: float = 0.0
    clock_s: float = 0.0
    die_at: Step | None = None


def give(orders: Orders, path: Path, pid: int) -> None:
    """Let a process carry out `orders` instead of those before."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(orders)), encoding="utf-8")
    # At once or not at all: the process may be reading.
    new.replace(path)
    os.kill(pid, signal.SIGUSR1)


def read_orders(path: Path) -> Orders:
    """The orders in a file."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    step = fields["die_at"]
    return Orders(**fields | {"die_at": None if step is None else Step(step)})
