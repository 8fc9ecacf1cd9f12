"""The catalog: event type -> delivery class, topic, key, permissions, limits.

The one routing table of gamebus; every process loads the same one. Guarantees of a catalog that was loaded
(:mod:`gamebus.catalog_file` keeps them):

* a topic belongs to exactly one delivery class, and so does every type;
* a built-in type never changes its class and never moves into a topic of the other class;
* every at-most-once type states why its loss is acceptable (the seed's first anti-pattern is critical data sent without);
* every number is within the range that gamebus and Kafka can keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from gamebus import events
from gamebus.room_types import RoomType


class DeliveryClass(StrEnum):
    """How an event travels; the values are those of the wire protocol."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"


class Role(StrEnum):
    """Role of a token (wire protocol, "Roles")."""

    PLAYER = "player"
    SERVER = "server"
    SPECTATOR = "spectator"


class Profile(StrEnum):
    """How the realtime producer batches the topic of an at-most-once type."""

    REALTIME = "realtime"
    """The seed's gaming settings: linger 5 ms, batches of 32 KB."""

    TELEMETRY = "telemetry"
    """The seed's log streaming settings: linger 100 ms, batches of 1 MB."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic as it must be on a cluster of three brokers; one broker keeps one replica of each."""

    name: str
    delivery: DeliveryClass
    partitions: int
    replicas: int
    min_insync_replicas: int
    retention_ms: int
    profile: Profile = Profile.REALTIME


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event."""

    name: str
    delivery: DeliveryClass
    topic: str
    key: str
    """What is hashed to the partition, and so what keeps its order: `room`, or `player` for at-most-once types."""

    roles: frozenset[Role]
    """Who may publish it."""

    per_second: float
    """Token bucket of one connection; bursts of twice the rate."""

    max_bytes: int
    """Size of the data, encoded as msgpack."""

    rationale: str | None
    """Why its loss is acceptable; None for at-least-once types."""

    validate: events.Validator = field(default=events.any_value, compare=False, repr=False)

    @property
    def durable(self) -> bool:
        """Whether the type is delivered at least once."""
        return self.delivery is DeliveryClass.AT_LEAST_ONCE


@dataclass(frozen=True, slots=True)
class Catalog:
    """The routing table. Build it with :func:`gamebus.catalog_file.parse_catalog`."""

    types: Mapping[str, EventType]
    topics: Mapping[str, Topic]
    """Topics of events and of gamebus itself, by name."""

    reports_topic: str
    """Where publishers of realtime events report what they attempted and dropped."""

    dead_letter_topic: str
    """Where poison records of at-least-once topics go."""

    log_topic: str
    """Where the generations of the catalog stand (:mod:`gamebus.generations`)."""

    rooms: tuple[RoomType, ...] = ()
    """Types of rooms that differ from the default."""

    generation: int = 0
    """Number of the last generation in it; 0: the file alone."""

    also: Mapping[str, EventType] = field(default_factory=lambda: MappingProxyType({}))
    """Types that migrate, as they are in their other topic: it is read like any other, and nothing is published there."""

    def event_topics(self, delivery: DeliveryClass) -> tuple[Topic, ...]:
        """Topics that carry events of one class, sorted by name."""
        used = {event_type.topic for event_type in self._entries() if event_type.delivery is delivery}
        return tuple(self.topics[name] for name in sorted(used))

    def types_of(self, topic: str) -> tuple[EventType, ...]:
        """Event types that travel in `topic`."""
        return tuple(event_type for event_type in self._entries() if event_type.topic == topic)

    def entry(self, name: str, topic: str) -> EventType | None:
        """The type `name` as it travels in `topic`; None when it does not."""
        for entries in (self.types, self.also):
            event_type = entries.get(name)
            if event_type is not None and event_type.topic == topic:
                return event_type
        return None

    def _entries(self) -> tuple[EventType, ...]:
        return (*self.types.values(), *self.also.values())


def with_partitions(catalog: Catalog, partitions: int) -> Catalog:
    """The same catalog with `partitions` partitions in every topic but the log (small clusters, tests)."""
    topics = {
        name: topic if name == catalog.log_topic else replace(topic, partitions=partitions)
        for name, topic in catalog.topics.items()
    }
    return replace(catalog, topics=MappingProxyType(topics))
