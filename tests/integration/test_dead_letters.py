"""`gamebus dlq` as an operator uses it, on a real broker: what could not be processed is found, read and tried again."""

from __future__ import annotations

from collections.abc import Sequence

from gamebus.catalog import Catalog
from gamebus.delivery.durable_consumer import SourcedRecord
from tests.integration.command_kit import environment, gamebus
from tests.integration.durable_kit import (
    Collector,
    Marks,
    RedisEffects,
    applied,
    chat,
    chat_topic,
    consuming,
    created,
    publishing,
    read_all,
    redis,
    until,
)


def _settings(bootstrap_servers: str, topic_prefix: str) -> dict[str, str]:
    return environment(kafka__bootstrap_servers=bootstrap_servers, kafka__topic_prefix=topic_prefix)


async def _refuse_bad(_: str, records: Sequence[SourcedRecord]) -> None:
    if any(record.record.id.startswith("bad") for record in records):
        raise ArithmeticError("a bug of this version")


async def _bury(bootstrap_servers: str, catalog: Catalog, group_id: str, values: Sequence[bytes]) -> None:
    """Let a consumer with a bug read these values, all of which it cannot handle."""
    topics = [chat_topic(catalog), catalog.dead_letter_topic]
    async with publishing(bootstrap_servers, topics) as publisher:
        for value in values:
            await publisher.publish(topics[0], b"arena", value)
        async with consuming(
            *(bootstrap_servers, catalog, Collector(_refuse_bad), publisher, Marks()),
            group_id=group_id,
            max_attempts=1,
        ) as consumer:
            await until(lambda: consumer.statistics().dead_letters == len(values))


class TestListAndShow:
    async def test_they_say_where_a_letter_is_from_and_what_was_wrong(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """`list` names each letter with source, event id and error; `show` adds the content, decoded where it can be."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1"), b"\xc1 not msgpack"])
        settings = _settings(bootstrap_servers, topic_prefix)

        bad, garbage = (await gamebus(settings, "dlq", "list", "--json")).json
        assert (bad["topic"], bad["partition"], bad["offset"]) == (chat_topic(catalog), 0, 0)
        assert (bad["event"], bad["error"]) == ("ann/bad-1", "ArithmeticError: a bug of this version")
        assert (bad["replayed"], bad["truncated"]) == (None, False)
        assert (garbage["event"], garbage["offset"]) == (None, 1)
        assert "not msgpack" in garbage["error"]

        shown = (await gamebus(settings, "dlq", "show", bad["name"], "--json")).json
        assert (shown["type"], shown["room"], shown["id"], shown["data"]) == ("chat", "arena", "bad-1", {"text": "hi"})
        shown = (await gamebus(settings, "dlq", "show", garbage["name"], "--json")).json
        assert bytes.fromhex(shown["value_hex"]) == b"\xc1 not msgpack"

        text = await gamebus(settings, "dlq", "list")
        assert "ann/bad-1" in text.output
        assert text.errors.strip() == "2 dead letters"
        missing = await gamebus(settings, "dlq", "show", "0/999")
        assert (missing.code, missing.output) == (1, "")
        assert "`gamebus dlq list`" in missing.errors


class TestReplay:
    async def test_it_applies_the_effect_once_and_marks_the_letter(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str
    ) -> None:
        """After the bug is mended: a replay has the event's effect, once; again needs force, and has no second effect."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1"), chat("arena", "bad-2")])
        settings = _settings(bootstrap_servers, topic_prefix)
        first, second = (await gamebus(settings, "dlq", "list", "--json")).json

        async with redis(redis_url, topic_prefix) as connection, publishing(bootstrap_servers, [topic]) as publisher:
            effects = RedisEffects(connection, catalog)
            # Its marks begin after the dead letters, as those of the mended processor do.
            await effects.marks.load([(topic, 0)])
            await effects.marks.advance({(topic, 0): 2})
            async with consuming(
                *(bootstrap_servers, catalog, effects, publisher, effects.marks), group_id=topic_prefix
            ):
                assert (await gamebus(settings, "dlq", "replay", first["name"], "--json")).json == [first["name"]]
                await until(lambda: effects.applied == 1)

                rows = (await gamebus(settings, "dlq", "list", "--json")).json
                assert [row["replayed"] is not None for row in rows] == [True, False]
                pending = (await gamebus(settings, "dlq", "list", "--pending", "--json")).json
                assert [row["name"] for row in pending] == [second["name"]]

                refused = await gamebus(settings, "dlq", "replay", first["name"])
                assert refused.code == 1
                assert "--force" in refused.errors

                forced = await gamebus(settings, "dlq", "replay", first["name"], "--force")
                assert forced.code == 0, forced.errors
                await until(lambda: effects.duplicates == 1)
                assert (await gamebus(settings, "dlq", "replay", "--all", "--json")).json == [second["name"]]
                await until(lambda: effects.applied == 2)
            assert await applied(connection, catalog, ["arena"]) == ["bad-1", "bad-2"]
        assert (await gamebus(settings, "dlq", "replay", "--all", "--json")).json == []
        (records,) = (await read_all(bootstrap_servers, topic)).values()
        assert len(records) == 5

    async def test_what_fails_again_is_a_new_dead_letter(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A replay before the bug is mended blocks nothing: the event comes back under its id, beside the replayed one."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topics = [chat_topic(catalog), catalog.dead_letter_topic]
        settings = _settings(bootstrap_servers, topic_prefix)
        async with publishing(bootstrap_servers, topics) as publisher:
            await publisher.publish(topics[0], b"arena", chat("arena", "bad-1"))
            async with consuming(
                *(bootstrap_servers, catalog, Collector(_refuse_bad), publisher, Marks()),
                group_id=topic_prefix,
                max_attempts=1,
            ) as consumer:
                await until(lambda: consumer.statistics().dead_letters == 1)
                assert len((await gamebus(settings, "dlq", "replay", "--all", "--json")).json) == 1
                await until(lambda: consumer.statistics().dead_letters == 2)
        rows = (await gamebus(settings, "dlq", "list", "--json")).json
        assert [row["event"] for row in rows] == ["ann/bad-1", "ann/bad-1"]
        assert [row["offset"] for row in rows] == [0, 1]
        assert [row["replayed"] is not None for row in rows] == [True, False]
