"""A durable consumer as a process of its own, to be killed between the effects of its records and their commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gamebus.delivery.durable_consumer import SourcedRecord
from tests.integration.children import play, say
from tests.integration.durable_kit import RedisEffects, chat_catalog, chat_topic, consuming, publishing, redis


async def _stand_still(_: str, records: Sequence[SourcedRecord]) -> None:
    say("applied", len(records))
    await asyncio.Event().wait()


async def _consume(settings: dict[str, Any]) -> None:
    kafka, prefix = settings["kafka"], settings["topic_prefix"]
    catalog = chat_catalog(prefix, partitions=1)
    async with redis(settings["redis"], prefix) as connection, publishing(kafka, [chat_topic(catalog)]) as publisher:
        effects = RedisEffects(connection, catalog, after=_stand_still)
        async with consuming(
            kafka, catalog, effects, publisher, effects.marks, group_id=prefix, session_timeout_ms=1_500
        ):
            await asyncio.Event().wait()


if __name__ == "__main__":
    play({"consume": _consume})
