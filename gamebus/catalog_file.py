"""The catalog file: `gamebus.toml` adds types to the built-in ones, or tunes them.

::

    [types.footstep]
    delivery = "at-most-once"
    topic = "gamebus.footstep"
    rationale = "the next step comes within 300 ms"
    per_second = 10

    [types.position]
    per_second = 30

    [topics."gamebus.footstep"]
    partitions = 24

Guarantees: what :mod:`gamebus.catalog` promises of a catalog holds, or the file is refused with a message that names file, type, topic
and rule. Pure: reading the file is the caller's part (:func:`gamebus.settings.load_catalog`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gamebus import events
from gamebus.catalog import Catalog, DeliveryClass, EventType, Profile, Role, Topic
from gamebus.errors import CatalogError
from gamebus.room_types import parse_room_types

BUILT_IN: Final = "built-in"
DEFAULT_TOPIC_PREFIX: Final = "gamebus."

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic).
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_PLAYING: Final = ["player", "server"]

_BUILT_IN_TYPES: Final[dict[str, dict[str, Any]]] = {
    "position": {
        "delivery": "at-most-once",
        "topic": "position",
        "roles": _PLAYING,
        "per_second": 60,
        "max_bytes": 128,
        "rationale": "the next position replaces it within a frame or two",
    },
    "heartbeat": {
        "delivery": "at-most-once",
        "topic": "heartbeat",
        "roles": _PLAYING,
        "per_second": 5,
        "max_bytes": 64,
        "rationale": "presence expires only after ten seconds without any",
    },
    "kill": {
        "delivery": "at-least-once",
        "topic": "combat",
        "roles": ["server"],
        "per_second": 1000,
        "max_bytes": 4096,
    },
    "death": {
        "delivery": "at-least-once",
        "topic": "combat",
        "roles": ["server"],
        "per_second": 1000,
        "max_bytes": 4096,
    },
    "chat": {"delivery": "at-least-once", "topic": "chat", "roles": _PLAYING, "per_second": 10, "max_bytes": 4096},
}

_LOG: Final = "catalog"
_BUILT_IN_TOPICS: Final[dict[str, dict[str, Any]]] = {
    "position": {"partitions": 12, "replicas": 2, "min_insync_replicas": 1, "retention_ms": 10 * _MINUTE_MS},
    "heartbeat": {"partitions": 6, "replicas": 2, "min_insync_replicas": 1, "retention_ms": 10 * _MINUTE_MS},
    "combat": {"partitions": 12, "replicas": 3, "min_insync_replicas": 2, "retention_ms": 7 * _DAY_MS},
    "chat": {"partitions": 12, "replicas": 3, "min_insync_replicas": 2, "retention_ms": 7 * _DAY_MS},
    "reports": {"partitions": 3, "replicas": 3, "min_insync_replicas": 2, "retention_ms": _DAY_MS},
    "dlq": {"partitions": 3, "replicas": 3, "min_insync_replicas": 2, "retention_ms": 30 * _DAY_MS},
    # One partition, for ever: the order of the generations is what counts, and an old one says where a type was.
    _LOG: {"partitions": 1, "replicas": 3, "min_insync_replicas": 2, "retention_ms": -1},
}
_OWN_TOPICS: Final = ("reports", "dlq", _LOG)
BUILT_IN_TYPES: Final = frozenset(_BUILT_IN_TYPES)
"""Types that gamebus itself knows the meaning of; their class is fixed."""

_TYPE_KEYS: Final = ("delivery", "topic", "key", "roles", "per_second", "max_bytes", "rationale", "profile")
_TOPIC_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "partitions": (1, 1024),
    "replicas": (1, 9),
    "min_insync_replicas": (1, 9),
    "retention_ms": (_MINUTE_MS, 365 * _DAY_MS),
}
_DEFAULT_TOPIC: Final[Mapping[DeliveryClass, dict[str, int]]] = {
    DeliveryClass.AT_MOST_ONCE: _BUILT_IN_TOPICS["position"],
    DeliveryClass.AT_LEAST_ONCE: _BUILT_IN_TOPICS["chat"],
}


def parse_catalog(text: str = "", *, file: str = BUILT_IN, topic_prefix: str = DEFAULT_TOPIC_PREFIX) -> Catalog:
    """Build the catalog from the built-in types and the text of a `gamebus.toml`.

    Args:
        text: TOML; empty for the built-in types alone.
        file: its name, for messages.
        topic_prefix: prefix of the topics that gamebus names itself, so that several games can share a cluster.
    Raises:
        CatalogError: a rule is broken; the message names file, type, topic and rule.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"is not valid TOML: {error}", file=file) from error
    _refuse_unknown(document, ("types", "topics", "rooms"), file=file)
    own_types = _table(document.get("types", {}), "types", file=file)
    own_topics = _table(document.get("topics", {}), "topics", file=file)

    prefixed = {name: entry | {"topic": topic_prefix + entry["topic"]} for name, entry in _BUILT_IN_TYPES.items()}
    types: dict[str, EventType] = {}
    profiles: dict[str, Profile] = {}
    for name in [*prefixed, *(name for name in own_types if name not in prefixed)]:
        own = own_types.get(name, {})
        entry = prefixed.get(name, {}) | _table(own, f"types.{name}", file=file)
        where = file if own else BUILT_IN
        _refuse_class_change(name, own, prefixed, file=where)
        types[name] = _event_type(name, entry, file=where)
        _collect_profile(profiles, types[name], entry, file=where)
    _refuse_mixed_topics(types, own_types, file=file)

    reserved = {topic_prefix + name: entry for name, entry in _BUILT_IN_TOPICS.items()}
    topics = _topics(types, own_topics, profiles, reserved, topic_prefix=topic_prefix, file=file)
    return Catalog(
        types=MappingProxyType(types),
        topics=MappingProxyType(topics),
        reports_topic=topic_prefix + "reports",
        dead_letter_topic=topic_prefix + "dlq",
        log_topic=topic_prefix + _LOG,
        rooms=parse_room_types(_table(document.get("rooms", {}), "rooms", file=file), file=file),
    )


