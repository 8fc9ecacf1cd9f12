"""`gamebus dlq` as an operator uses it, on a real broker: what could not be processed is found, read and tried again."""

from __future__ import annotations

from collections.abc import Sequence

from gamebus.catalog import Catalog
from gamebus.delivery.durable_consumer import SourcedRecord
from tests.integration.command_kit import at_terminal, environment, gamebus
from tests.integration.durable_kit import (
    Collector,
    Marks,
    RedisEffects,
    applied,
    chat,
    chat_topic,
    consuming,
    created,
    deleted,
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
                assert (await gamebus(settings, "dlq", "replay", first["name"], "--yes", "--json")).json == [
                    first["name"]
                ]
                await until(lambda: effects.applied == 1)

                rows = (await gamebus(settings, "dlq", "list", "--json")).json
                assert [row["replayed"] is not None for row in rows] == [True, False]
                pending = (await gamebus(settings, "dlq", "list", "--pending", "--json")).json
                assert [row["name"] for row in pending] == [second["name"]]

                refused = await gamebus(settings, "dlq", "replay", first["name"])
                assert refused.code == 1
                assert "--force" in refused.errors

                forced = await gamebus(settings, "dlq", "replay", first["name"], "--force", "--yes")
                assert forced.code == 0, forced.errors
                await until(lambda: effects.duplicates == 1)
                assert (await gamebus(settings, "dlq", "replay", "--all", "--yes", "--json")).json == [second["name"]]
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
                assert len((await gamebus(settings, "dlq", "replay", "--all", "-y", "--json")).json) == 1
                await until(lambda: consumer.statistics().dead_letters == 2)
        rows = (await gamebus(settings, "dlq", "list", "--json")).json
        assert [row["event"] for row in rows] == ["ann/bad-1", "ann/bad-1"]
        assert [row["offset"] for row in rows] == [0, 1]
        assert [row["replayed"] is not None for row in rows] == [True, False]


class TestDiscard:
    async def test_it_marks_the_letter_and_deletes_nothing(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """A discarded letter is no longer pending, can still be read, and is replayed by force alone."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        topic = chat_topic(catalog)
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1"), chat("arena", "bad-2")])
        settings = _settings(bootstrap_servers, topic_prefix)
        first, second = [row["name"] for row in (await gamebus(settings, "dlq", "list", "--json")).json]

        assert (await gamebus(settings, "dlq", "discard", first, "--yes", "--json")).json == [first]

        rows = (await gamebus(settings, "dlq", "list", "--json")).json
        assert [row["discarded"] is not None for row in rows] == [True, False]
        pending = (await gamebus(settings, "dlq", "list", "--pending", "--json")).json
        assert [row["name"] for row in pending] == [second]
        assert (await gamebus(settings, "dlq", "show", first, "--json")).json["id"] == "bad-1"
        again = await gamebus(settings, "dlq", "discard", first, "--yes")
        assert (again.code, again.output) == (1, "")
        assert "discarded before" in again.errors

        refused = await gamebus(settings, "dlq", "replay", first, "--yes")
        assert (refused.code, refused.output) == (1, "")
        assert "--force" in refused.errors
        assert (await gamebus(settings, "dlq", "replay", "--all", "--yes", "--json")).json == [second]
        assert (await gamebus(settings, "dlq", "replay", first, "--force", "--yes", "--json")).json == [first]
        (records,) = (await read_all(bootstrap_servers, topic)).values()
        assert [record.value for record in records[2:]] == [chat("arena", "bad-2"), chat("arena", "bad-1")]
        replayed = await gamebus(settings, "dlq", "discard", second, "--yes")
        assert "nothing to discard" in replayed.errors


class TestChoice:
    async def test_conditions_choose_the_letters(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Type, room, error and time choose what is listed, replayed and discarded; a letter must meet all that are given."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        values = [chat("arena", "bad-1"), chat("lobby", "bad-2"), b"\xc1 not msgpack"]
        await _bury(bootstrap_servers, catalog, topic_prefix, values)
        settings = _settings(bootstrap_servers, topic_prefix)
        rows = (await gamebus(settings, "dlq", "list", "--json")).json
        arena, lobby, garbage = sorted((row["name"] for row in rows), key=lambda name: int(name.partition("/")[2]))

        async def names(*arguments: str) -> list[str]:
            return [row["name"] for row in (await gamebus(settings, "dlq", "list", "--json", *arguments)).json]

        assert await names("--type", "chat") == [arena, lobby]
        assert await names("--type", "kill") == []
        assert await names("--room", "lobby", "--type", "chat") == [lobby]
        assert await names("--error", "NOT MSGPACK") == [garbage]
        assert await names("--since", "1h") == [arena, lobby, garbage]
        assert await names("--since", "2999-01-01T00:00") == []
        wrong = await gamebus(settings, "dlq", "list", "--since", "yesterday")
        assert (wrong.code, wrong.output) == (2, "")
        assert "2h" in wrong.errors

        assert (await gamebus(settings, "dlq", "replay", "--room", "lobby", "--yes", "--json")).json == [lobby]
        discarded = await gamebus(settings, "dlq", "discard", "--error", "not msgpack", "--since", "1h", "-y", "--json")
        assert discarded.json == [garbage]
        assert await names("--pending") == [arena]

        for verb in ("replay", "discard"):
            for arguments in ((), (arena, "--all"), (arena, "--room", "arena")):
                unclear = await gamebus(settings, "dlq", verb, *arguments, "--yes")
                assert (unclear.code, unclear.output) == (2, "")
                assert "--all" in unclear.errors

    async def test_a_letter_that_cannot_be_replayed_does_not_hold_up_the_others(
        self, bootstrap_servers: str, topic_prefix: str
    ) -> None:
        """One of a topic that the catalog no longer has is refused by name, passed over in a choice, and can be discarded."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        dead = catalog.dead_letter_topic
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1")])
        async with publishing(bootstrap_servers, [dead]) as publisher:
            await publisher.publish(dead, b"gone/0", chat("arena", "bad-2"), [("gamebus.topic", b"gone")])
        settings = _settings(bootstrap_servers, topic_prefix)
        good, gone = [row["name"] for row in (await gamebus(settings, "dlq", "list", "--json")).json]

        named = await gamebus(settings, "dlq", "replay", gone, good, "--yes")
        assert (named.code, named.output) == (1, "")
        assert "'gone'" in named.errors
        chosen = await gamebus(settings, "dlq", "replay", "--all", "--yes", "--json")
        assert chosen.json == [good]
        assert f"passed over: dead letter {gone}" in chosen.errors
        assert (await gamebus(settings, "dlq", "discard", "--all", "--yes", "--json")).json == [gone]
        assert (await gamebus(settings, "dlq", "list", "--pending", "--json")).json == []


class TestCare:
    async def test_nothing_is_done_unless_somebody_said_yes(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Where nobody can be asked --yes is demanded; a dry run names the letters; neither writes a record."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1")])
        settings = _settings(bootstrap_servers, topic_prefix)
        for verb in ("replay", "discard"):
            refused = await gamebus(settings, "dlq", verb, "--all")
            assert (refused.code, refused.output) == (2, "")
            assert "--yes" in refused.errors
            dry = await gamebus(settings, "dlq", verb, "--all", "--dry-run")
            assert dry.code == 0, dry.errors
            assert "ann/bad-1" in dry.output
            assert f"would {verb} 1 dead letters" in dry.output
        for topic in (chat_topic(catalog), catalog.dead_letter_topic):
            (records,) = (await read_all(bootstrap_servers, topic)).values()
            assert len(records) == 1

    async def test_a_person_at_a_terminal_is_asked(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """The letters are shown before the question; no leaves everything as it is, yes does it."""
        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1")])
        settings = _settings(bootstrap_servers, topic_prefix)

        no = await at_terminal(settings, "dlq", "discard", "--all", answer="n")
        assert (no.code, no.output) == (1, "")
        assert "ann/bad-1" in no.errors
        assert "discard 1 dead letters?" in no.errors
        assert len((await gamebus(settings, "dlq", "list", "--pending", "--json")).json) == 1

        yes = await at_terminal(settings, "dlq", "discard", "--all", answer="y")
        assert (yes.code, yes.output) == (0, "discarded 1 dead letters\n")
        assert (await gamebus(settings, "dlq", "list", "--pending", "--json")).json == []

    async def test_what_is_not_there_is_said(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """No dead-letter topic, no letters, a wrong name, a source topic that was deleted: each a message, none a traceback."""
        settings = _settings(bootstrap_servers, topic_prefix)
        for arguments in (("list",), ("show", "0/0"), ("replay", "--all", "--yes"), ("discard", "--all", "--yes")):
            missing = await gamebus(settings, "dlq", *arguments)
            assert (missing.code, missing.output) == (1, "")
            assert f"{topic_prefix}dlq" in missing.errors
            assert "gamebus topics create" in missing.errors

        catalog = await created(bootstrap_servers, topic_prefix, partitions=1)
        assert (await gamebus(settings, "dlq", "list", "--json")).json == []
        for verb in ("replay", "discard"):
            empty = await gamebus(settings, "dlq", verb, "--all")
            assert (empty.code, empty.output) == (0, f"{verb}ed 0 dead letters\n")
            wrong = await gamebus(settings, "dlq", verb, "arena", "--yes")
            assert (wrong.code, wrong.output) == (1, "")
            assert "`gamebus dlq list`" in wrong.errors

        await _bury(bootstrap_servers, catalog, topic_prefix, [chat("arena", "bad-1")])
        await deleted(bootstrap_servers, chat_topic(catalog))
        orphan = await gamebus(settings, "dlq", "replay", "--all", "--yes")
        assert (orphan.code, orphan.output) == (1, "")
        assert f"gamebus: topics {chat_topic(catalog)} do not exist" in orphan.errors
        assert len((await gamebus(settings, "dlq", "list", "--pending", "--json")).json) == 1
