"""Commits of the realtime consumer: one at a time, each tried once.

aiokafka repeats a commit that failed for a passing reason, in whatever generation the member is by then: a commit begun before a
rebalance can arrive after it and rewind a partition that another member reads (group_coordinator.py, `commit_offsets`; the
broker checks the member, not the ownership). So a commit has a deadline, and the member rejoins only when it has ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

Offsets = dict[TopicPartition, OffsetAndMetadata]

_TIMEOUT_S: Final = 2.0  # a batch that waits longer for its commit is stale anyway


class RealtimeCommitter:
    """Commits the offsets of one consumer at a time.

    Attributes:
        commits: commits tried.
        failures: commits that failed, or whose outcome is unknown.
        seconds: time that all of them took.
        failure: why the last failure failed.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.failures = 0
        self.seconds = 0.0
        self.failure = ""
        self.committed_at = 0.0
        """When the last commit was tried, monotonic seconds."""

        self._task: asyncio.Task[None] | None = None

    async def commit(self, consumer: AIOKafkaConsumer, offsets: Offsets) -> bool:
        """Commit; false when that failed or nobody knows. Never called while another commit is running."""
        assert self._task is None, "another commit is running"
        began = self.committed_at = time.monotonic()
        task = self._task = asyncio.create_task(consumer.commit(offsets))
        try:
            await asyncio.wait((task,), timeout=_TIMEOUT_S)
        finally:
            self._task = None
            task.cancel()  # nothing to cancel when it is done
        await asyncio.wait((task,))
        self.commits += 1
        self.seconds += time.monotonic() - began
        if task.cancelled():
            return self._failed("outcome unknown")
        error = task.exception()
        if error is None:
            return True
        if not isinstance(error, KafkaError):
            raise error
        return self._failed(str(error))

    def cancel(self) -> None:
        """Give up the commit that is running: its outcome is unknown then."""
        if self._task is not None:
            self._task.cancel()

    def _failed(self, why: str) -> bool:
        self.failures += 1
        self.failure = why
        return False
