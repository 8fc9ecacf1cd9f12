"""Cancellations that nobody asked for.

aiokafka cancels tasks of its own and awaits them without catching what that raises when such a task has not run yet
(`NoGroupCoordinator.close`, `Fetcher.close`, 0.14): CancelledError comes out of a call in a task that was never cancelled. A task
that lets it through ends as if it had been cancelled, which `asyncio.TaskGroup` takes for nothing: it goes on without that task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaConnectionError


@contextmanager
def foreign_cancellation() -> Iterator[None]:
    """Turn a CancelledError into a KafkaConnectionError unless this task was cancelled within the block (a timeout included)."""
    task = asyncio.current_task()
    assert task is not None, "a task awaits"
    before = task.cancelling()
    try:
        yield
    except asyncio.CancelledError as error:
        if task.cancelling() > before:
            raise
        raise KafkaConnectionError("aiokafka cancelled a call that nobody had cancelled") from error
