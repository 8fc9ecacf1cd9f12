"""The catalog file: what start-up refuses, and what it makes of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus import events
from gamebus.catalog import Catalog, DeliveryClass, Profile, Role, Topic
from gamebus.catalog_file import parse_catalog
from gamebus.errors import CatalogError, ConfigurationError

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
FOOTSTEP = {
    "delivery": '"at-most-once"',
    "topic": '"gamebus.footstep"',
    "rationale": '"the next step comes within 300 ms"',
}
LOOT = {"delivery": '"at-least-once"', "topic": '"gamebus.loot"'}


def table(header: str, fields: dict[str, str]) -> str:
    """A TOML table."""
    return f"[{header}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


def refused(text: str, **options: Any) -> CatalogError:
    """The error that stops the process."""
    with pytest.raises(CatalogError) as caught:
        parse_catalog(text, file="gamebus.toml", **options)
    return caught.value


class TestBuiltIn:
    @pytest.mark.parametrize(
        ("name", "delivery", "topic", "roles", "per_second"),
        [
            ("position", "at-most-once", "gamebus.position", {"player", "server"}, 60),
            ("heartbeat", "at-most-once", "gamebus.heartbeat", {"player", "server"}, 5),
            ("kill", "at-least-once", "gamebus.combat", {"server"}, 1000),
            ("death", "at-least-once", "gamebus.combat", {"server"}, 1000),
            ("chat", "at-least-once", "gamebus.chat", {"player", "server"}, 10),
        ],
    )
    def test_types(self, name: str, delivery: str, topic: str, roles: set[str], per_second: float) -> None:
        """Delivery classes: the heart of the project."""
        event_type = parse_catalog().types[name]

        assert event_type.delivery == delivery
        assert event_type.durable is (delivery == "at-least-once")
        assert event_type.topic == topic
        assert event_type.key == "room"
        assert event_type.roles == roles
        assert event_type.per_second == per_second
        assert event_type.validate is events.VALIDATORS[name]

    def test_are_the_only_ones(self) -> None:
        """The catalog carries what the wire protocol names."""
        assert list(parse_catalog().types) == ["position", "heartbeat", "kill", "death", "chat"]

    @pytest.mark.parametrize(
        ("name", "partitions", "replicas", "min_insync", "retention_ms"),
        [
            ("gamebus.position", 12, 2, 1, 10 * MINUTE_MS),
            ("gamebus.heartbeat", 6, 2, 1, 10 * MINUTE_MS),
            ("gamebus.combat", 12, 3, 2, 7 * DAY_MS),
            ("gamebus.chat", 12, 3, 2, 7 * DAY_MS),
            ("gamebus.reports", 3, 3, 2, DAY_MS),
            ("gamebus.dlq", 3, 3, 2, 30 * DAY_MS),
            ("gamebus.catalog", 1, 3, 2, -1),
        ],
    )
    def test_topics(self, name: str, partitions: int, replicas: int, min_insync: int, retention_ms: int) -> None:
        """Topics and their defaults, as the delivery rules list them."""
        topic = parse_catalog().topics[name]

        assert (topic.partitions, topic.replicas) == (partitions, replicas)
        assert (topic.min_insync_replicas, topic.retention_ms) == (min_insync, retention_ms)

    def test_realtime_types_state_why_their_loss_is_acceptable(self) -> None:
        """An at-most-once type must state a `rationale`: the seed's first anti-pattern is critical data sent without one."""
        assert all((kind.rationale is None) is kind.durable for kind in parse_catalog().types.values())

    def test_topic_prefix(self) -> None:
        """Several games can share a cluster."""
        catalog = parse_catalog(topic_prefix="eu.")

        own = {"eu.reports", "eu.dlq", "eu.catalog"}
        assert set(catalog.topics) == {"eu.position", "eu.heartbeat", "eu.combat", "eu.chat"} | own
        assert (catalog.reports_topic, catalog.dead_letter_topic) == ("eu.reports", "eu.dlq")


