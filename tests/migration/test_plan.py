"""The plan of a migration."""

from __future__ import annotations

import pytest

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.errors import ConfigurationError
from gamebus.generations import Log, Migration, Place, Step
from gamebus.migration.plan import Facts, begin, may_retire, may_roll_back, next_step

LEAST, MOST = DeliveryClass.AT_LEAST_ONCE, DeliveryClass.AT_MOST_ONCE
FILE = """
[types.step]
delivery = "at-most-once"
topic = "g.step"
rationale = "the next one comes soon"
[types.loot]
delivery = "at-least-once"
topic = "g.loot"
"""
CATALOG = parse_catalog(FILE)
NOW_MS = 1_000_000


def begun(name: str = "step", to: DeliveryClass = LEAST, *, log: Log | None = None, catalog: Catalog = CATALOG) -> Log:
    log = log or Log()
    rationale = "it respawns anyway" if to is MOST else None
    return log.take(begin(catalog, log, name, to, rationale=rationale, now_ms=NOW_MS))


def gone_on(log: Log, *steps: Step, name: str = "step") -> Log:
    for step in steps:
        log = log.take(log.next(log.migrations[name], step, now_ms=NOW_MS))
    return log


class TestBegin:
    def test_to_at_least_once(self) -> None:
        """The type gets a topic of its own, with as many partitions."""
        first = begin(CATALOG, Log(), "step", LEAST, rationale=None, now_ms=NOW_MS)

        assert (first.number, first.step, first.at_ms) == (1, Step.PREPARE, NOW_MS)
        assert first.source == Place(MOST, "g.step", 12, "the next one comes soon")
        assert first.target == Place(LEAST, "g.step.at-least-once", 12)

    def test_and_back(self) -> None:
        """The suffix of the old class goes; a loss needs a reason."""
        log = gone_on(begun(), Step.SWITCH, Step.FINISH, Step.RETIRE)

        first = begin(CATALOG, log, "step", MOST, rationale=" nobody cares any more ", now_ms=NOW_MS)

        assert first.source == Place(LEAST, "g.step.at-least-once", 12)
        assert first.target == Place(MOST, "g.step.at-most-once", 12, "nobody cares any more")

    def test_never_a_topic_that_was_used_before(self) -> None:
        """Redis remembers by topic and offset what was applied."""
        log = gone_on(begun(), Step.SWITCH, Step.FINISH, Step.RETIRE)
        log = gone_on(begun(to=MOST, log=log), Step.SWITCH, Step.FINISH, Step.RETIRE)

        first = begin(CATALOG, log, "step", LEAST, rationale=None, now_ms=NOW_MS)

        assert first.target.topic == "g.step.9.at-least-once"

    @pytest.mark.parametrize(
        ("name", "to", "rationale", "message"),
        [
            ("stepp", LEAST, None, "no type 'stepp'; types of your own in the catalog: loot, step"),
            ("position", LEAST, None, "'position' is built in and stays at-most-once"),
            ("kill", MOST, "long enough", "'kill' is built in and stays at-least-once"),
            ("step", MOST, "long enough", "is at-most-once already, in topic g.step"),
            ("step", LEAST, "long enough", "--rationale is for at-most-once"),
            ("loot", MOST, None, "--rationale TEXT, at least 10 characters"),
            ("loot", MOST, "short", "--rationale TEXT, at least 10 characters"),
        ],
    )
    def test_refusals(self, name: str, to: DeliveryClass, rationale: str | None, message: str) -> None:
        """Says what is wrong and what would be right."""
        with pytest.raises(ConfigurationError, match=message):
            begin(CATALOG, Log(), name, to, rationale=rationale, now_ms=NOW_MS)

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ((), "--rollback"),
            ((Step.SWITCH,), "finish it with `gamebus migrate step --to at-least-once`"),
            ((Step.SWITCH, Step.FINISH), "--retire"),
        ],
        ids=str,
    )
    def test_one_at_a_time(self, steps: tuple[Step, ...], message: str) -> None:
        """A type that migrates must arrive before it goes elsewhere."""
        with pytest.raises(ConfigurationError, match=message):
            begin(CATALOG, gone_on(begun(), *steps), "step", MOST, rationale="long enough", now_ms=NOW_MS)

    def test_more_durable_topics_than_a_cursor_holds(self) -> None:
        """What would stop every gateway is found out before anything is written."""
        names = [f"loot-{number}" for number in range(14)]
        text = "".join(f'[types.{name}]\ndelivery = "at-least-once"\ntopic = "g.{name}"\n' for name in names)

        with pytest.raises(ConfigurationError, match="let types share a topic"):
            begin(parse_catalog(FILE + text), Log(), "step", LEAST, rationale=None, now_ms=NOW_MS)


