"""Recovery times of a run, from its history."""

from __future__ import annotations

from gamebus.verify.history import Attempt, Delivered, Event, Fault
from gamebus.verify.run import recoveries


def said(client: str, at: float, *, took_s: float = 0.1) -> Attempt:
    return Attempt("durable", client, f"{client}#1", "gamebus.chat", "arena", f"{at}", 1, at, took_s, 0.0, "ok")


def moved(client: str, at: float, shown_at: float) -> list[Event]:
    id_ = f"{at}"
    attempt = Attempt("realtime", client, "boot", "position", "arena", id_, 1, at, 0.0, 0.0, "accepted")
    return [attempt, Delivered("realtime", "eye", "eye#1", "position", "arena", client, id_, shown_at)]


class TestRecoveries:
    def test_the_last_client_counts(self) -> None:
        """A gateway that serves on hides no other one that does not: the slowest event and the slowest player decide."""
        before = [said("ann", 1.0), said("bob", 1.0), *moved("ann", 1.0, 1.1), *moved("bob", 1.0, 1.1)]
        after = [said("ann", 10.0), said("bob", 11.0), *moved("ann", 10.1, 10.2), *moved("bob", 12.0, 12.5)]

        found = recoveries([Fault("broker_kill", 5.0, 10.0)], [*before, *after])

        assert found == {"broker_kill": {"max": 2.5, "p50": 2.5}}

    def test_a_player_that_is_never_shown_again_never_recovered(self) -> None:
        """What was said before the fault was healed does not count, however late it arrives."""
        events = [said("ann", 10.5), *moved("ann", 1.0, 1.1), *moved("ann", 9.9, 10.4)]

        found = recoveries([Fault("broker_kill", 5.0, 10.0)], events)

        assert found == {"broker_kill": {"max": None, "p50": None}}
