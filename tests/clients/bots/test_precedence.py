"""The generator runs first where it may, and only while it plays."""

from __future__ import annotations

import os
import threading

import pytest

from gamebus_bots.precedence import NORMAL, ROUND_ROBIN, precedence


class TestPrecedence:
    def test_is_real_time_where_permitted_and_given_back(self) -> None:
        """The policy that it tells is the one in force; afterwards, and in what is started meanwhile, it is what it was."""
        before = os.sched_getscheduler(0)
        others: list[int] = []
        with precedence() as policy:
            within = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
            thread = threading.Thread(target=lambda: others.append(os.sched_getscheduler(0)))
            thread.start()
            thread.join()
        assert within == {NORMAL: os.SCHED_OTHER, ROUND_ROBIN: os.SCHED_RR}[policy]
        assert others == [os.SCHED_OTHER]
        assert os.sched_getscheduler(0) == before

    def test_is_normal_where_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the right to it, a run goes on as it is, and says so."""

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "sched_setscheduler", refuse)
        with precedence() as policy:
            assert policy == NORMAL
