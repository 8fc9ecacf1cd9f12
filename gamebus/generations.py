"""Generations of the catalog: how a type moves from one delivery class to the other while everything runs.

The file says what the catalog begins with; a log of numbered generations says what became of it since. Every process lays the
log over its file, so all of them agree on where a type is published. Guarantees of :func:`overlay`, whatever the log holds:

* at every generation a type is published to one topic, and a topic carries one class;
* a file that neither stands where the log began nor where it has come to is refused: a process never guesses.

The log is folded by one rule: a generation counts if it has the next number and its step follows the last one of its type;
anything else is passed over. So two writers at once, and a record that was written twice, leave every reader with the same log.

==============  ==========================  ===========================  ====================================
step            published to                read besides                 follows
==============  ==========================  ===========================  ====================================
`prepare`       the old topic               the new one                  nothing, `retire`, `roll-back`
`switch`        the new topic               the old one                  `prepare`
`finish`        the new topic               the old one                  `switch`
`retire`        the new topic               nothing                      `finish`
`roll-back`     the old topic               nothing                      `prepare`
==============  ==========================  ===========================  ====================================

The old topic is read until it is retired, so that what a process writes there that learns of the switch late is not lost.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from gamebus.catalog import Catalog, DeliveryClass, EventType, Topic
from gamebus.catalog_file import default_topic
from gamebus.errors import CatalogError, RecordError

VERSION: Final = 1


class Step(StrEnum):
    """What a generation does to its type."""

    PREPARE = "prepare"
    SWITCH = "switch"
    FINISH = "finish"
    RETIRE = "retire"
    ROLL_BACK = "roll-back"


_FOLLOWS: Final[Mapping[Step, frozenset[Step | None]]] = {
    Step.PREPARE: frozenset((None, Step.RETIRE, Step.ROLL_BACK)),
    Step.SWITCH: frozenset((Step.PREPARE,)),
    Step.FINISH: frozenset((Step.SWITCH,)),
    Step.RETIRE: frozenset((Step.FINISH,)),
    Step.ROLL_BACK: frozenset((Step.PREPARE,)),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a type travels, and how.

    Attributes:
        rationale: why its loss is acceptable; None for at-least-once.
    """

    delivery: DeliveryClass
    topic: str
    partitions: int
    rationale: str | None = None

    def holds(self, event_type: EventType) -> bool:
        """Whether the catalog has the type here."""
        return (event_type.delivery, event_type.topic) == (self.delivery, self.topic)


@dataclass(frozen=True, slots=True)
class Generation:
    """One record of the log."""

    number: int
    step: Step
    event_type: str
    source: Place
    target: Place
    at_ms: int
    """When the step was taken, Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What the log says of one type.

    Attributes:
        step: the last one that was taken.
        number: its generation.
        former: places of earlier migrations, which are over.
    """

    event_type: str
    source: Place
    target: Place
    step: Step
    number: int
    at_ms: int
    former: tuple[Place, ...] = ()

    @property
    def over(self) -> bool:
        """Whether another one may begin."""
        return self.step in (Step.RETIRE, Step.ROLL_BACK)

    @property
    def place(self) -> Place:
        """Where the type is published."""
        return self.source if self.step in (Step.PREPARE, Step.ROLL_BACK) else self.target

    @property
    def besides(self) -> Place | None:
        """What else is read."""
        if self.over:
            return None
        return self.target if self.step is Step.PREPARE else self.source

    @property
    def past(self) -> tuple[Place, ...]:
        """Where a file may still have the type, since nobody has edited it."""
        return self.former if self.place is self.source else (*self.former, self.source)


@dataclass(frozen=True, slots=True)
class Log:
    """The generations, folded."""

    number: int = 0
    migrations: Mapping[str, Migration] = field(default_factory=lambda: MappingProxyType({}))

    def take(self, generation: Generation) -> Log:
        """The log with one more generation; this log where it does not count."""
        last = self.migrations.get(generation.event_type)
        if generation.number != self.number + 1 or (last and last.step) not in _FOLLOWS[generation.step]:
            return self
        if last is not None and not last.over:
            migration = replace(last, step=generation.step, number=generation.number, at_ms=generation.at_ms)
        else:
            migration = Migration(
                generation.event_type,
                generation.source,
                generation.target,
                generation.step,
                generation.number,
                generation.at_ms,
                former=() if last is None else last.past,
            )
        migrations = {**self.migrations, generation.event_type: migration}
        return Log(generation.number, MappingProxyType(migrations))

    def next(self, migration: Migration, step: Step, *, now_ms: int) -> Generation:
        """The generation that takes the next step of a migration."""
        return Generation(self.number + 1, step, migration.event_type, migration.source, migration.target, now_ms)