class TestOwnTypes:
    def test_realtime(self) -> None:
        """A `gamebus.toml` may add types."""
        catalog = parse_catalog(
            table("types.footstep", FOOTSTEP | {"per_second": "12.5", "max_bytes": "64", "key": '"player"'})
        )
        footstep = catalog.types["footstep"]

        assert not footstep.durable
        assert (footstep.per_second, footstep.max_bytes, footstep.key) == (12.5, 64, "player")
        assert footstep.rationale == "the next step comes within 300 ms"
        assert footstep.validate is events.any_value
        assert catalog.topics["gamebus.footstep"] == Topic(
            "gamebus.footstep", DeliveryClass.AT_MOST_ONCE, 12, 2, 1, 10 * MINUTE_MS
        )

    def test_durable(self) -> None:
        """An at-least-once type needs nothing but its topic."""
        catalog = parse_catalog(table("types.loot", LOOT))
        loot = catalog.types["loot"]

        assert loot.durable
        assert (loot.per_second, loot.max_bytes, loot.key, loot.rationale) == (20, 4096, "room", None)
        assert loot.roles == {Role.PLAYER, Role.SERVER}
        assert catalog.topics["gamebus.loot"] == Topic(
            "gamebus.loot", DeliveryClass.AT_LEAST_ONCE, 12, 3, 2, 7 * DAY_MS
        )

    def test_may_share_a_topic_of_their_class(self) -> None:
        """A topic carries any number of types of one class."""
        catalog = parse_catalog(table("types.loot", LOOT | {"topic": '"gamebus.combat"'}))

        assert [event_type.name for event_type in catalog.types_of("gamebus.combat")] == ["kill", "death", "loot"]

    def test_tune_a_built_in_type(self) -> None:
        """A `gamebus.toml` may tune types; what it does not name stays."""
        catalog = parse_catalog(table("types.position", {"per_second": "30", "roles": '["server"]'}))
        position = catalog.types["position"]

        assert position.roles == {Role.SERVER}
        assert (position.topic, position.per_second, position.max_bytes) == ("gamebus.position", 30, 128)

    def test_move_a_built_in_type_within_its_class(self) -> None:
        """A type may have a topic of its own, which then leaves the shared one."""
        catalog = parse_catalog(table("types.death", {"topic": '"gamebus.deaths"'}))

        assert catalog.types["death"].topic == "gamebus.deaths"
        assert [event_type.name for event_type in catalog.types_of("gamebus.combat")] == ["kill"]

    def test_telemetry_profile(self) -> None:
        """The `telemetry` profile for high-volume data."""
        catalog = parse_catalog(table("types.footstep", FOOTSTEP | {"profile": '"telemetry"'}))

        assert catalog.topics["gamebus.footstep"].profile is Profile.TELEMETRY
        assert catalog.topics["gamebus.position"].profile is Profile.REALTIME

    def test_tune_a_topic(self) -> None:
        """Every number of a topic is a setting."""
        numbers = {"partitions": "24", "replicas": "5", "min_insync_replicas": "3", "retention_ms": "3600000"}
        topic = parse_catalog(table('topics."gamebus.chat"', numbers)).topics["gamebus.chat"]

        assert topic == Topic("gamebus.chat", DeliveryClass.AT_LEAST_ONCE, 24, 5, 3, 3_600_000)

    def test_tune_a_topic_of_gamebus_itself(self) -> None:
        """Reports and dead letters are topics like others."""
        assert parse_catalog(table('topics."gamebus.dlq"', {"partitions": "1"})).topics["gamebus.dlq"].partitions == 1


