"""Generations of the catalog."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.errors import CatalogError, RecordError
from gamebus.generations import (
    Generation,
    Log,
    Place,
    Step,
    decode_generation,
    encode_generation,
    fold,
    overlay,
)

FILE = """
[types.step]
delivery = "at-most-once"
topic = "g.step"
key = "player"
rationale = "the next one comes soon"
[types.walk]
delivery = "at-most-once"
topic = "g.step"
rationale = "the next one comes soon"
[topics."g.step"]
partitions = 5
"""
EDITED = """
[types.step]
delivery = "at-least-once"
topic = "g.step.at-least-once"
[types.walk]
delivery = "at-most-once"
topic = "g.step"
rationale = "the next one comes soon"
[topics."g.step"]
partitions = 5
"""
OLD = Place(DeliveryClass.AT_MOST_ONCE, "g.step", 5, "the next one comes soon")
NEW = Place(DeliveryClass.AT_LEAST_ONCE, "g.step.at-least-once", 5)
BACK = Place(DeliveryClass.AT_MOST_ONCE, "g.step.3.at-most-once", 5, "it was not worth it")


def generation(number: int, step: Step, source: Place = OLD, target: Place = NEW, name: str = "step") -> Generation:
    return Generation(number, step, name, source, target, 1000 + number)


def log_of(*steps: Step) -> Log:
    return fold(generation(number, step) for number, step in enumerate(steps, start=1))


FORWARD = (Step.PREPARE, Step.SWITCH, Step.FINISH, Step.RETIRE)


class TestLog:
    @pytest.mark.parametrize("count", range(1, 5))
    def test_the_steps_follow_each_other(self, count: int) -> None:
        """Prepare, switch, finish, retire: each is the state until the next one."""
        log = log_of(*FORWARD[:count])

        assert (log.number, log.migrations["step"].step) == (count, FORWARD[count - 1])

    @pytest.mark.parametrize(
        ("before", "step"),
        [
            ((), Step.SWITCH),
            ((), Step.RETIRE),
            ((Step.PREPARE,), Step.FINISH),
            ((Step.PREPARE,), Step.PREPARE),
            ((Step.PREPARE, Step.SWITCH), Step.ROLL_BACK),
            ((Step.PREPARE, Step.SWITCH), Step.RETIRE),
            ((Step.PREPARE, Step.SWITCH, Step.FINISH), Step.PREPARE),
            ((Step.PREPARE, Step.ROLL_BACK), Step.SWITCH),
        ],
        ids=str,
    )
    def test_a_step_out_of_turn_does_not_count(self, before: tuple[Step, ...], step: Step) -> None:
        """Whoever wrote it, every reader passes it over."""
        log = log_of(*before)

        assert log.take(generation(log.number + 1, step)) is log

    def test_of_two_writers_the_first_counts(self) -> None:
        """Both wrote generation 1; and a record that was written twice is one."""
        first = generation(1, Step.PREPARE)
        other = generation(1, Step.PREPARE, name="walk")

        assert fold([first, other, first]) == fold([first])

    def test_remembers_where_a_type_was(self) -> None:
        """A file that nobody has edited since stays good, however often the type has moved."""
        log = log_of(*FORWARD)
        log = log.take(generation(5, Step.PREPARE, NEW, BACK)).take(generation(6, Step.SWITCH, NEW, BACK))

        assert log.migrations["step"].past == (OLD, NEW)

    @given(
        steps=st.lists(
            st.tuples(st.sampled_from(Step), st.integers(0, 3), st.sampled_from(["step", "walk"]), st.booleans()),
            max_size=20,
        )
    )
    def test_no_log_mixes_classes(self, steps: list[tuple[Step, int, str, bool]]) -> None:
        """Whatever is written, by whom and in what order: a type is published to one topic, and a topic has one class, at every
        generation (Hypothesis)."""
        base = parse_catalog(FILE)
        log = Log()
        for step, ahead, name, back in steps:
            last = log.migrations.get(name)
            source = last.place if last is not None else replace(OLD)
            target = replace(BACK if back else NEW, topic=f"g.{name}.{log.number}.{'most' if back else 'least'}")
            log = log.take(generation(log.number + ahead, step, source, target, name))

            _keeps_its_promises(overlay(base, log))


def _keeps_its_promises(catalog: Catalog) -> None:
    classes: dict[str, DeliveryClass] = {}
    for event_type in (*catalog.types.values(), *catalog.also.values()):
        assert classes.setdefault(event_type.topic, event_type.delivery) is event_type.delivery
        assert catalog.topics[event_type.topic].delivery is event_type.delivery
        assert event_type.durable is (event_type.rationale is None)
        assert event_type.key == "room" or not event_type.durable


class TestOverlay:
    def test_nothing_in_the_log(self) -> None:
        """The file as it is."""
        base = parse_catalog(FILE)

        assert overlay(base, Log()) == base

    @pytest.mark.parametrize(
        ("steps", "published", "besides"),
        [
            (FORWARD[:1], OLD, NEW),
            (FORWARD[:2], NEW, OLD),
            (FORWARD[:3], NEW, OLD),
            (FORWARD, NEW, None),
            ((Step.PREPARE, Step.ROLL_BACK), OLD, None),
        ],
        ids=lambda steps: str(steps[-1]) if isinstance(steps, tuple) else None,
    )
    def test_each_step(self, steps: tuple[Step, ...], published: Place, besides: Place | None) -> None:
        """Published to one topic; the other one is read until it is retired."""
        catalog = overlay(parse_catalog(FILE), log_of(*steps))

        assert published.holds(catalog.types["step"])
        assert besides.holds(catalog.also["step"]) if besides else not catalog.also
        assert catalog.generation == len(steps)
        topics = {topic.name for delivery in DeliveryClass for topic in catalog.event_topics(delivery)}
        assert (NEW.topic in topics) is (NEW in (published, besides))
        _keeps_its_promises(catalog)

    def test_a_topic_that_another_type_uses_stays(self) -> None:
        """The old one is given up by this type only."""
        catalog = overlay(parse_catalog(FILE), log_of(*FORWARD))

        assert [event_type.name for event_type in catalog.types_of("g.step")] == ["walk"]
        assert catalog.entry("step", "g.step") is None

    def test_the_rest_of_the_entry_stays(self) -> None:
        """Who may publish it, how often, how large; the partition count, so that rooms keep their neighbours. What the class does not
        have goes."""
        catalog = overlay(parse_catalog(FILE), log_of(*FORWARD[:2]))

        before, after = catalog.also["step"], catalog.types["step"]
        assert (after.roles, after.per_second, after.max_bytes) == (before.roles, before.per_second, before.max_bytes)
        assert catalog.topics[after.topic].partitions == 5
        assert catalog.topics[after.topic].min_insync_replicas == 2
        assert (before.key, after.key, after.rationale) == ("player", "room", None)

    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_an_edited_file_is_the_same(self, count: int) -> None:
        """Once it is switched, the file may say so."""
        log = log_of(*FORWARD[:count])
        old, new = overlay(parse_catalog(FILE), log), overlay(parse_catalog(EDITED), log)

        assert new.types["step"] == old.types["step"]
        assert {name: topic.partitions for name, topic in new.topics.items()} == {
            name: topic.partitions for name, topic in old.topics.items()
        }

    def test_edited_too_early(self) -> None:
        """A process with that file would publish where nobody may read yet."""
        with pytest.raises(CatalogError, match=r"log of generations has it at-most-once in topic 'g.step'"):
            overlay(parse_catalog(EDITED), log_of(Step.PREPARE))

    def test_a_type_that_migrates_and_is_missing(self) -> None:
        """Its events would go to the dead letters."""
        with pytest.raises(CatalogError, match="put it back until the old topic is retired"):
            overlay(parse_catalog(), log_of(*FORWARD[:2]))

    def test_a_type_that_was_given_up_afterwards(self) -> None:
        """When it is over, a type may leave the file."""
        assert "step" not in overlay(parse_catalog(), log_of(*FORWARD)).types

    def test_a_third_place(self) -> None:
        """File and log contradict each other: a process never guesses."""
        moved = EDITED.replace("g.step.at-least-once", "g.other")

        with pytest.raises(CatalogError, match="change either with `gamebus migrate` only") as caught:
            overlay(parse_catalog(moved), log_of(*FORWARD), file="gamebus.toml")
        assert (caught.value.file, caught.value.event_type, caught.value.topic) == ("gamebus.toml", "step", "g.other")

    def test_a_topic_of_the_log_for_another_class(self) -> None:
        """A file that was never told of the migration must not take its topic for something else."""
        text = (
            FILE + '[types.run]\ndelivery = "at-most-once"\ntopic = "g.step.at-least-once"\nrationale = "long enough"\n'
        )

        with pytest.raises(CatalogError, match="would carry two delivery classes"):
            overlay(parse_catalog(text), log_of(*FORWARD[:2]))


class TestRecord:
    @given(number=st.integers(1, 2**31), step=st.sampled_from(Step), at_ms=st.integers(0, 2**48))
    def test_reads_what_it_wrote(self, number: int, step: Step, at_ms: int) -> None:
        """JSON, for whoever looks into the topic (Hypothesis)."""
        written = Generation(number, step, "step", OLD, NEW, at_ms)

        assert decode_generation(encode_generation(written)) == written

    @pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b"1", b"\xff", b'{"version": 2}'], ids=repr)
    def test_anything_else_is_refused(self, value: bytes | None) -> None:
        """A process that cannot read the log must not guess what it says."""
        with pytest.raises(RecordError):
            decode_generation(value)
