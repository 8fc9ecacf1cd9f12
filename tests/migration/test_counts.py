"""Counts of a migration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamebus.delivery.group_progress import Progress
from gamebus.migration.counts import DurableCounts, of_ledger, of_offsets
from gamebus.state.ledger import LossRow
from tests.ledger_kit import EMPTY


def row(**terms: Any) -> LossRow:
    return replace(EMPTY, dropped={"expired": 2}, **terms)


class TestOfLedger:
    def test_adds_up_all_streams(self) -> None:
        """The identity holds for the sum; reasons that did not occur are left out."""
        counts = of_ledger([row(attempted=10, processed=7, lost_on_wire=1), row(attempted=5, processed=3)])

        assert (counts.attempted, counts.processed) == (15, 10)
        assert counts.lost == {"expired": 4, "lost_on_wire": 1}
        assert counts.balanced

    def test_nothing(self) -> None:
        """A topic that nobody has published to is balanced too."""
        assert of_ledger([]).balanced

    def test_tells_when_it_does_not_hold(self) -> None:
        """That is a fault, and the command says so."""
        assert not of_ledger([row(attempted=3)]).balanced


class TestOfOffsets:
    def test_counts_what_the_topic_keeps(self) -> None:
        """What retention took is not published, a partition that was never committed is not processed."""
        found = [Progress(beginning=10, end=20, committed=15), Progress(beginning=0, end=3, committed=None)]

        assert of_offsets(found) == DurableCounts(published=13, processed=5)

    def test_a_commit_before_the_log_begins(self) -> None:
        """Retention was faster than the group: what is left of the log is what is left to do."""
        assert of_offsets([Progress(beginning=10, end=20, committed=4)]) == DurableCounts(published=10, processed=0)
