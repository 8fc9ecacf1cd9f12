"""Carries a migration out: takes a step, waits until what the next one needs is so, takes the next one.

Guarantees: every step is one record of the log of generations, so a migrator that is killed anywhere, and run again, goes on where
the log says; nothing that it does besides (creating the new topic, deleting the old one) can only be done once.

Not guaranteed: an end. A gateway that does not follow, or a processor that does not run, is waited for until the deadline and then
named; the migration stands where it is meanwhile, in full working order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import default_topic
from gamebus.delivery.generation_log import append, read_log
from gamebus.delivery.topics import create_topic, delete_topic, topic_exists
from gamebus.errors import ConfigurationError
from gamebus.generations import Generation, Log, Migration, Place, Step, overlay
from gamebus.migration import plan
from gamebus.migration.counts import Counts, RealtimeCounts
from gamebus.migration.plan import Facts
from gamebus.migration.survey import Survey, surveying
from gamebus.settings import Settings

# Neither commits nor group members nor rows of the ledger say when they change.
_POLL_S: Final = 0.2

Say = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished migration.

    Attributes:
        old: what became of the events of the old topic, whose account is closed.
        new: the same of the new topic, as far as it has come.
        exists: whether the old topic is still there.
    """

    migration: Migration
    old: Counts
    new: Counts
    exists: bool


