"""What the bots know of each other's events: the truth that deliveries are compared with. Pure: time is an argument.

All bots of a run live in one process and share one clock, so nothing has to travel in the events themselves.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ORDERED_TOGETHER: Final = {"chat": "chat", "kill": "combat", "death": "combat"}
"""Event type -> class within which the wire protocol promises order."""


@dataclass(slots=True)
class Published:
    """One durable event of a bot.

    Attributes:
        number: of this room's events, from 0.
        sent_s: when it was given to the client.
        acked_s: when its outcome was known.
        outcome: None while it waits, then `acked`, `nacked` (surely not written) or `unknown`.
        attempts: sends until the ack.
    """

    id: str
    room: str
    type: str
    publisher: str
    number: int
    planned_s: float
    sent_s: float
    acked_s: float = 0.0
    outcome: str | None = None
    attempts: int = 1


class Receiver:
    """What one bot got to see of its room."""

    def __init__(self, room: str) -> None:
        self.room = room
        # Event number -> connection (from 1) on which it came last.
        self._seen = bytearray()
        self._connection = 0
        self.orders: dict[str, array[int]] = {name: array("I") for name in ("chat", "combat")}
        self.whole_since_s: float | None = None
        """From when on every event must have come; None while that cannot be said."""
        self.delivered = 0
        self.duplicates = 0
        self.resumed = 0
        self.not_recovered = 0
        self._lost_s: float | None = None
        # Past the newest event that came on the connection that was lost.
        self._lost_at = 0
        # When there was no connection, and everything was brought afterwards; and `_lost_at`.
        self._absences: list[tuple[float, float, int]] = []

    def lost(self, now_s: float) -> None:
        """The connection is gone, and may come back."""
        if self._lost_s is None:
            self._lost_s, self._lost_at = now_s, len(self._seen)

    def joined(self, now_s: float, *, recovered: bool | None) -> float | None:
        """The room was entered; unless everything missed is brought, what came before is not owed.

        Returns:
            how long the connection was away; None when it is the first one.
        """
        self._connection = self._connection % 255 + 1
        lost_s, self._lost_s = self._lost_s, None
        if recovered is True:
            self.resumed += 1
            if lost_s is not None:
                self._absences.append((lost_s, now_s, self._lost_at))
        else:
            self.not_recovered += recovered is False
            self.whole_since_s = now_s
        return None if lost_s is None else now_s - lost_s

    def ended(self) -> None:
        """The connection ended for good: nothing is owed any more."""
        self.whole_since_s = None

    def got(self, event: Published) -> bool:
        """An event was delivered; False when this connection had brought it before."""
        self.delivered += 1
        if event.number >= len(self._seen):
            self._seen.extend(bytes(event.number + 1 - len(self._seen)))
        before = self._seen[event.number]
        if before == self._connection:
            self.duplicates += 1
            return False
        self._seen[event.number] = self._connection
        if before == 0:
            self.orders[ORDERED_TOGETHER[event.type]].append(event.number)
        return True

    def was_away(self, event: Published) -> bool:
        """Whether an event was under way while this bot had no connection, so that only the resume could bring it.

        Its ack may have come when the bot was back, or the connection was lost with the event in it.
        """
        return any(
            event.sent_s <= back_s and (event.acked_s >= lost_s or event.number >= lost_at)
            for lost_s, back_s, lost_at in self._absences
        )

    def misses(self, event: Published) -> bool:
        """Whether an acked event is owed to this bot and has not come."""
        owed = self.whole_since_s is not None and event.planned_s > self.whole_since_s
        return owed and (event.number >= len(self._seen) or self._seen[event.number] == 0)


class Ledger:
    """All durable events of a run and everyone who should see them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Published] = {}
        self._rooms: dict[str, list[Published]] = {}
        self.receivers: list[Receiver] = []
        self.outcomes: Counter[str] = Counter()
        self.foreign = 0
        """Deliveries of events that no bot published: somebody else plays here too."""

    def __len__(self) -> int:
        return len(self._by_id)

    def receiver(self, room: str) -> Receiver:
        """A new bot in a room."""
        receiver = Receiver(room)
        self.receivers.append(receiver)
        return receiver

    def publish(
        self, event_id: str, room: str, event_type: str, publisher: str, planned_s: float, sent_s: float
    ) -> Published:
        """An event is about to be published."""
        events = self._rooms.setdefault(room, [])
        event = Published(event_id, room, event_type, publisher, len(events), planned_s, sent_s)
        events.append(event)
        self._by_id[event_id] = event
        return event

    def ended(self, event: Published, outcome: str, now_s: float, *, attempts: int = 1) -> None:
        """The outcome of a publish is known."""
        event.acked_s = now_s
        event.outcome = outcome
        event.attempts = attempts
        self.outcomes[outcome] += 1

    def find(self, event_id: str, room: str) -> Published | None:
        """The event that was delivered; None (and counted) when it is not one of the bots'."""
        event = self._by_id.get(event_id)
        if event is None or event.room != room:
            self.foreign += 1
            return None
        return event

    def acked(self) -> Iterator[Published]:
        """Events that were acknowledged, in the order of publishing within each room."""
        return (event for events in self._rooms.values() for event in events if event.outcome == "acked")

    def gaps(self) -> list[tuple[Receiver, Published]]:
        """Acked events that a bot was owed and did not get, once for each such bot."""
        receivers: dict[str, list[Receiver]] = {}
        for receiver in self.receivers:
            receivers.setdefault(receiver.room, []).append(receiver)
        return [
            (receiver, event)
            for event in self.acked()
            for receiver in receivers.get(event.room, ())
            if receiver.misses(event)
        ]

    def out_of_order(self) -> int:
        """Deliveries that contradict the order of the room, and events that overtook an older one of their publisher."""
        count = 0
        for room, events in self._rooms.items():
            for name in ("chat", "combat"):
                orders = [receiver.orders[name] for receiver in self.receivers if receiver.room == room]
                order, disagreements = agreed_order(orders)
                count += disagreements + _overtakings(order, events)
        return count


def agreed_order(orders: Sequence[Sequence[int]]) -> tuple[Sequence[int], int]:
    """The room's order, and how many deliveries stand after one that it puts later.

    It is the order of those who saw most; among several of them the one that the others contradict least.
    """
    longest = max(map(len, orders), default=0)
    best: tuple[Sequence[int], int] = ((), 0)
    for candidate in orders:
        if len(candidate) < longest:
            continue
        rank = {number: index for index, number in enumerate(candidate)}
        count = sum(_late(rank[number] for number in order if number in rank) for order in orders)
        if count == 0:
            return candidate, 0
        if not best[0] or count < best[1]:
            best = candidate, count
    return best


def _overtakings(order: Sequence[int], events: Sequence[Published]) -> int:
    by_publisher: dict[str, list[int]] = {}
    for number in order:
        # An event that was sent again may rightly stand after younger ones.
        if events[number].attempts == 1:
            by_publisher.setdefault(events[number].publisher, []).append(number)
    return sum(_late(numbers) for numbers in by_publisher.values())


def _late(ranks: Iterable[int]) -> int:
    highest = -1
    late = 0
    for rank in ranks:
        if rank < highest:
            late += 1
        else:
            highest = rank
    return late