class TestMixedClasses:
    """A topic belongs to exactly one class; the message names file, type, topic and rule."""

    @pytest.mark.parametrize(
        ("fields", "topic", "other"),
        [
            (FOOTSTEP | {"topic": '"gamebus.combat"'}, "gamebus.combat", "kill"),
            (LOOT | {"topic": '"gamebus.position"'}, "gamebus.position", "position"),
        ],
    )
    def test_one_topic_in_two_classes(self, fields: dict[str, str], topic: str, other: str) -> None:
        """Start-up fails with a message that names the topic, both classes and both event types."""
        error = refused(table("types.mixed", fields))

        assert (error.file, error.event_type, error.topic) == ("gamebus.toml", "mixed", topic)
        for word in ("gamebus.toml", "'mixed'", topic, f"'{other}'", "at-most-once", "at-least-once"):
            assert word in str(error)

    def test_of_two_own_types(self) -> None:
        """The rule holds among a studio's own types too."""
        text = table("types.footstep", FOOTSTEP) + table("types.loot", LOOT | {"topic": '"gamebus.footstep"'})

        assert {"'footstep'", "'loot'"} <= set(refused(text).rule.replace(";", "").split())

    @pytest.mark.parametrize(("name", "topic"), [("position", "gamebus.chat"), ("chat", "gamebus.position")])
    def test_a_built_in_type_moves_into_the_other_class(self, name: str, topic: str) -> None:
        """A type that moves into the other class's topic is refused, and the entry of the file is named."""
        error = refused(table(f"types.{name}", {"topic": f'"{topic}"'}))

        assert (error.event_type, error.topic) == (name, topic)

    @pytest.mark.parametrize(("name", "delivery"), [("position", "at-least-once"), ("kill", "at-most-once")])
    def test_a_built_in_type_changes_its_class(self, name: str, delivery: str) -> None:
        """A built-in type never changes its class."""
        error = refused(table(f"types.{name}", {"delivery": f'"{delivery}"'}))

        assert error.event_type == name
        assert f"cannot become {delivery}" in error.rule

    @pytest.mark.parametrize("key", ["partitions", "retention_ms"])
    def test_the_log_of_generations_is_as_it_is(self, key: str) -> None:
        """One partition, because its order counts; kept for ever, because an old generation says where a type was."""
        assert (
            "is fixed"
            in refused(table('topics."gamebus.catalog"', {key: "60000" if key == "retention_ms" else "2"})).rule
        )

    @pytest.mark.parametrize("topic", ["gamebus.reports", "gamebus.dlq", "gamebus.catalog"])
    def test_topics_of_gamebus_itself(self, topic: str) -> None:
        """Events do not travel among reports and dead letters."""
        assert refused(table("types.loot", LOOT | {"topic": f'"{topic}"'})).topic == topic


class TestRefusals:
    @pytest.mark.parametrize("rationale", [None, '""', '"no"', '"          "', "5", "true"])
    def test_no_rationale(self, rationale: str | None) -> None:
        """An at-most-once type must state a `rationale` (why its loss is acceptable)."""
        fields = {key: value for key, value in FOOTSTEP.items() if key != "rationale"}
        error = refused(table("types.footstep", fields | ({} if rationale is None else {"rationale": rationale})))

        assert error.event_type == "footstep"
        assert "rationale" in error.rule

    def test_rationale_of_what_is_not_lost(self) -> None:
        """An at-least-once type has nothing to excuse."""
        assert "rationale" in refused(table("types.loot", LOOT | {"rationale": '"it may well be lost"'})).rule

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("delivery", '"exactly-once"'),
            ("delivery", "5"),
            ("topic", '""'),
            ("topic", '".."'),
            ("topic", '"no topic"'),
            ("topic", "5"),
            ("topic", '"' + "x" * 250 + '"'),
            ("key", '"match"'),
            ("key", "5"),
            ("roles", '["admin"]'),
            ("roles", "5"),
            ("roles", "[5]"),
            ("per_second", "0"),
            ("per_second", "0.05"),
            ("per_second", "100001"),
            ("per_second", "nan"),
            ("per_second", "inf"),
            ("per_second", "true"),
            ("per_second", '"5"'),
            ("max_bytes", "0"),
            ("max_bytes", "60001"),
            ("max_bytes", "1.5"),
            ("max_bytes", "true"),
            ("profile", '"fast"'),
            ("retries", "3"),
        ],
    )
    def test_of_a_type(self, key: str, value: str) -> None:
        """Unknown keys, limits out of range: the message names file, type and rule."""
        error = refused(table("types.footstep", FOOTSTEP | {key: value}))

        assert (error.file, error.event_type) == ("gamebus.toml", "footstep")
        assert "gamebus.toml" in str(error)
        assert "'footstep'" in str(error)
        assert key in error.rule

    @pytest.mark.parametrize("missing", ["delivery", "topic"])
    def test_missing_keys(self, missing: str) -> None:
        """A type has a class and a topic."""
        fields = {key: value for key, value in FOOTSTEP.items() if key != missing}

        assert missing in refused(table("types.footstep", fields)).rule

    @pytest.mark.parametrize("name", ["Footstep", "9lives", '"foot step"', '""', '"é"', "x" * 65])
    def test_names_of_types(self, name: str) -> None:
        """A type's name is 1..64 of a-z 0-9 _ -, beginning with a letter."""
        assert "name" in refused(table(f"types.{name}", FOOTSTEP)).rule

    def test_durable_types_are_keyed_by_room(self) -> None:
        """Durable events keep their order in a room."""
        assert "key" in refused(table("types.loot", LOOT | {"key": '"player"'})).rule

    def test_durable_types_have_no_profile(self) -> None:
        """A profile tunes the realtime producer."""
        assert "profile" in refused(table("types.loot", LOOT | {"profile": '"telemetry"'})).rule

    def test_one_topic_of_two_profiles(self) -> None:
        """Types of one topic share its batches, so they have one profile."""
        error = refused(
            table("types.footstep", FOOTSTEP) + table("types.breath", FOOTSTEP | {"profile": '"telemetry"'})
        )

        assert (error.event_type, error.topic) == ("breath", "gamebus.footstep")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("partitions", "0"),
            ("partitions", "1025"),
            ("partitions", "1.5"),
            ("partitions", "true"),
            ("replicas", "0"),
            ("replicas", "10"),
            ("retention_ms", "59999"),
            ("retention_ms", f"{366 * DAY_MS}"),
            ("min_insync_replicas", "4"),
            ("min_insync_replicas", "1"),
            ("cleanup", '"compact"'),
        ],
    )
    def test_of_a_topic(self, key: str, value: str) -> None:
        """Every number is within the range that gamebus and Kafka can keep; acks=all means at least two copies."""
        error = refused(table('topics."gamebus.chat"', {key: value}))

        assert (error.file, error.topic) == ("gamebus.toml", "gamebus.chat")
        assert key in error.rule

    def test_a_topic_that_nobody_uses(self) -> None:
        """A table of a topic without types is a misspelling."""
        assert refused(table('topics."gamebus.chatt"', {"partitions": "3"})).topic == "gamebus.chatt"

    @pytest.mark.parametrize(
        "text", ["types = 5", "[types]\nposition = 5", "topics = []", '[topics]\n"gamebus.chat" = 1', "x = 1"]
    )
    def test_of_the_file(self, text: str) -> None:
        """The file holds tables of types and topics, and nothing else."""
        assert refused(text).file == "gamebus.toml"

    def test_no_toml(self) -> None:
        """A file that cannot be read says where it breaks."""
        assert "line 2" in refused("[types]\n5 5").rule

    def test_are_configuration_errors(self) -> None:
        """A person must change the file, so the command line shows the message without a traceback."""
        assert issubclass(CatalogError, ConfigurationError)

    @given(text=st.text(max_size=40) | st.text('[]types.topc"=\n5ax{},', max_size=60))
    def test_any_text(self, text: str) -> None:
        """Whatever stands in the file, the answer is a catalog or a :exc:`CatalogError` (Hypothesis)."""
        try:
            catalog = parse_catalog(text)
        except CatalogError:
            return
        _keeps_its_promises(catalog)


