"""Cancellations from within aiokafka."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from gamebus.delivery.foreign_cancellation import foreign_cancellation


async def cancelled_from_within() -> None:
    """What aiokafka does when it closes: await a task that was cancelled before it ran."""
    task = asyncio.ensure_future(asyncio.sleep(1))
    task.cancel()
    await task


class TestForeignCancellation:
    async def test_a_cancellation_of_nobody_s_is_an_error(self) -> None:
        """A task group would take it for an orderly end and go on without the task."""
        with pytest.raises(KafkaConnectionError):
            with foreign_cancellation():
                await cancelled_from_within()

    async def test_also_while_the_task_is_being_cancelled(self) -> None:
        """Closing in a `finally` goes on."""

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                with pytest.raises(KafkaConnectionError):
                    with foreign_cancellation():
                        await cancelled_from_within()

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def test_one_s_own_goes_through(self) -> None:
        """Whoever cancels the task, or sets it a deadline, gets what they asked for."""

        async def work() -> None:
            with foreign_cancellation():
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await work()