def fold(generations: Iterable[Generation], log: Log | None = None) -> Log:
    """The log that these records make, in their order."""
    log = log or Log()
    for generation in generations:
        log = log.take(generation)
    return log


def overlay(base: Catalog, log: Log, *, file: str = "in use") -> Catalog:
    """The catalog of a file at the last generation of the log.

    Args:
        file: name of the file, for messages.
    Raises:
        CatalogError: file and log contradict each other in a way that could mix classes or lose events.
    """
    types = dict(base.types)
    also: dict[str, EventType] = {}
    topics = dict(base.topics)
    for name, migration in log.migrations.items():
        declared = types.get(name)
        if not _applies(migration, declared, file=file):
            continue
        assert declared is not None
        types[name] = _placed(declared, migration.place)
        topics[migration.place.topic] = _topic(topics, migration.place)
        if migration.besides is not None:
            also[name] = _placed(declared, migration.besides)
            topics[migration.besides.topic] = _topic(topics, migration.besides)
    _refuse_mixed_topics((*types.values(), *also.values()), file=file)
    used = {event_type.topic for event_type in (*types.values(), *also.values())}
    used |= {base.reports_topic, base.dead_letter_topic, base.log_topic}
    return replace(
        base,
        types=MappingProxyType(types),
        topics=MappingProxyType({name: topic for name, topic in topics.items() if name in used}),
        also=MappingProxyType(also),
        generation=log.number,
    )


def _applies(migration: Migration, declared: EventType | None, *, file: str) -> bool:
    if migration.over and (declared is None or (migration.step is Step.ROLL_BACK and not migration.former)):
        return False
    place = migration.place
    log_says = f"the log of generations has it {place.delivery} in topic {place.topic!r} (step {migration.step!s})"
    if declared is None:
        raise CatalogError(
            f"the type is missing, and it migrates: {log_says}; put it back until the old topic is retired",
            file=file,
            event_type=migration.event_type,
        )
    if not any(known.holds(declared) for known in (place, *migration.past)):
        raise CatalogError(
            f"the file has the type {declared.delivery} in topic {declared.topic!r}, {log_says}: give it that class and that "
            "topic in the file, and change either with `gamebus migrate` only",
            file=file,
            event_type=migration.event_type,
            topic=declared.topic,
        )
    return True


def _placed(declared: EventType, place: Place) -> EventType:
    if place.holds(declared):
        return declared
    return replace(
        declared,
        delivery=place.delivery,
        topic=place.topic,
        # What a player keys in a class that has it is keyed by room in the one that has not.
        key="room" if place.delivery is DeliveryClass.AT_LEAST_ONCE else declared.key,
        rationale=place.rationale,
    )


def _topic(topics: Mapping[str, Topic], place: Place) -> Topic:
    declared = topics.get(place.topic)
    if declared is None or declared.delivery is not place.delivery:
        return default_topic(place.topic, place.delivery, partitions=place.partitions)
    return replace(declared, partitions=place.partitions)


def _refuse_mixed_topics(event_types: Iterable[EventType], *, file: str) -> None:
    first: dict[str, EventType] = {}
    for event_type in event_types:
        other = first.setdefault(event_type.topic, event_type)
        if other.delivery is not event_type.delivery:
            raise CatalogError(
                f"the topic would carry two delivery classes: type {event_type.name!r} is {event_type.delivery} by the log of "
                f"generations or the file, type {other.name!r} is {other.delivery}; give one of them another topic in the file",
                file=file,
                event_type=event_type.name,
                topic=event_type.topic,
            )


def encode_generation(generation: Generation) -> bytes:
    """Value of its Kafka record: JSON, since a person reads it when something is wrong."""
    return json.dumps(
        {
            "version": VERSION,
            "generation": generation.number,
            "step": generation.step,
            "type": generation.event_type,
            "from": asdict(generation.source),
            "to": asdict(generation.target),
            "at_ms": generation.at_ms,
        }
    ).encode()


def decode_generation(value: bytes | None) -> Generation:
    """Decode a record of the log.

    Raises:
        RecordError: it is none. A process that cannot read the log must not guess what it says.
    """
    try:
        fields: Any = json.loads(value or b"")
        if fields["version"] != VERSION:
            raise RecordError(f"a generation of version {fields['version']!r}; this gamebus reads version {VERSION}")
        return Generation(
            number=int(fields["generation"]),
            step=Step(fields["step"]),
            event_type=str(fields["type"]),
            source=_place(fields["from"]),
            target=_place(fields["to"]),
            at_ms=int(fields["at_ms"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"not a generation of the catalog: {error!r}") from error


def _place(fields: Mapping[str, Any]) -> Place:
    rationale = fields["rationale"]
    return Place(
        delivery=DeliveryClass(fields["delivery"]),
        topic=str(fields["topic"]),
        partitions=int(fields["partitions"]),
        rationale=None if rationale is None else str(rationale),
    )
