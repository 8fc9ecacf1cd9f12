"""A publisher or a consumer as a process of its own, to be killed: `python -m tests.integration.realtime_process ROLE JSON`.

Says one word a line of what it has come to; the test reads them and kills it at the right one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.record import RealtimeRecord
from gamebus.settings import ConsumerSettings
from tests.integration.realtime_kit import MAX_AGE_MS, publish, publishing, realtime_catalog


def _say(word: str, *values: object) -> None:
    sys.stdout.write(" ".join(map(str, (word, *values))) + "\n")
    sys.stdout.flush()


class _StuckHandler:
    """Processes the records up to a number, then stands still; says each number that it processed."""

    def __init__(self, stop_before: int | None) -> None:
        self._stop_before = stop_before

    async def handle(self, records: Sequence[RealtimeRecord]) -> None:
        for record in records:
            number = record.data[0]
            if number == self._stop_before:
                _say("stuck")
                await asyncio.Event().wait()
            _say("processed", number)


async def _consume(settings: dict[str, Any]) -> None:
    consumer = RealtimeConsumer(
        bootstrap_servers=settings["kafka"],
        group_id=settings["group_id"],
        catalog=realtime_catalog(settings["topic_prefix"], partitions=1),
        settings=ConsumerSettings(session_timeout_ms=3_000),
        handler=_StuckHandler(settings["stop_before"]),
        max_age_ms=MAX_AGE_MS,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        await consumer.ready.wait()
        _say("ready")
        said = consumer.statistics().commits
        while True:
            await asyncio.sleep(0.05)
            if consumer.statistics().commits > said:
                said = consumer.statistics().commits
                _say("commits", said)


async def _publish(settings: dict[str, Any]) -> None:
    catalog = realtime_catalog(settings["topic_prefix"], partitions=1)
    # The linger keeps what follows the first record in the buffer.
    async with publishing(settings["kafka"], catalog, boot="killed", linger_ms=1000) as publisher:
        publish(publisher, 1)
        await asyncio.sleep(0)
        _say("written", publisher.statistics().written)
        for number in range(2, 12):
            publish(publisher, number)
        _say("buffered", publisher.statistics().attempted - publisher.statistics().written)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(role: str, **settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; killed at the end if it was not before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, role, json.dumps(settings), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str, *, at_least: int = 0) -> list[list[str]]:
    """What the process says, up to a line that begins with `word` and a number that is large enough."""
    assert process.stdout is not None
    lines: list[list[str]] = []
    async with asyncio.timeout(60):
        while True:
            line = (await process.stdout.readline()).decode().split()
            assert line, f"the process ended before it said {word!r}; it said {lines}"
            lines.append(line)
            if line[0] == word and (len(line) == 1 or int(line[1]) >= at_least):
                return lines


if __name__ == "__main__":
    _ROLES = {"consume": _consume, "publish": _publish}
    asyncio.run(_ROLES[sys.argv[1]](json.loads(sys.argv[2])))
