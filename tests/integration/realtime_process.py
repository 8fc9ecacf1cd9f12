"""A realtime publisher or consumer as a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.record import RealtimeRecord
from gamebus.settings import ConsumerSettings
from tests.integration.children import play, say
from tests.integration.realtime_kit import MAX_AGE_MS, publish, publishing, realtime_catalog


class _StuckHandler:
    """Processes the records up to a number, then stands still; says each number that it processed."""

    def __init__(self, stop_before: int | None) -> None:
        self._stop_before = stop_before

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        for record in records:
            number = record.data[0]
            if number == self._stop_before:
                say("stuck")
                await asyncio.Event().wait()
            say("processed", number)


async def _consume(settings: dict[str, Any]) -> None:
    consumer = RealtimeConsumer(
        bootstrap_servers=settings["kafka"],
        group_id=settings["group_id"],
        catalog=realtime_catalog(settings["topic_prefix"], partitions=1),
        settings=ConsumerSettings(session_timeout_ms=1_500),
        handler=_StuckHandler(settings["stop_before"]),
        max_age_ms=MAX_AGE_MS,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await consumer.ready.wait()
        say("ready")
        said = consumer.statistics().commits
        while True:
            await asyncio.sleep(0.05)
            if consumer.statistics().commits > said:
                said = consumer.statistics().commits
                say("commits", said)


async def _publish(settings: dict[str, Any]) -> None:
    catalog = realtime_catalog(settings["topic_prefix"], partitions=1)
    async with publishing(settings["kafka"], catalog, boot="killed") as publisher:
        publish(publisher, 1)
        await asyncio.sleep(0)
        say("written", publisher.statistics().written)
        for number in range(2, 12):
            publish(publisher, number)
        say("buffered", publisher.statistics().attempted - publisher.statistics().written)
        # Nothing is written before the event loop has its next turn, which never comes.
        signal.pause()


if __name__ == "__main__":
    play({"consume": _consume, "publish": _publish})
