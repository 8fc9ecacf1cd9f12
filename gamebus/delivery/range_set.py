"""A bounded set of integers, kept as ranges.

Pure. Not safe for several threads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence


class RangeSet:
    """Sorted disjoint ranges of integers, at most `max_ranges` of them.

    Past the bound the lowest ranges are forgotten: how many integers they held stays counted, which ones does not. So
    :meth:`count` stays exact from :attr:`floor` on. Time: adding above all others is constant, the rest is linear in the
    number of ranges.
    """

    __slots__ = ("_highs", "_lows", "_max_ranges", "floor", "forgotten")

    def __init__(self, max_ranges: int = 64) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._max_ranges = max_ranges
        self.forgotten = 0
        """How many integers were forgotten; all of them are at or below :attr:`floor`."""

        self.floor = 0

    def __len__(self) -> int:
        return self.forgotten + sum(self._highs) - sum(self._lows) + len(self._lows)

    def __bool__(self) -> bool:
        return bool(self._lows) or self.forgotten > 0

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._lows, value) - 1
        return index >= 0 and value <= self._highs[index]

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The ranges that are remembered, `(low, high)` inclusive, ascending."""
        return zip(self._lows, self._highs, strict=True)

    def count(self, to: int) -> int:
        """How many integers up to `to` are in the set; `to` is at or above :attr:`floor`."""
        if to < self.floor:
            raise ValueError(f"counts are known from {self.floor} on, not up to {to}")
        return self.forgotten + sum(min(high, to) - low + 1 for low, high in self.ranges() if low <= to)

    def gaps(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The parts of `low..high` that are not in the set, as far as it remembers."""
        for taken_low, taken_high in list(self.ranges()):
            if taken_high < low:
                continue
            if taken_low > high:
                break
            if taken_low > low:
                yield low, taken_low - 1
            low = taken_high + 1
        if low <= high:
            yield low, high

    def add(self, low: int, high: int | None = None) -> None:
        """Add `low..high` inclusive, or `low` alone."""
        if high is None:
            high = low
        if low > high:
            return
        # Ranges that overlap or touch low..high become one with it.
        first = bisect_left(self._highs, low - 1)
        last = bisect_right(self._lows, high + 1)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]
        if len(self._lows) > self._max_ranges:
            self.shrink(self._max_ranges)

    def discard(self, value: int) -> bool:
        """Remove `value`; true when it was in the set.

        At or below :attr:`floor` one of the forgotten is taken for it, as long as there are any.
        """
        index = bisect_right(self._lows, value) - 1
        if index < 0 or value > self._highs[index]:
            if value <= self.floor and self.forgotten:
                self.forgotten -= 1
                return True
            return False
        low, high = self._lows[index], self._highs[index]
        remains = [part for part in ((low, value - 1), (value + 1, high)) if part[0] <= part[1]]
        self._lows[index : index + 1] = [part[0] for part in remains]
        self._highs[index : index + 1] = [part[1] for part in remains]
        if len(self._lows) > self._max_ranges:
            self.shrink(self._max_ranges)
        return True

    def take_to(self, to: int) -> list[tuple[int, int]]:
        """Remove what is remembered up to `to`, and return it as ranges."""
        taken = [(low, min(high, to)) for low, high in self.ranges() if low <= to]
        rest = [(max(low, to + 1), high) for low, high in self.ranges() if high > to]
        self._lows = [low for low, _ in rest]
        self._highs = [high for _, high in rest]
        return taken

    def shrink(self, max_ranges: int) -> None:
        """Forget the lowest ranges until at most `max_ranges` are left."""
        surplus = len(self._lows) - max_ranges
        if surplus <= 0:
            return
        self.forgotten += sum(self._highs[:surplus]) - sum(self._lows[:surplus]) + surplus
        self.floor = max(self.floor, self._highs[surplus - 1])
        del self._lows[:surplus], self._highs[:surplus]

    def to_list(self) -> list[int]:
        """A compact form: forgotten, floor, then the distances between the edges of the ranges."""
        packed = [self.forgotten, self.floor]
        edge = self.floor
        for low, high in self.ranges():
            packed += (low - edge, high - low)
            edge = high
        return packed

    @classmethod
    def from_list(cls, packed: Sequence[int], max_ranges: int = 64) -> RangeSet:
        """The set that :meth:`to_list` described; empty for an empty list.

        Raises:
            ValueError: not such a list.
        """
        made = cls(max_ranges)
        if not packed:
            return made
        if len(packed) % 2 or not all(type(number) is int for number in packed):
            raise ValueError("not the form of a range set")
        made.forgotten, made.floor = packed[0], packed[1]
        edge = made.floor
        for distance, length in zip(packed[2::2], packed[3::2], strict=True):
            made._lows.append(edge + distance)
            made._highs.append(edge + distance + length)
            edge += distance + length
        return made