class TestPromises:
    @given(
        types=st.dictionaries(
            st.sampled_from(["position", "chat", "kill", "loot", "footstep"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "delivery": st.sampled_from(['"at-most-once"', '"at-least-once"']),
                    "topic": st.sampled_from(
                        ['"gamebus.position"', '"gamebus.combat"', '"gamebus.own"', '"gamebus.dlq"']
                    ),
                    "rationale": st.just('"because it is so"'),
                    "per_second": st.sampled_from(["0", "1", "2.5"]),
                    "profile": st.sampled_from(['"realtime"', '"telemetry"']),
                    "key": st.sampled_from(['"room"', '"player"']),
                },
            ),
        )
    )
    def test_of_every_catalog_that_loads(self, types: dict[str, dict[str, str]]) -> None:
        """A topic belongs to exactly one class, and so does every type; loss is excused; numbers are in range (Hypothesis)."""
        try:
            catalog = parse_catalog("".join(table(f"types.{name}", fields) for name, fields in types.items()))
        except CatalogError:
            return
        _keeps_its_promises(catalog)


def _keeps_its_promises(catalog: Catalog) -> None:
    for event_type in catalog.types.values():
        topic = catalog.topics[event_type.topic]
        assert topic.delivery is event_type.delivery
        assert event_type.durable is (event_type.rationale is None)
        assert 0.1 <= event_type.per_second <= 100_000
        assert event_type.topic not in (catalog.reports_topic, catalog.dead_letter_topic)
        assert not (event_type.durable and event_type.key == "player")
    built_in = parse_catalog()
    assert all(catalog.types[name].delivery is kind.delivery for name, kind in built_in.types.items())
    assert all(topic.min_insync_replicas <= topic.replicas for topic in catalog.topics.values())
