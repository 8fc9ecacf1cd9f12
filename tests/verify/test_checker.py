"""The checker: silent on what was promised, loud on each way of breaking it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamebus.verify.anomaly import ANOMALIES
from gamebus.verify.checker import check, count
from gamebus.verify.history import (
    Attempt,
    Commit,
    Delivered,
    Effect,
    Event,
    Fault,
    HistoryWriter,
    Joined,
    Ledger,
    Logged,
    read_history,
)
from tests.verify.histories import BAD, CHAT, ROOM, changed, durable, find, good, killed_with, realtime, without

CASES = [(name, make) for name, makers in BAD.items() for make in makers]


def names(history: list[Event]) -> set[str]:
    return {anomaly.name for anomaly in check(history)}


class TestBad:
    def test_every_anomaly_has_a_history(self) -> None:
        """A check that was never seen to fail proves nothing."""
        assert BAD.keys() == set(ANOMALIES)

    @pytest.mark.parametrize(("name", "make"), CASES, ids=[f"{name}-{make.__name__}" for name, make in CASES])
    def test_is_found_with_its_evidence(self, name: str, make: Callable[[list[Event]], list[Event]]) -> None:
        """Each anomaly is found by its name, and the evidence names who and where."""
        found = [anomaly for anomaly in check(make(good())) if anomaly.name == name]

        assert found
        assert all(len(anomaly.evidence) > 20 for anomaly in found)

    @settings(max_examples=60)
    @given(case=st.sampled_from(CASES), size=st.integers(3, 30), seed=st.integers(0, 2**32))
    def test_is_found_in_any_order_and_size(
        self, case: tuple[str, Callable[[list[Event]], list[Event]]], size: int, seed: int
    ) -> None:
        """Lines of several processes come in any order, and one broken promise among many kept ones is not overlooked."""
        name, make = case
        history = make(good(size))
        random.Random(seed).shuffle(history)

        assert name in names(history)


class TestGood:
    @settings(max_examples=40)
    @given(size=st.integers(3, 40), seed=st.integers(0, 2**32))
    def test_is_silent(self, size: int, seed: int) -> None:
        """A run in which every promise was kept has no anomaly, in whatever order its lines are read."""
        history = good(size)
        random.Random(seed).shuffle(history)

        assert check(history) == []

    def test_counts_name_every_anomaly(self) -> None:
        """The summary has every known name, so that a script can tell zero from not looked for."""
        assert count(check(good())) == dict.fromkeys(ANOMALIES, 0)

    def test_loss_of_positions_is_no_anomaly(self) -> None:
        """At most once: a position that was accepted and came nowhere is a loss, when the ledger says so."""
        history = [*good(), replace(find(good(), Attempt, delivery="realtime"), id="4", seq=4)]
        history = changed(history, find(history, Ledger), attempted=4, lost_on_wire=1)

        assert check(history) == []

    def test_unknown_is_excused_by_a_kill_up_to_what_was_in_flight(self) -> None:
        """A killed publisher takes with it what it had not reported; more than it had in flight is not excused."""
        history = [*good(), *realtime(4, 4.0)]

        assert check(killed_with(history, 1)) == []
        assert names(killed_with(history, 0)) == {"unaccounted"}

    def test_a_publish_in_which_its_process_was_stopped_did_not_wait(self) -> None:
        """It ends when the process goes on; one that ends later is blocked all the same."""
        history = BAD["blocked_publish"][0](good())
        ended_at = find(history, Attempt, delivery="realtime").at + 5.0

        assert names([*history, Fault("gateway_stop", ended_at - 4.0, ended_at - 0.01)]) == set()
        assert names([*history, Fault("gateway_stop", ended_at - 4.0, ended_at - 1.0)]) == {"blocked_publish"}
        assert names([*history, Fault("broker_kill", ended_at - 4.0, ended_at - 0.01)]) == {"blocked_publish"}

    def test_a_tick_that_was_made_in_time_is_not_stale(self) -> None:
        """It waited where the machine was too busy to read it."""
        history = good()
        shown = find(history, Delivered, delivery="realtime")

        assert names(changed(history, shown, at=shown.at + 10.0, ticked_at=shown.at)) == set()

    def test_accounts_before_the_last_are_part_of_it(self) -> None:
        """A stream that is read again and again is counted once."""
        history = good()
        ledger = find(history, Ledger)
        earlier = replace(ledger, at=ledger.at - 1.0, attempted=1, processed=1, ended=False)

        assert names([earlier, *history]) == set()

    def test_unknown_outcome_may_be_applied_or_not(self) -> None:
        """Unknown is a promise to nobody: with the effect or without it the history is good."""
        history = changed(good(), find(good(), Attempt, delivery="durable"), outcome="unknown")
        lone = [*history, replace(find(history, Attempt, delivery="durable"), id="x", seq=9, outcome="unknown")]

        assert names(lone) == set()

    def test_an_event_that_was_said_twice_stands_twice(self) -> None:
        """A publisher that re-sends may leave two records; effect, delivery and order are those of the first."""
        history = good()
        again = replace(find(history, Attempt, delivery="durable", id="1"), at=5.0, seq=4, connection="ann-2")
        second = replace(find(history, Logged, topic=CHAT, id="1"), offset=3)

        assert check([*history, again, second]) == []

    def test_a_resume_goes_on(self) -> None:
        """A client that came back with its cursor has no gap when it was sent everything over both connections."""
        history = changed(good(), find(good(), Delivered, delivery="durable", id="3"), connection="bob-2")

        assert check([*history, Joined("bob", "bob-2", ROOM, recovered=True, at=2.5)]) == []

    def test_a_join_without_recovery_begins_anew(self) -> None:
        """`recovered` false says that something is missing: that is no gap."""
        history = good()
        history = without(history, find(history, Delivered, delivery="durable", id="2"))
        history = changed(history, find(history, Delivered, delivery="durable", id="3"), connection="bob-2")

        assert check([*history, Joined("bob", "bob-2", ROOM, recovered=False, at=2.5)]) == []

    def test_a_failed_commit_is_none(self) -> None:
        """What Kafka refused moved nothing: neither back, nor past a record."""
        refused = Commit("durable", "m9", 1, CHAT, 0, 1, 8.0, 8.1, ok=False)
        early = Commit("durable", "m9", 1, CHAT, 0, 3, 0.0, 0.1, ok=False)

        assert check([*good(), refused, early]) == []

    def test_a_refused_event_has_no_effect(self) -> None:
        """Failed means surely not written."""
        event = durable(9, 9.0)[0]
        assert isinstance(event, Attempt)

        assert check([*good(), replace(event, outcome="failed")]) == []
        assert names([*good(), replace(event, outcome="failed"), Effect(ROOM, "ann", "9", 1)]) == {"failed_but_applied"}


class TestHistory:
    def test_comes_back_as_it_was_written(self, tmp_path: Path) -> None:
        """JSON Lines lose nothing, and a line that a killed process was writing is left out."""
        path = tmp_path / "member.jsonl"
        writer = HistoryWriter(path)
        for event in good():
            writer.write(event)
        writer.close()
        with path.open("a") as file:
            file.write('{"kind":"proces')

        assert read_history([path]) == good()

    def test_a_broken_line_is_named(self, tmp_path: Path) -> None:
        """A history that cannot be read is no verdict: the error says where."""
        path = tmp_path / "member.jsonl"
        path.write_text('{"kind":"effect","room":"r"}\n')

        with pytest.raises(ValueError, match=r"member\.jsonl:1"):
            read_history([path])