def _event_type(name: str, entry: Mapping[str, Any], *, file: str) -> EventType:
    if _NAME.fullmatch(name) is None:
        raise CatalogError("a type's name is 1..64 of a-z 0-9 _ -, beginning with a letter", file=file, event_type=name)
    topic = entry.get("topic")
    if not isinstance(topic, str) or _TOPIC_NAME.fullmatch(topic) is None or topic in (".", ".."):
        raise CatalogError(
            "topic is missing or not a Kafka topic name (1..249 of A-Z a-z 0-9 . _ -)",
            file=file,
            event_type=name,
            topic=None if topic is None else str(topic),
        )

    def refuse(rule: str) -> CatalogError:
        return CatalogError(rule, file=file, event_type=name, topic=topic)

    for key in entry:
        if key not in _TYPE_KEYS:
            raise refuse(f"unknown key {key!r}; known are {', '.join(_TYPE_KEYS)}")
    try:
        delivery = DeliveryClass(entry.get("delivery", ""))
        roles = frozenset(Role(role) for role in entry.get("roles", _PLAYING))
        Profile(entry.get("profile", Profile.REALTIME))
    except (ValueError, TypeError) as error:
        raise refuse(
            f"{error}; delivery is at-most-once or at-least-once, roles are of player, server and spectator, "
            "profile is realtime or telemetry"
        ) from error
    key = entry.get("key", "room")
    if key != "room" and (key != "player" or delivery is DeliveryClass.AT_LEAST_ONCE):
        raise refuse("key is 'room', or 'player' for an at-most-once type (durable events keep their order in a room)")
    per_second = entry.get("per_second", 20)
    if isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0.1 <= per_second <= 100_000:
        raise refuse(f"per_second is a number of 0.1..100000, not {per_second!r}")
    max_bytes = entry.get("max_bytes", 4096)
    if type(max_bytes) is not int or not 1 <= max_bytes <= 60_000:
        raise refuse(f"max_bytes is an integer of 1..60000, not {max_bytes!r}")
    return EventType(
        name=name,
        delivery=delivery,
        topic=topic,
        key=key,
        roles=roles,
        per_second=float(per_second),
        max_bytes=max_bytes,
        rationale=_rationale(entry, delivery, refuse),
        validate=events.VALIDATORS.get(name, events.any_value),
    )


def _rationale(entry: Mapping[str, Any], delivery: DeliveryClass, refuse: Any) -> str | None:
    rationale = entry.get("rationale")
    if delivery is DeliveryClass.AT_LEAST_ONCE:
        if rationale is not None:
            raise refuse("a rationale says why loss is acceptable; an at-least-once type is not lost, so it has none")
        if "profile" in entry:
            raise refuse("a profile tunes the realtime producer; an at-least-once type has none")
        return None
    if not isinstance(rationale, str) or len(rationale.strip()) < 10:
        raise refuse(
            "an at-most-once type may be lost, so it must state a rationale (why its loss is acceptable, at least 10 "
            "characters); if its loss is not acceptable, make it at-least-once"
        )
    return rationale.strip()


def _refuse_class_change(
    name: str, own: Mapping[str, Any], built_in: Mapping[str, Mapping[str, Any]], *, file: str
) -> None:
    if name not in built_in:
        return
    wanted, is_now = own.get("delivery", built_in[name]["delivery"]), built_in[name]["delivery"]
    if wanted != is_now:
        raise CatalogError(
            f"is {is_now} and cannot become {wanted} here: records of both classes would meet in one topic",
            file=file,
            event_type=name,
            topic=own.get("topic", built_in[name]["topic"]),
        )