class TestNextStep:
    @pytest.mark.parametrize(
        ("step", "facts", "due"),
        [
            (Step.PREPARE, Facts(), Step.SWITCH),
            (Step.PREPARE, Facts(behind=("boot",)), None),
            (Step.PREPARE, Facts(unread=(3,)), None),
            (Step.SWITCH, Facts(), Step.FINISH),
            (Step.SWITCH, Facts(behind=("boot",)), None),
            (Step.SWITCH, Facts(undrained=("2 records",)), None),
            (Step.FINISH, Facts(), None),
            (Step.RETIRE, Facts(), None),
            (Step.ROLL_BACK, Facts(), None),
        ],
        ids=str,
    )
    def test_waits_for_what_it_needs(self, step: Step, facts: Facts, due: Step | None) -> None:
        """Switched only when everybody reads the new topic; finished only when nobody writes to the old one and it is drained."""
        assert next_step(step, facts) is due

    @pytest.mark.parametrize(
        ("facts", "due"),
        [(Facts(), Step.RETIRE), (Facts(behind=("boot",)), None), (Facts(undrained=("1",)), None)],
        ids=str,
    )
    def test_retires_on_request(self, facts: Facts, due: Step | None) -> None:
        """And never undrained."""
        assert next_step(Step.FINISH, facts, retire=True) is due


def migration(*steps: Step, name: str = "step", to: DeliveryClass = LEAST) -> Migration:
    return gone_on(begun(name, to), *steps, name=name).migrations[name]


class TestMayRollBack:
    def test_before_the_switch(self) -> None:
        """Nothing is in the new topic."""
        may_roll_back(migration())

    @pytest.mark.parametrize("steps", [(Step.SWITCH,), (Step.SWITCH, Step.FINISH)], ids=str)
    def test_not_after_it(self, steps: tuple[Step, ...]) -> None:
        """Events are in the new topic; the way back is a migration of its own, and is named."""
        with pytest.raises(ConfigurationError, match="`gamebus migrate step --to at-most-once`"):
            may_roll_back(migration(*steps))

    @pytest.mark.parametrize("steps", [(Step.ROLL_BACK,), (Step.SWITCH, Step.FINISH, Step.RETIRE)], ids=str)
    def test_not_when_it_is_over(self, steps: tuple[Step, ...]) -> None:
        """There is nothing to undo."""
        with pytest.raises(ConfigurationError, match="nothing to roll back"):
            may_roll_back(migration(*steps))


class TestMayRetire:
    @pytest.mark.parametrize("steps", [(), (Step.SWITCH,)], ids=str)
    def test_not_before_it_is_drained(self, steps: tuple[Step, ...]) -> None:
        """Events in it may not have had their effect."""
        with pytest.raises(ConfigurationError, match="is not drained"):
            may_retire(migration(*steps), now_ms=NOW_MS, resume_ms=0)

    def test_not_when_it_was_rolled_back(self) -> None:
        """The topic that would be deleted is the one in use."""
        with pytest.raises(ConfigurationError, match="there is no old topic"):
            may_retire(migration(Step.ROLL_BACK), now_ms=NOW_MS, resume_ms=0)

    def test_not_while_clients_may_resume_from_it(self) -> None:
        """A client that comes back within `history_ms` must not miss acknowledged events in silence."""
        back = migration(Step.SWITCH, Step.FINISH, name="loot", to=MOST)

        with pytest.raises(ConfigurationError, match="retire it in 60 s"):
            may_retire(back, now_ms=NOW_MS + 60_000, resume_ms=120_000)
        may_retire(back, now_ms=NOW_MS + 120_000, resume_ms=120_000)

    def test_a_realtime_topic_at_once(self) -> None:
        """Nobody resumes at-most-once events. Asked again after a crash, it is retired again."""
        may_retire(migration(Step.SWITCH, Step.FINISH), now_ms=NOW_MS, resume_ms=120_000)
        may_retire(migration(Step.SWITCH, Step.FINISH, Step.RETIRE), now_ms=NOW_MS, resume_ms=120_000)
