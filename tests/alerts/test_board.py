"""Pending, firing, over."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gamebus.alerts.alert import Alert
from gamebus.alerts.expression import Level, metric
from tests.alerts.kit import GATEWAY, OTHER, RecordedBoard

FULL = Alert(
    name="Full",
    expression=Level((metric("full"),)),
    above=0.9,
    for_s=3,
    keep_s=2,
    unit="ratio",
    summary="",
    cause="",
    action="",
)


def judged(values: list[float | None], alert: Alert = FULL, board: RecordedBoard | None = None) -> RecordedBoard:
    """A board after a second for each figure; None: it cannot be told."""
    board = board or RecordedBoard()
    for second, value in enumerate(values):
        board.update([alert], {alert.name: {} if value is None else {GATEWAY: value}}, float(second))
    return board


class TestBoard:
    def test_a_condition_is_pending_until_it_held_for_long_enough(self) -> None:
        """And fires from then on, with the figure of now."""
        board = judged([0.5, 0.95, 0.96, 0.97])
        assert [(active.since, active.fired_at) for active in board.pending] == [(1, None)]
        board.update([FULL], {"Full": {GATEWAY: 0.98}}, 4.0)
        assert board.pending == []
        assert [(active.subject, active.fired_at, active.value) for active in board.firing] == [(GATEWAY, 4, 0.98)]

    def test_what_ends_while_it_is_pending_has_not_been(self) -> None:
        """No alarm, and no history of one."""
        board = judged([1, 1, 0.5, 1, 1])
        assert (board.firing, board.history) == ([], [])
        assert [active.since for active in board.pending] == [3]

    def test_what_fires_is_over_when_it_has_not_held_for_a_while(self) -> None:
        """So that it does not flap; what cannot be told any more is over, too."""
        assert len(judged([1, 1, 1, 1, 0, 1, None, 1, 0]).firing) == 1
        for end in (0.0, None):
            board = judged([1, 1, 1, 1, end, end])
            assert board.firing == []
            (over,) = board.history
            assert (over.subject, over.fired_at, over.resolved_at, over.value) == (GATEWAY, 3, 5, 1)

    def test_an_alert_without_delay_fires_at_once(self) -> None:
        """And ends at once."""
        hasty = replace(FULL, for_s=0, keep_s=0)
        assert len(judged([1], hasty).firing) == 1
        assert judged([1, 0], hasty).firing == []

    def test_processes_are_judged_one_by_one(self) -> None:
        """A gateway that is well hides none that is not."""
        board = RecordedBoard()
        for second in range(5):
            board.update([FULL], {"Full": {GATEWAY: 1.0, OTHER: 0.1 + second}}, float(second))
        assert {active.subject for active in board.firing} == {GATEWAY, OTHER}
        assert board.firing[0].subject == OTHER

    def test_what_is_not_judged_stays_as_it_is(self) -> None:
        """While Redis is away nothing of the fleet is known to be over."""
        board = judged([1, 1, 1, 1])
        board.update([], {}, 100.0)
        assert len(board.firing) == 1

    @given(st.lists(st.sampled_from([0.0, 1.0, None]), max_size=60), st.integers(0, 5), st.integers(0, 5))
    def test_agrees_with_its_definition_for_every_history(
        self, values: list[float | None], for_s: int, keep_s: int
    ) -> None:
        """Firing: held for `for_s` without a break at some time, and never gone for `keep_s` since."""
        board = judged(values, replace(FULL, for_s=for_s, keep_s=keep_s))

        firing, held_since, held_last, fired = False, None, None, 0
        for second, value in enumerate(values):
            if value == 1.0:
                held_since = second if held_since is None else held_since
                held_last = second
                if not firing and second - held_since >= for_s:
                    firing, fired = True, fired + 1
            elif not firing:
                held_since = None
            elif held_last is not None and second - held_last >= keep_s:
                firing, held_since = False, None
        assert bool(board.firing) == firing
        assert bool(board.pending) == (not firing and held_since is not None)
        assert len(board.history) == fired - firing