def _refuse_mixed_topics(types: Mapping[str, EventType], own_types: Mapping[str, Any], *, file: str) -> None:
    first: dict[str, EventType] = {}
    for event_type in types.values():
        other = first.setdefault(event_type.topic, event_type)
        if other.delivery is not event_type.delivery:
            # Name the entry that the reader can change: the one from the file.
            changed = event_type if event_type.name in own_types else other
            kept = other if changed is event_type else event_type
            raise CatalogError(
                f"the topic would carry two delivery classes: type {changed.name!r} is {changed.delivery}, type "
                f"{kept.name!r} is {kept.delivery}; give {changed.name!r} a topic of its own class",
                file=file,
                event_type=changed.name,
                topic=event_type.topic,
            )


def _collect_profile(
    profiles: dict[str, Profile], event_type: EventType, entry: Mapping[str, Any], *, file: str
) -> None:
    profile = Profile(entry.get("profile", Profile.REALTIME))
    if profiles.setdefault(event_type.topic, profile) is not profile:
        raise CatalogError(
            "types of one topic share its batches, so they have one profile: give this type another topic",
            file=file,
            event_type=event_type.name,
            topic=event_type.topic,
        )


def _topics(
    types: Mapping[str, EventType],
    own_topics: Mapping[str, Any],
    profiles: Mapping[str, Profile],
    reserved: Mapping[str, Mapping[str, int]],
    *,
    topic_prefix: str,
    file: str,
) -> dict[str, Topic]:
    used = {event_type.topic: event_type.delivery for event_type in types.values()}
    own_use = dict.fromkeys((topic_prefix + name for name in _OWN_TOPICS), DeliveryClass.AT_LEAST_ONCE)
    for name in own_use:
        if name in used:
            raise CatalogError("the topic is gamebus's own; events cannot travel in it", file=file, topic=name)
    for name in own_topics:
        if name not in used and name not in own_use:
            raise CatalogError(
                "no event type uses the topic; remove the table or name it in a type", file=file, topic=name
            )
    topics = {}
    for name, delivery in (used | own_use).items():
        own = _table(own_topics.get(name, {}), f"topics.{name}", file=file)
        fixed = ("partitions", "retention_ms") if name == topic_prefix + _LOG else ()
        _check_numbers(name, own, fixed=fixed, file=file)
        numbers = dict(reserved.get(name, _DEFAULT_TOPIC[delivery])) | own
        topics[name] = _topic(name, delivery, numbers, profiles.get(name, Profile.REALTIME), file=file)
    return topics


def default_topic(name: str, delivery: DeliveryClass, *, partitions: int) -> Topic:
    """A topic with the numbers of its class, for events of a studio's own types."""
    numbers: dict[str, Any] = _DEFAULT_TOPIC[delivery] | {"partitions": partitions}
    return Topic(name=name, delivery=delivery, **numbers)


def _check_numbers(name: str, own: Mapping[str, Any], *, fixed: tuple[str, ...], file: str) -> None:
    for key, value in own.items():
        if key not in _TOPIC_RANGES:
            raise CatalogError(f"unknown key {key!r}; known are {', '.join(_TOPIC_RANGES)}", file=file, topic=name)
        low, high = _TOPIC_RANGES[key]
        if type(value) is not int or not low <= value <= high:
            raise CatalogError(f"{key} is an integer of {low}..{high}, not {value!r}", file=file, topic=name)
        if key in fixed:
            raise CatalogError(f"{key} of the log of generations is fixed", file=file, topic=name)


def _topic(name: str, delivery: DeliveryClass, numbers: Mapping[str, Any], profile: Profile, *, file: str) -> Topic:
    topic = Topic(name=name, delivery=delivery, profile=profile, **numbers)
    if topic.min_insync_replicas > topic.replicas:
        raise CatalogError("min_insync_replicas is at most replicas, or no write succeeds", file=file, topic=name)
    if delivery is DeliveryClass.AT_LEAST_ONCE and topic.replicas > 1 and topic.min_insync_replicas < 2:
        raise CatalogError(
            "min_insync_replicas of an at-least-once topic is at least 2: with 1, acks=all means one copy",
            file=file,
            topic=name,
        )
    return topic


def _table(value: Any, name: str, *, file: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CatalogError(f"[{name}] is a table", file=file)
    return value


def _refuse_unknown(document: Mapping[str, Any], known: tuple[str, ...], *, file: str) -> None:
    for key in document:
        if key not in known:
            raise CatalogError(f"unknown key {key!r}; known are {', '.join(known)}", file=file)
