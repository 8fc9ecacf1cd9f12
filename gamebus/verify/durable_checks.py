"""What at least once, with effects applied once, promises, checked against a history. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gamebus.verify.anomaly import Anomaly
from gamebus.verify.history import Attempt, Commit, Delivered, Effect, Joined, Logged, Processed

Name = tuple[str, str, str]
"""Room, publisher and id: what a durable event is known by."""


def check_effects(
    attempts: Sequence[Attempt], effects: Sequence[Effect], logged: Sequence[Logged]
) -> Iterator[Anomaly]:
    """`lost_acked`, `failed_but_applied`, `applied_twice`, `phantom`."""
    outcomes: dict[Name, set[str]] = defaultdict(set)
    for attempt in attempts:
        outcomes[attempt.room, attempt.client, attempt.id].add(attempt.outcome)
    counts = {(effect.room, effect.client, effect.id): effect.count for effect in effects}
    for name, said in outcomes.items():
        count = counts.get(name, 0)
        if "ok" in said and not count:
            yield Anomaly("lost_acked", f"{_say(name)} was acknowledged and has no effect")
        if said == {"failed"} and count:
            yield Anomaly("failed_but_applied", f"{_say(name)} was reported as failed and has its effect")
    for name, count in counts.items():
        if count > 1:
            yield Anomaly("applied_twice", f"{_say(name)} had its effect {count} times")
        if name not in outcomes:
            yield Anomaly("phantom", f"{_say(name)} has an effect and was never published")
    for record in logged:
        if record.delivery == "durable" and (record.room, record.client, record.id) not in outcomes:
            yield Anomaly(
                "phantom",
                f"{_say((record.room, record.client, record.id))} stands at offset {record.offset} of {record.topic}/"
                f"{record.partition} and was never published",
            )


def check_order(attempts: Sequence[Attempt], logged: Sequence[Logged]) -> Iterator[Anomaly]:
    """`reordered_in_room`: events of one connection stand in a room's topic in another order than they were published in.

    Only events that were said once: one that is said again after a nack or an unknown outcome comes when it comes.
    """
    once: dict[Name, Attempt | None] = {}
    for attempt in attempts:
        name = (attempt.room, attempt.client, attempt.id)
        once[name] = None if name in once else attempt
    newest: dict[tuple[str, str, str], tuple[int, Name]] = {}
    seen: set[tuple[str, Name]] = set()
    for record in sorted(logged, key=lambda record: (record.topic, record.partition, record.offset)):
        name = (record.room, record.client, record.id)
        said = once.get(name)
        if said is None or (record.topic, name) in seen:
            continue
        seen.add((record.topic, name))
        line = (record.topic, record.room, said.connection)
        seq, before = newest.get(line, (-1, name))
        if said.seq < seq:
            yield Anomaly(
                "reordered_in_room",
                f"{_say(name)}, published as number {said.seq} of {said.connection}, stands behind its number {seq} {_say(before)}",
            )
        else:
            newest[line] = (said.seq, name)


def check_commits(
    processed: Sequence[Processed], commits: Sequence[Commit], logged: Sequence[Logged]
) -> Iterator[Anomaly]:
    """`committed_before_processed`: an offset was committed while a record below it was not done."""
    done: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for event in processed:
        of_partition = done[event.topic, event.partition]
        of_partition[event.offset] = min(event.at, of_partition.get(event.offset, event.at))
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in logged:
        offsets[record.topic, record.partition].append(record.offset)
    for partition, records in offsets.items():
        passing = _earliest(
            [commit for commit in commits if commit.ok and (commit.topic, commit.partition) == partition]
        )
        for offset in sorted(records):
            index = bisect_right(passing, offset, key=lambda commit: commit[0])
            if index == len(passing):
                break
            first = passing[index][1]
            at = done[partition].get(offset)
            if at is None or at > first.began_at:
                when = "never done" if at is None else f"done at {at:.3f}"
                yield Anomaly(
                    "committed_before_processed",
                    f"offset {offset} of {partition[0]}/{partition[1]} was {when}; {first.member} committed {first.offset} "
                    f"at {first.began_at:.3f}",
                )


def _earliest(commits: Sequence[Commit]) -> list[tuple[int, Commit]]:
    """By rising offset: the commit of at least this offset that began first. It is the one that could have come too early."""
    found: list[tuple[int, Commit]] = []
    first: Commit | None = None
    for commit in sorted(commits, key=lambda commit: commit.offset, reverse=True):
        if first is None or commit.began_at < first.began_at:
            first = commit
        found.append((commit.offset, first))
    return found[::-1]


@dataclass(slots=True)
class _View:
    """What one connection was sent of one room and topic, in order."""

    names: list[Name] = field(default_factory=list)
    seen: set[Name] = field(default_factory=set)


def check_delivery(
    delivered: Sequence[Delivered], joined: Sequence[Joined], logged: Sequence[Logged]
) -> Iterator[Anomaly]:
    """`delivered_twice`, `gap_delivered`, and `phantom` for what was delivered and stands nowhere.

    The order of a room is that of its topic, the first time that an event stands there. A client that comes back with a
    cursor and is told `recovered` goes on where it was: its connections are judged as one.
    """
    places = _places(logged)
    views = _views(delivered, joined)
    for (client, _, room, topic), view in views.items():
        order = places.get((room, topic), {})
        positions = []
        for name in view.names:
            if name in view.seen:
                yield Anomaly("delivered_twice", f"{client} was sent {_say(name)} twice on a connection")
            view.seen.add(name)
            if name not in order:
                yield Anomaly("phantom", f"{client} was sent {_say(name)}, which stands nowhere in {topic}")
            else:
                positions.append(order[name])
        if not positions:
            continue
        missing = set(range(min(positions), max(positions) + 1)) - set(positions)
        by_place = {place: name for name, place in order.items()}
        for place in sorted(missing):
            yield Anomaly("gap_delivered", f"{client} was not sent {_say(by_place[place])} between others of {topic}")


def _places(logged: Sequence[Logged]) -> dict[tuple[str, str], dict[Name, int]]:
    places: dict[tuple[str, str], dict[Name, int]] = defaultdict(dict)
    for record in sorted(logged, key=lambda record: (record.partition, record.offset)):
        if record.delivery == "durable":
            of_room = places[record.room, record.topic]
            of_room.setdefault((record.room, record.client, record.id), len(of_room))
    return places


def _views(delivered: Sequence[Delivered], joined: Sequence[Joined]) -> dict[tuple[str, str, str, str], _View]:
    """By client, first connection of an unbroken line of recoveries, room and topic."""
    roots: dict[tuple[str, str], str] = {}
    last: dict[tuple[str, str], str] = {}
    for event in sorted(joined, key=lambda event: event.at):
        line = (event.client, event.room)
        known = roots.get((event.connection, event.room))
        root = last.get(line) if event.recovered else known
        roots[event.connection, event.room] = last[line] = root or event.connection
    views: dict[tuple[str, str, str, str], _View] = defaultdict(_View)
    for message in sorted(delivered, key=lambda message: message.at):
        root = roots.get((message.connection, message.room), message.connection)
        views[message.client, root, message.room, message.topic].names.append(
            (message.room, message.publisher, message.id)
        )
    return views


def _say(name: Name) -> str:
    room, client, id_ = name
    return f"{client}/{id_} of room {room}"
