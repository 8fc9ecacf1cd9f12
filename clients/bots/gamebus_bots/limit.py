"""How many players keep the thresholds: doubling, then bisection. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from math import ceil
from typing import Final

_FACTOR: Final = 2


class Step(enum.Enum):
    """What a run of so many players said."""

    KEPT = "kept"
    CROSSED = "crossed"
    """A threshold was crossed or a promise broken."""
    SATURATED = "saturated"
    """The generator was: nothing is known of the servers."""


@dataclass(slots=True)
class LimitSearch:
    """Looks for the largest count that keeps everything.

    Args:
        start: first count.
        most: never more than that.
        tolerance: how near the answer has to be, as a share of it.

    Attributes:
        limit: the largest count that kept everything so far; 0: none.
        over: the smallest count that did not, or where nothing could be known.
        over_because: which of the two.
    """

    start: int
    most: int
    tolerance: float = 0.05
    limit: int = 0
    over: int | None = None
    over_because: Step | None = None
    tried: list[int] = field(default_factory=list)

    def next(self) -> int | None:
        """The count to try; None: the answer is known."""
        if self.over is None:
            if self.limit >= self.most:
                return None
            return min(self.most, self.limit * _FACTOR or self.start)
        if self.over - self.limit <= max(1, ceil(self.limit * self.tolerance)):
            return None
        return (self.limit + self.over) // 2

    def tell(self, players: int, step: Step) -> None:
        """What came of it."""
        self.tried.append(players)
        if step is Step.KEPT:
            self.limit = max(self.limit, players)
        elif self.over is None or players < self.over:
            self.over, self.over_because = players, step