class Migrator:
    """Migrations of one installation.

    Args:
        base: the catalog of the file.
        say: told of every step.
        patience_s: how long to wait for others at each step.
    """

    def __init__(self, settings: Settings, base: Catalog, *, say: Say, patience_s: float) -> None:
        self._settings = settings
        self._servers = settings.kafka.bootstrap_servers
        self._base = base
        self._say = say
        self._patience_s = patience_s

    async def log(self) -> Log:
        """The log as it stands.

        Raises:
            ConfigurationError: Kafka does not answer, or does not have it.
        """
        return await read_log(self._servers, self._base.log_topic, patient=False)

    async def first(self, name: str, delivery: DeliveryClass, rationale: str | None) -> Generation | Migration:
        """The generation that would begin a migration, or the migration that has begun and goes on.

        Raises:
            ConfigurationError: the type may not migrate, or not now.
        """
        log = await self.log()
        last = log.migrations.get(name)
        if last is not None and last.target.delivery is delivery and not last.over:
            return last
        return plan.begin(self._base, log, name, delivery, rationale=rationale, now_ms=_now_ms())

    async def migrate(self, first: Generation | Migration) -> Outcome:
        """Begin or go on, to the end.

        Raises:
            ConfigurationError: something else is in the way, or somebody did not follow in time; run it again.
        """
        async with surveying(self._settings, self._base) as survey:
            migration = await self._begin(survey, first) if isinstance(first, Generation) else first
            while migration.step is not Step.FINISH:
                migration = await self._take(migration, await self._until_due(survey, migration))
            return await self._outcome(survey, migration)

    async def retire(self, name: str) -> Outcome:
        """Give up the old topic: nobody reads it any more, then it is deleted, unless other types travel in it.

        Raises:
            ConfigurationError: it is not drained, or somebody did not follow in time.
        """
        migration = await self._migration(name)
        plan.may_retire(migration, now_ms=_now_ms(), resume_ms=self._settings.gateway.history_ms)
        async with surveying(self._settings, self._base) as survey:
            if migration.step is Step.RETIRE and not await topic_exists(self._servers, migration.source.topic):
                raise ConfigurationError(f"topic {migration.source.topic} was retired before")
            old = await survey.counts(migration.source)
            if migration.step is Step.FINISH:
                migration = await self._take(migration, await self._until_due(survey, migration, retire=True))
            await self._until_unread(survey, migration, migration.source)
            new = await survey.counts(migration.target)
            free = await self._is_free(survey, migration)
        # Outside: the survey asks for the topic's offsets, and a broker that may create topics would make it anew.
        if free:
            await self._delete(migration.source)
        return Outcome(migration, old, new, exists=not free)

    async def roll_back(self, name: str) -> Migration:
        """Undo a migration that was prepared and not switched.

        Raises:
            ConfigurationError: it has gone too far, or somebody did not follow in time.
        """
        migration = await self._migration(name)
        rolled_back = migration.step is Step.ROLL_BACK
        if not (rolled_back and await topic_exists(self._servers, migration.target.topic)):
            plan.may_roll_back(migration)
        async with surveying(self._settings, self._base) as survey:
            if not rolled_back:
                migration = await self._take(migration, Step.ROLL_BACK)
            await self._until_unread(survey, migration, migration.target)
            if not await survey.is_empty(migration.target):
                raise ConfigurationError(
                    f"topic {migration.target.topic} holds records that no gateway has written: look at them, then delete it"
                )
        await self._delete(migration.target)
        return migration

    async def _migration(self, name: str) -> Migration:
        migration = (await self.log()).migrations.get(name)
        if migration is None:
            raise ConfigurationError(f"type {name!r} has never migrated: nothing to do")
        return migration

    async def _begin(self, survey: Survey, first: Generation) -> Migration:
        target = first.target
        topic = default_topic(target.topic, target.delivery, partitions=target.partitions)
        created = await create_topic(self._servers, topic)
        if not (created or await survey.is_empty(target)):
            raise ConfigurationError(
                f"topic {target.topic} exists and holds records: nobody can tell what they are. Look at them, then delete it"
            )
        self._say(f"{'created' if created else 'found'} topic {target.topic}")
        return await self._append(first)

    async def _take(self, migration: Migration, step: Step) -> Migration:
        log = await self.log()
        return await self._append(log.next(migration, step, now_ms=_now_ms()))

    async def _append(self, generation: Generation) -> Migration:
        log = await append(self._servers, self._base.log_topic, generation)
        self._say(f"{generation.step} is generation {generation.number}")
        return log.migrations[generation.event_type]

    async def _until_due(self, survey: Survey, migration: Migration, *, retire: bool = False) -> Step:
        """Wait until the next step may be taken."""
        facts = Facts()
        step: Step | None = None

        async def look() -> bool:
            nonlocal facts, step
            facts = await survey.facts(migration)
            step = plan.next_step(migration.step, facts, retire=retire)
            return step is not None

        await self._wait(look, lambda: _lacking(migration, facts))
        assert step is not None
        return step

    async def _until_unread(self, survey: Survey, migration: Migration, place: Place) -> None:
        """Wait until everybody has followed and no processor reads a topic."""
        behind: tuple[str, ...] = ()
        readers: set[int] = set()

        async def look() -> bool:
            nonlocal behind, readers
            behind, readers = await survey.behind(migration.number), await survey.readers(place)
            return not behind and not readers

        def lacking() -> str:
            if behind:
                return _lacking(migration, Facts(behind))
            return f"processors still read {len(readers)} partitions of {place.topic}: end those that do not follow"

        await self._wait(look, lacking)

    async def _wait(self, look: Callable[[], Awaitable[bool]], lacking: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                while not await look():  # noqa: ASYNC110 - see _POLL_S
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ConfigurationError(
                f"after {self._patience_s:g} s {lacking()}. Nothing is lost, and the migration stands where it is: mend that and "
                "run the same command again"
            ) from None

    async def _is_free(self, survey: Survey, migration: Migration) -> bool:
        """Whether the old topic may be deleted.

        Raises:
            ConfigurationError: somebody wrote to it late.
        """
        source = migration.source
        others = [event_type.name for event_type in overlay(self._base, await self.log()).types_of(source.topic)]
        if others:
            self._say(f"topic {source.topic} stays: it carries {', '.join(others)}")
            return False
        left = await survey.left(source)
        if left:
            raise ConfigurationError(
                f"{left} records came into topic {source.topic} after it was drained, by a gateway that did not follow, and "
                "nobody has processed them: look at them, then delete the topic"
            )
        return True

    async def _delete(self, place: Place) -> None:
        await delete_topic(self._servers, place.topic)
        self._say(f"deleted topic {place.topic}")

    async def _outcome(self, survey: Survey, migration: Migration) -> Outcome:
        old, new = await survey.counts(migration.source), await survey.counts(migration.target)
        return Outcome(migration, old, new, exists=True)


def warnings(outcome: Outcome) -> list[str]:
    """What of the counts a person should look at."""
    found = []
    for counts in (outcome.old, outcome.new):
        if isinstance(counts, RealtimeCounts):
            if counts.unknown:
                found.append(
                    f"{counts.unknown} events are unaccounted for: a publisher was killed, or the ledger was lost"
                )
            if counts.duplicates:
                found.append(f"{counts.duplicates} events were doubled: a fault, please report it")
            if not counts.balanced:
                found.append("the loss identity does not hold: a fault, please report it")
    return found


def edited(base: Catalog, migration: Migration) -> bool:
    """Whether the file says already where the type is."""
    declared = base.types.get(migration.event_type)
    return declared is not None and migration.place.holds(declared)


def _lacking(migration: Migration, facts: Facts) -> str:
    lacking = list(facts.undrained)
    if facts.behind:
        lacking.append(
            f"gateways {', '.join(facts.behind)} have not followed generation {migration.number} (they do not reach Kafka, hang, are "
            "of an older version, or have another catalog file, as their logs say: end those)"
        )
    if facts.unread:
        lacking.append(
            f"no processor has taken up partitions {', '.join(map(str, facts.unread))} of {migration.target.topic} (start "
            f"`gamebus processor {Survey.kind(migration.target)}`)"
        )
    return "; ".join(lacking) or "the brokers have not said how things stand"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
