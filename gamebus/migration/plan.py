"""The plan of a migration: whether it may begin, and what its next step is.

The whole state is in the log of generations, so a command that was killed at any point goes on from what the log says, and two
commands cannot disagree about where they are. What must be true before a step is taken is said in one place, :func:`next_step`.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import BUILT_IN_TYPES
from gamebus.errors import CatalogError, ConfigurationError
from gamebus.generations import Generation, Log, Migration, Place, Step, overlay
from gamebus.protocol.cursor import CursorCodec

_SUFFIX: Final = re.compile(r"(\.\d+)?\.at-(most|least)-once$")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about a migration whose last step is in the log.

    Attributes:
        behind: gateways that live and have not reported the last generation.
        unread: partitions of the new topic that no processor has taken up.
        undrained: what is left to do in the old topic, in words for a person.
    """

    behind: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()
    undrained: tuple[str, ...] = ()


def begin(
    base: Catalog, log: Log, name: str, delivery: DeliveryClass, *, rationale: str | None, now_ms: int
) -> Generation:
    """The generation that begins a migration.

    Args:
        base: the catalog of the file.
        rationale: why a loss is acceptable from now on; for at-most-once.
    Raises:
        ConfigurationError: the type may not migrate, or not now.
    """
    catalog = overlay(base, log)
    event_type = catalog.types.get(name)
    if event_type is None:
        own = ", ".join(sorted(catalog.types.keys() - BUILT_IN_TYPES)) or "none"
        raise ConfigurationError(f"there is no type {name!r}; types of your own in the catalog: {own}")
    if name in BUILT_IN_TYPES:
        raise ConfigurationError(
            f"type {name!r} is built in and stays {event_type.delivery}: what gamebus does with it depends on its class"
        )
    last = log.migrations.get(name)
    if last is not None and not last.over:
        raise ConfigurationError(_under_way(last))
    if event_type.delivery is delivery:
        raise ConfigurationError(f"type {name!r} is {delivery} already, in topic {event_type.topic}")
    source = Place(
        event_type.delivery, event_type.topic, catalog.topics[event_type.topic].partitions, event_type.rationale
    )
    topic = new_topic(event_type.topic, delivery, taken=_topics_ever(catalog, log), number=log.number + 1)
    target = Place(delivery, topic, source.partitions, _rationale(delivery, rationale))
    generation = Generation(log.number + 1, Step.PREPARE, name, source, target, now_ms)
    try:
        # What would stop a gateway is found out here.
        CursorCodec(overlay(base, log.take(generation)))
    except CatalogError as error:
        raise ConfigurationError(f"type {name!r} cannot migrate: {error}") from error
    return generation


def new_topic(topic: str, delivery: DeliveryClass, *, taken: AbstractSet[str], number: int) -> str:
    """Name of the topic that a type moves to: never one that had events before, not even long ago.

    Redis remembers by topic and offset what was applied; a topic that comes again under its old name would find its first events
    applied already.
    """
    base = _SUFFIX.sub("", topic)
    name = f"{base}.{delivery}"
    return f"{base}.{number}.{delivery}" if name in taken else name


def next_step(step: Step, facts: Facts, *, retire: bool = False) -> Step | None:
    """The step to take now; None: wait for what the facts lack, or nothing is left to do.

    Args:
        step: the last one in the log.
        retire: whether the old topic is to be given up.
    """
    match step:
        case Step.PREPARE if not (facts.behind or facts.unread):
            # Everybody knows the new topic and somebody reads it: what is published there from now on arrives.
            return Step.SWITCH
        case Step.SWITCH if not (facts.behind or facts.undrained):
            # Nobody publishes to the old topic any more, and everything in it has its effect or its place in the ledger.
            return Step.FINISH
        case Step.FINISH if retire and not (facts.behind or facts.undrained):
            return Step.RETIRE
        case _:
            return None


def may_roll_back(migration: Migration) -> None:
    """Refuse to roll back what has gone too far.

    Raises:
        ConfigurationError: events are in the new topic; says how to go back from there.
    """
    if migration.step is Step.PREPARE:
        return
    if migration.over:
        raise ConfigurationError(f"type {migration.event_type!r} does not migrate: nothing to roll back")
    back = f"gamebus migrate {migration.event_type} --to {migration.source.delivery}"
    raise ConfigurationError(
        f"type {migration.event_type!r} is published to {migration.target.topic} since generation {migration.number}: events "
        f"are there. Finish the migration and retire the old topic, then go back with `{back}`"
    )


def may_retire(migration: Migration, *, now_ms: int, resume_ms: int) -> None:
    """Refuse to retire the old topic before its time.

    Args:
        resume_ms: how long clients may resume durable events.
    Raises:
        ConfigurationError: says what to do first, or when.
    """
    if migration.step in (Step.PREPARE, Step.SWITCH):
        raise ConfigurationError(
            f"topic {migration.source.topic} is not drained: finish the migration first with `gamebus migrate "
            f"{migration.event_type} --to {migration.target.delivery}`"
        )
    if migration.step is Step.ROLL_BACK:
        raise ConfigurationError(f"the migration of {migration.event_type!r} was rolled back: there is no old topic")
    left_ms = migration.at_ms + resume_ms - now_ms
    if migration.step is Step.FINISH and migration.source.delivery is DeliveryClass.AT_LEAST_ONCE and left_ms > 0:
        raise ConfigurationError(
            f"clients may still resume events of {migration.source.topic}: retire it in {left_ms / 1000:.0f} s"
        )


def _under_way(last: Migration) -> str:
    command = f"gamebus migrate {last.event_type}"
    match last.step:
        case Step.PREPARE:
            end = f"undo it with `{command} --rollback`"
        case Step.FINISH:
            end = f"retire its old topic with `{command} --retire`"
        case _:
            end = f"finish it with `{command} --to {last.target.delivery}`, then retire its old topic"
    return f"type {last.event_type!r} migrates to {last.target.delivery} (step {last.step!s}): {end}"


def _topics_ever(catalog: Catalog, log: Log) -> set[str]:
    topics = set(catalog.topics)
    for migration in log.migrations.values():
        topics |= {place.topic for place in (migration.source, migration.target, *migration.former)}
    return topics


def _rationale(delivery: DeliveryClass, rationale: str | None) -> str | None:
    if delivery is DeliveryClass.AT_LEAST_ONCE:
        if rationale is not None:
            raise ConfigurationError("--rationale is for at-most-once: an at-least-once event is not lost")
        return None
    if rationale is None or len(rationale.strip()) < 10:
        raise ConfigurationError(
            "an at-most-once type may be lost, so say why that is acceptable: --rationale TEXT, at least 10 characters"
        )
    return rationale.strip()
