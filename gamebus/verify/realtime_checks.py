"""What at most once promises, checked against a history. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from gamebus.verify.anomaly import Anomaly, Bounds
from gamebus.verify.history import Attempt, Commit, Delivered, Fault, Killed, Ledger, Processed

_CLOCK_IS_WRONG_S: Final = 60.0
"""A gateway that says of a tick that it was made that long before or after it arrived has another clock than this machine."""


def check_processing(processed: Sequence[Processed], commits: Sequence[Commit]) -> Iterator[Anomaly]:
    """`duplicate`, `reordered`, `processed_before_committed`, `redelivered_after_commit`.

    Order is that of a stream (client, topic, partition) whoever processed it: a hand-over must not go back either.
    """
    yield from _duplicates(processed)
    yield from _reordered(processed)
    yield from _commit_order(processed, commits)


def _duplicates(processed: Sequence[Processed]) -> Iterator[Anomaly]:
    first: dict[tuple[str, str], Processed] = {}
    for event in processed:
        before = first.setdefault((event.client, event.id), event)
        if before is not event:
            yield Anomaly(
                "duplicate",
                f"{event.client}/{event.id} was processed at {before.at:.3f} by {before.member} from offset {before.offset} "
                f"and at {event.at:.3f} by {event.member} from offset {event.offset} of {event.topic}/{event.partition}",
            )


def _reordered(processed: Sequence[Processed]) -> Iterator[Anomaly]:
    newest: dict[tuple[str, str, int], Processed] = {}
    # The sort is stable: records of one call have one moment, and stand in the order of the call.
    for event in sorted(processed, key=lambda event: event.at):
        stream = (event.client, event.topic, event.partition)
        before = newest.get(stream)
        if before is not None and int(event.id) < int(before.id):
            yield Anomaly(
                "reordered",
                f"{event.client}/{event.id} was processed at {event.at:.3f} after its {before.id} at {before.at:.3f}",
            )
        else:
            newest[stream] = event


def _commit_order(processed: Sequence[Processed], commits: Sequence[Commit]) -> Iterator[Anomaly]:
    """A record may be processed by whose commit was the first to pass its offset, and after that commit."""
    passed: dict[tuple[str, int], list[Commit]] = defaultdict(list)
    for commit in sorted((commit for commit in commits if commit.ok), key=lambda commit: commit.ended_at):
        of_partition = passed[commit.topic, commit.partition]
        if not of_partition or commit.offset > of_partition[-1].offset:
            of_partition.append(commit)
    for event in processed:
        of_partition = passed[event.topic, event.partition]
        index = bisect_right(of_partition, event.offset, key=lambda commit: commit.offset)
        first = of_partition[index] if index < len(of_partition) else None
        where = (
            f"offset {event.offset} of {event.topic}/{event.partition}, processed at {event.at:.3f} by {event.member},"
        )
        if first is None:
            yield Anomaly("processed_before_committed", f"{where} was never committed")
        elif first.member != event.member:
            yield Anomaly(
                "redelivered_after_commit", f"{where} was committed by {first.member} at {first.ended_at:.3f} already"
            )
        elif first.ended_at > event.at:
            yield Anomaly("processed_before_committed", f"{where} was committed at {first.ended_at:.3f} only")


def check_publishing(attempts: Sequence[Attempt], faults: Sequence[Fault], bounds: Bounds) -> Iterator[Anomaly]:
    """`blocked_publish`: a call that waited for something else than its turn on the processor, or for its process to go on after it
    was stopped."""
    went_on = [fault.healed_at for fault in faults if fault.name == "gateway_stop"]
    for attempt in attempts:
        waited_s = attempt.took_s - attempt.ran_s
        ended_at = attempt.at + attempt.took_s
        if waited_s > bounds.blocked_s and not any(abs(ended_at - at) < bounds.blocked_s for at in went_on):
            yield Anomaly(
                "blocked_publish",
                f"publish of {attempt.client}/{attempt.id} at {attempt.at:.3f} kept its caller {attempt.took_s:.3f} s, "
                f"{waited_s:.3f} s of them waiting",
            )


def check_freshness(attempts: Sequence[Attempt], delivered: Sequence[Delivered], bounds: Bounds) -> Iterator[Anomaly]:
    """`stale_delivered`: a tick showed a position that was too old to be written when it was."""
    published = {(attempt.client, attempt.id): attempt for attempt in attempts}
    for event in delivered:
        attempt = published.get((event.publisher, event.id))
        if attempt is None:
            continue  # `phantom` is a promise of durable events; here the position may be one of before the run
        shown_at = event.at
        if event.ticked_at is not None and abs(event.ticked_at - event.at) < _CLOCK_IS_WRONG_S:
            # A machine that is too busy to read is not a gateway that shows old positions.
            shown_at = min(shown_at, event.ticked_at)
        age_s = shown_at - attempt.at
        if age_s > bounds.max_age_s + bounds.delivery_s:
            yield Anomaly(
                "stale_delivered",
                f"{event.client} was shown {event.publisher}/{event.id} of room {event.room} {age_s:.3f} s after it was published",
            )


def check_accounting(
    ledgers: Sequence[Ledger], attempts: Sequence[Attempt], killed: Sequence[Killed]
) -> Iterator[Anomaly]:
    """`unaccounted`: the identity does not hold at some report, or at the end it counts attempts that were none or misses some, or
    `unknown` has no excuse.

    A process that was killed may leave as many unknown as it had in flight, and attempts after its last report that no ledger
    has heard of.
    """
    for ledger in ledgers:
        terms = ledger.processed + ledger.dropped + ledger.lost_on_wire + ledger.dropped_on_failed_commit
        terms += ledger.lost_in_crash + ledger.skipped + ledger.unknown
        if terms != ledger.attempted:
            yield Anomaly("unaccounted", f"{_stream(ledger)}: {ledger.attempted} attempted, {terms} accounted for")
    last: dict[tuple[str, str, int], Ledger] = {}
    for ledger in sorted(ledgers, key=lambda ledger: ledger.at):
        last[ledger.client, ledger.topic, ledger.partition] = ledger
    made: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        made[attempt.connection] += 1
    excused: dict[str, int] = defaultdict(int)
    for death in killed:
        excused[death.process] += death.in_flight
    for process, count in made.items():
        told = sum(ledger.attempted for ledger in last.values() if ledger.client == process)
        missing = count - told
        if not 0 <= missing <= excused[process]:
            yield Anomaly("unaccounted", f"{process} attempted {count}, its ledgers say {told}")
    unknown = sum(ledger.unknown for ledger in last.values())
    if unknown > sum(excused.values()):
        yield Anomaly(
            "unaccounted", f"{unknown} unknown, at most {sum(excused.values())} were in flight in what was killed"
        )


def _stream(ledger: Ledger) -> str:
    return f"stream {ledger.client} of {ledger.topic}/{ledger.partition}"
