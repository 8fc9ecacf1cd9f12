"""Histories made by hand: a good one, and one for each way of being bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from gamebus.verify.history import (
    Attempt,
    Commit,
    Delivered,
    Effect,
    Event,
    Joined,
    Killed,
    Ledger,
    Logged,
    Processed,
)

POSITIONS, CHAT, ROOM = "gamebus.position", "gamebus.chat", "arena"
LATE = 1000.0
"""After everything else."""

_Kind = TypeVar("_Kind", bound=Event)


def realtime(number: int, at: float) -> list[Event]:
    """A position that went all the way: published, committed, processed, shown."""
    id_, offset = str(number), number - 1
    return [
        Attempt("realtime", "boot", "boot", POSITIONS, ROOM, id_, number, at, 0.00001, 0.00001, "accepted"),
        Logged(POSITIONS, 0, offset, "realtime", ROOM, "boot", id_),
        Commit("realtime", "m1", 1, POSITIONS, 0, offset + 1, at + 0.01, at + 0.02, ok=True),
        Processed("realtime", "m1", POSITIONS, 0, offset, ROOM, "boot", id_, at + 0.03),
        Delivered("realtime", "bob", "bob-1", POSITIONS, ROOM, "boot", id_, at + 0.05),
    ]


def durable(number: int, at: float) -> list[Event]:
    """A chat line that went all the way: acknowledged, applied, committed, delivered."""
    id_, offset = str(number), number - 1
    return [
        Attempt("durable", "ann", "ann-1", CHAT, ROOM, id_, number, at, 0.01, 0.0, "ok"),
        Logged(CHAT, 0, offset, "durable", ROOM, "ann", id_),
        Processed("durable", "m2", CHAT, 0, offset, ROOM, "ann", id_, at + 0.02),
        Commit("durable", "m2", 1, CHAT, 0, offset + 1, at + 0.03, at + 0.04, ok=True),
        Effect(ROOM, "ann", id_, 1),
        Delivered("durable", "bob", "bob-1", CHAT, ROOM, "ann", id_, at + 0.02),
    ]


def good(count: int = 3) -> list[Event]:
    """Everything went as promised."""
    history: list[Event] = [Joined("bob", "bob-1", ROOM, None, 0.0)]
    for number in range(1, count + 1):
        history += realtime(number, float(number)) + durable(number, float(number))
    return [*history, Ledger("boot", POSITIONS, 0, count, count, 0, 0, 0, 0, 0, 0, ended=True, at=0.0)]


def find(history: Sequence[Event], kind: type[_Kind], index: int = 0, **fields: object) -> _Kind:
    """An event of a kind with these fields."""
    return [
        event
        for event in history
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
    ][index]


def changed(history: list[Event], event: Event, **fields: object) -> list[Event]:
    """The history with one event changed."""
    return [replace(event, **fields) if one is event else one for one in history]  # type: ignore[arg-type]


def without(history: list[Event], event: Event) -> list[Event]:
    """The history without one event."""
    return [one for one in history if one is not event]


def _duplicate(history: list[Event]) -> list[Event]:
    first = find(history, Processed, delivery="realtime")
    commit = Commit("realtime", "m1", 1, POSITIONS, 0, 4, LATE, LATE + 0.1, ok=True)
    return [*history, commit, replace(first, offset=3, at=LATE)]


def _reordered(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Processed, delivery="realtime", id="1"), at=LATE)


def _redelivered(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Processed, delivery="realtime", id="2"), member="m9")


def _stale(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Delivered, delivery="realtime"), at=LATE)


def _stale_by_the_gateway(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Delivered, delivery="realtime"), at=LATE, ticked_at=LATE - 1.0)


def _stale_by_a_wrong_clock(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Delivered, delivery="realtime"), at=LATE, ticked_at=LATE - 3600.0)


def _blocked(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Attempt, delivery="realtime"), took_s=5.0)


def _unaccounted(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Ledger), processed=2)


def _unaccounted_once(history: list[Event]) -> list[Event]:
    ledger = find(history, Ledger)
    return [replace(ledger, at=ledger.at - 1.0, lost_on_wire=1), *history]


def _untold(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Ledger), attempted=2, processed=2)


def _unknown(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Ledger), processed=2, unknown=1)


def _uncommitted(history: list[Event]) -> list[Event]:
    return without(history, find(history, Commit, delivery="realtime", offset=3))


def _committed_late(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Commit, delivery="realtime", offset=3), ended_at=LATE)


def _lost(history: list[Event]) -> list[Event]:
    return without(history, find(history, Effect))


def _failed_but_applied(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Attempt, delivery="durable"), outcome="failed")


def _applied_twice(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Effect), count=2)


def _swapped(history: list[Event]) -> list[Event]:
    first, second = find(history, Logged, topic=CHAT, id="1"), find(history, Logged, topic=CHAT, id="2")
    return changed(changed(history, first, id="2"), second, id="1")


def _phantom_effect(history: list[Event]) -> list[Event]:
    return [*history, Effect(ROOM, "ann", "nobody-said-this", 1)]


def _phantom_record(history: list[Event]) -> list[Event]:
    return [*history, Logged(CHAT, 0, 3, "durable", ROOM, "ann", "nobody-said-this")]


def _phantom_delivery(history: list[Event]) -> list[Event]:
    return [*history, replace(find(history, Delivered, delivery="durable"), id="nobody-said-this")]


def _delivered_twice(history: list[Event]) -> list[Event]:
    return [*history, replace(find(history, Delivered, delivery="durable", id="2"), at=LATE)]


def _gap(history: list[Event]) -> list[Event]:
    return without(history, find(history, Delivered, delivery="durable", id="2"))


def _gap_after_resume(history: list[Event]) -> list[Event]:
    history = changed(_gap(history), find(history, Delivered, delivery="durable", id="3"), connection="bob-2")
    return [*history, Joined("bob", "bob-2", ROOM, recovered=True, at=2.5)]


def _committed_early(history: list[Event]) -> list[Event]:
    return changed(history, find(history, Processed, delivery="durable", id="2"), at=LATE)


def _never_processed(history: list[Event]) -> list[Event]:
    return without(history, find(history, Processed, delivery="durable", id="2"))


def _mixed(history: list[Event]) -> list[Event]:
    return [*history, Logged(POSITIONS, 1, 0, "durable", ROOM, "ann", "1")]


def _moved_back(history: list[Event]) -> list[Event]:
    return [*history, Commit("durable", "m3", 2, CHAT, 0, 1, LATE, LATE + 0.1, ok=True)]


BAD: dict[str, list[Callable[[list[Event]], list[Event]]]] = {
    "duplicate": [_duplicate],
    "reordered": [_reordered],
    "redelivered_after_commit": [_redelivered],
    "stale_delivered": [_stale, _stale_by_the_gateway, _stale_by_a_wrong_clock],
    "blocked_publish": [_blocked],
    "unaccounted": [_unaccounted, _unaccounted_once, _untold, _unknown],
    "processed_before_committed": [_uncommitted, _committed_late],
    "lost_acked": [_lost],
    "failed_but_applied": [_failed_but_applied],
    "applied_twice": [_applied_twice],
    "reordered_in_room": [_swapped],
    "phantom": [_phantom_effect, _phantom_record, _phantom_delivery],
    "delivered_twice": [_delivered_twice],
    "gap_delivered": [_gap, _gap_after_resume],
    "committed_before_processed": [_committed_early, _never_processed],
    "mixed_class": [_mixed],
    "commit_moved_back": [_moved_back],
}
"""By anomaly: what makes a good history show it."""


def killed_with(history: list[Event], in_flight: int) -> list[Event]:
    """The history of a run in which the publisher was killed."""
    return [*history, Killed("boot", in_flight, 5.0)]
