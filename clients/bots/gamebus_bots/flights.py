"""When positions were planned and sent, and how long others took to see them. Pure: time is an argument.

A position that is overtaken in a tick is never received, but what it said is: a receiver that sees number 9 after number 5 has
6..9 at that moment, each as late as it then is. So a stall of two seconds is in the figures as all the positions that it held up,
and not as the one that came after it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import combinations
from random import Random
from typing import Final

_RING: Final = 512
"""Positions per player whose times are kept: 25 s at 20 a second."""

_NEVER: Final = float("nan")


class Flights:
    """Times of the newest positions, by player and seq. Bounded: older ones are forgotten."""

    def __init__(self) -> None:
        self._planned: dict[str, array[float]] = {}
        self._sent: dict[str, array[float]] = {}
        self._newest: dict[str, int] = {}

    def planned(self, player: str, seq: int, planned_s: float) -> None:
        """A position is due; seq rises by one for each of a player."""
        if player not in self._planned:
            self._planned[player], self._sent[player] = array("d", bytes(8 * _RING)), array("d", bytes(8 * _RING))
        self._planned[player][seq % _RING] = planned_s
        self._sent[player][seq % _RING] = _NEVER
        self._newest[player] = seq

    def sent(self, player: str, seq: int, sent_s: float) -> None:
        """It was written; without this it was not."""
        self._sent[player][seq % _RING] = sent_s

    def newest(self, player: str) -> int:
        """Seq of the newest one; 0 without any."""
        return self._newest.get(player, 0)

    def times(self, player: str, seq: int) -> tuple[float, float] | None:
        """When it was planned and sent (NaN: never); None when unknown or too long ago."""
        age = self._newest.get(player, -1) - seq
        if not 0 <= age < _RING:
            return None
        return self._planned[player][seq % _RING], self._sent[player][seq % _RING]


class Watch:
    """One receiver's eyes on some other players of its room.

    Attributes:
        stale: positions older than one that was seen on the same connection.
        forgotten: positions that were seen too late to say when they were planned.
    """

    __slots__ = ("_flights", "_seen", "forgotten", "players", "stale")

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self.players: list[str] = []
        # Player -> seq seen last on this connection.
        self._seen: dict[str, int] = {}
        self.stale = 0
        self.forgotten = 0

    def reconnected(self) -> None:
        """What was missed is not owed: the connection begins anew."""
        self._seen.clear()

    def out_of_view(self, player: str) -> None:
        """The player is no longer shown."""
        self._seen.pop(player, None)

    def saw(self, player: str, seq: int) -> Iterator[tuple[float, float]]:
        """A position came; the times of all that are thereby known."""
        last = self._seen.get(player, seq - 1)
        if seq < last:
            self.stale += 1
            return
        self._seen[player] = seq
        for known in range(last + 1, seq + 1):
            times = self._flights.times(player, known)
            if times is None:
                self.forgotten += 1
            else:
                yield times

    def unseen(self) -> Iterator[tuple[float, float]]:
        """Times of positions that are still to be seen."""
        for player, last in self._seen.items():
            for seq in range(last + 1, self._flights.newest(player) + 1):
                times = self._flights.times(player, seq)
                if times is not None:
                    yield times


def pairs(rooms: list[list[str]], limit: int, rng: Random) -> tuple[list[tuple[str, str]], int]:
    """Pairs `(receiver, player)` that are watched, at random, and how many there are; all, where the limit allows it."""
    total = sum(len(members) * (len(members) - 1) for members in rooms)
    if total <= limit:
        both = [pair for members in rooms for pair in combinations(members, 2)]
        return [*both, *((second, first) for first, second in both)], total
    chosen: set[tuple[str, str]] = set()
    weights = [len(members) * (len(members) - 1) for members in rooms]
    while len(chosen) < limit:
        (members,) = rng.choices(rooms, weights)
        first, second = rng.sample(members, 2)
        chosen.add((first, second))
    return sorted(chosen), total
