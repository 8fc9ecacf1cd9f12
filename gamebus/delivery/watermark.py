"""Commit watermark of one Kafka partition.

The watermark is the offset up to which every record is done: the only offset that an at-least-once consumer may commit. Work
finishes out of order; the watermark never moves back and never passes unfinished work.

Pure: no I/O, no clock. Not safe for several threads.
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """Tracks which pieces of work of a partition are done.

    A piece is one or more records that finish together (those of one room in one poll) and is named by its first offset. The
    records of two pieces may be interleaved: as a piece is done all at once, its lowest unfinished record is its first.

    Guarantees: `committable` rises monotonically, and every record below it was read and is done. Memory: one integer per
    unfinished piece, and for each that finished before a lower one; the caller bounds it by bounding its intake.

    Args:
        start: offset of the first record that will be read (Kafka's position at assignment).
    """

    def __init__(self, start: int) -> None:
        # Taken and not known to be done, in rising order; the first one is always unfinished.
        self._taken: deque[int] = deque()
        # Done while a lower one was not.
        self._done: set[int] = set()
        self._next = start

    @property
    def committable(self) -> int:
        """Offset to commit, in Kafka's sense: of the next record to read after a restart."""
        return self._taken[0] if self._taken else self._next

    @property
    def next(self) -> int:
        """Offset of the next record to read."""
        return self._next

    def take(self, offset: int) -> None:
        """Register a piece of work before it is handed on. First offsets rise."""
        if offset < self._next or (self._taken and offset <= self._taken[-1]):
            raise ValueError(
                f"offset {offset} taken after {max(self._next - 1, *self._taken)}: intake follows the partition"
            )
        self._taken.append(offset)

    def read_to(self, offset: int) -> None:
        """Everything below `offset` was read, and is done unless it was taken (Kafka leaves gaps between offsets)."""
        if offset < self._next:
            raise ValueError(f"read to {offset} after {self._next}: a partition is read forwards")
        self._next = offset

    def done(self, offset: int) -> bool:
        """The piece that begins at `offset` is done; true when `committable` moved."""
        self._done.add(offset)
        if self._taken[0] != offset:
            return False
        while self._taken and self._taken[0] in self._done:
            self._done.discard(self._taken.popleft())
        return True
