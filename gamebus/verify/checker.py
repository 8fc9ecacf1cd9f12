"""Checker: from a history to what is wrong with it.

It knows what was promised (docs of the design, not the code) and what the workload saw; nothing of how it is done. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from gamebus.verify import durable_checks, realtime_checks
from gamebus.verify.anomaly import ANOMALIES, Anomaly, Bounds
from gamebus.verify.history import (
    Attempt,
    Commit,
    Delivered,
    Delivery,
    Effect,
    Event,
    Fault,
    Joined,
    Killed,
    Ledger,
    Logged,
    Processed,
)

_Kind = TypeVar("_Kind", Attempt, Commit, Delivered, Effect, Fault, Joined, Killed, Ledger, Logged, Processed)
_Classed = TypeVar("_Classed", Attempt, Commit, Delivered, Logged, Processed)


def check(history: Iterable[Event], bounds: Bounds = Bounds()) -> list[Anomaly]:  # noqa: B008 - frozen
    """Everything in a history that breaks a promise, each with its evidence; the order of the history means nothing."""
    events = list(history)
    return [*_realtime(events, bounds), *_durable(events), *_both(events)]


def count(anomalies: Iterable[Anomaly]) -> dict[str, int]:
    """How many of each; every known name is there."""
    found = Counter(anomaly.name for anomaly in anomalies)
    return {name: found[name] for name in ANOMALIES}


def _realtime(events: Sequence[Event], bounds: Bounds) -> Iterator[Anomaly]:
    attempts = _of(events, Attempt, "realtime")
    yield from realtime_checks.check_processing(_of(events, Processed, "realtime"), _of(events, Commit, "realtime"))
    yield from realtime_checks.check_publishing(attempts, _all(events, Fault), bounds)
    yield from realtime_checks.check_freshness(attempts, _of(events, Delivered, "realtime"), bounds)
    yield from realtime_checks.check_accounting(_all(events, Ledger), attempts, _all(events, Killed))


def _durable(events: Sequence[Event]) -> Iterator[Anomaly]:
    attempts, logged = _of(events, Attempt, "durable"), _of(events, Logged, "durable")
    yield from durable_checks.check_effects(attempts, _all(events, Effect), logged)
    yield from durable_checks.check_order(attempts, logged)
    yield from durable_checks.check_commits(_of(events, Processed, "durable"), _of(events, Commit, "durable"), logged)
    yield from durable_checks.check_delivery(_of(events, Delivered, "durable"), _all(events, Joined), logged)


def _both(events: Sequence[Event]) -> Iterator[Anomaly]:
    """`mixed_class`, `commit_moved_back`, and `duplicate` for what was written at most once and stands in Kafka twice."""
    first: dict[tuple[str, str, str], Logged] = {}
    for record in sorted(_all(events, Logged), key=lambda record: (record.delivery == "durable", record.offset)):
        before = first.get((record.room, record.client, record.id))
        if before is None:
            if record.delivery == "realtime":
                first[record.room, record.client, record.id] = record
        else:
            yield Anomaly(
                "duplicate",
                f"{record.client}/{record.id} of room {record.room} stands at {before.offset} of {before.topic}/{before.partition} "
                f"and at {record.offset} of {record.topic}/{record.partition}",
            )
    classes: dict[str, dict[Delivery, Logged]] = defaultdict(dict)
    for record in _all(events, Logged):
        classes[record.topic].setdefault(record.delivery, record)
    for topic, found in classes.items():
        if len(found) > 1:
            where = " and ".join(f"{name} at {one.partition}/{one.offset}" for name, one in sorted(found.items()))
            yield Anomaly("mixed_class", f"{topic} holds {where}")
    newest: dict[tuple[Delivery, str, int], Commit] = {}
    for commit in sorted(_all(events, Commit), key=lambda commit: commit.ended_at):
        if not commit.ok:
            continue
        newest_before = newest.setdefault((commit.delivery, commit.topic, commit.partition), commit)
        # Of two commits at once nobody can say which came last.
        if commit.offset < newest_before.offset and commit.began_at > newest_before.ended_at:
            yield Anomaly(
                "commit_moved_back",
                f"{commit.topic}/{commit.partition} was committed at {newest_before.offset} by {newest_before.member} and then at "
                f"{commit.offset} by {commit.member} ({commit.ended_at:.3f})",
            )
        elif commit.offset > newest_before.offset:
            newest[commit.delivery, commit.topic, commit.partition] = commit


def _all(events: Iterable[Event], kind: type[_Kind]) -> list[_Kind]:
    return [event for event in events if isinstance(event, kind)]


def _of(events: Iterable[Event], kind: type[_Classed], delivery: Delivery) -> list[_Classed]:
    return [event for event in events if isinstance(event, kind) and event.delivery == delivery]
