"""The catalog: what the one routing table says."""

from __future__ import annotations

import pytest

from gamebus.catalog import DeliveryClass, with_partitions
from gamebus.catalog_file import parse_catalog


class TestRouting:
    def test_topics_of_a_class(self) -> None:
        """Each class has its topics, sorted, without those of gamebus itself."""
        catalog = parse_catalog()

        assert [topic.name for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)] == [
            "gamebus.heartbeat",
            "gamebus.position",
        ]
        assert [topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)] == [
            "gamebus.chat",
            "gamebus.combat",
        ]

    def test_types_of_a_topic(self) -> None:
        """Kill and death share a topic so that they keep their order."""
        catalog = parse_catalog()

        assert [event_type.name for event_type in catalog.types_of("gamebus.combat")] == ["kill", "death"]
        assert catalog.types_of("gamebus.dlq") == ()

    def test_is_read_only(self) -> None:
        """Every process loads the same one, and none changes it."""
        catalog = parse_catalog()

        with pytest.raises(TypeError):
            catalog.types["x"] = catalog.types["chat"]  # type: ignore[index] # what must not work


class TestWithPartitions:
    def test_sets_every_topic(self) -> None:
        """The same catalog with other partition counts (small clusters, tests); the log of generations has one, always."""
        catalog = with_partitions(parse_catalog(), 2)

        counts = {name: topic.partitions for name, topic in catalog.topics.items()}
        assert counts.pop(catalog.log_topic) == 1
        assert set(counts.values()) == {2}
        assert catalog.types == parse_catalog().types
