"""What became of the events of a type, before and after it moved: what a person compares.

At most once: the terms of the loss ledger, as far as it goes back (24 hours, 256 publishers of a partition). At least once: offsets
of the topic, as far as it keeps its records.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gamebus.delivery.group_progress import Progress
from gamebus.state.ledger import LossRow


@dataclass(frozen=True, slots=True)
class RealtimeCounts:
    """Terms of the identity `attempted = processed + all that is lost`."""

    attempted: int
    processed: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    lost_on_wire: int = 0
    dropped_on_failed_commit: int = 0
    lost_in_crash: int = 0
    skipped: int = 0
    unknown: int = 0
    duplicates: int = 0

    @property
    def lost(self) -> Mapping[str, int]:
        """What was not processed, by reason; reasons that did not occur are left out."""
        terms = {
            name: count for name, count in asdict(self).items() if name not in ("attempted", "processed", "dropped")
        }
        del terms["duplicates"]
        return {name: count for name, count in {**self.dropped, **terms}.items() if count}

    @property
    def balanced(self) -> bool:
        """Whether the identity holds."""
        return self.attempted == self.processed + sum(self.lost.values())


@dataclass(frozen=True, slots=True)
class DurableCounts:
    """Records of the topic and how many of them the processors are done with, dead letters included."""

    published: int
    processed: int


Counts = RealtimeCounts | DurableCounts


def of_ledger(rows: Iterable[LossRow]) -> RealtimeCounts:
    """Counts of a topic of at-most-once events."""
    totals: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for row in rows:
        totals.update(
            attempted=row.attempted,
            processed=row.processed,
            lost_on_wire=row.lost_on_wire,
            dropped_on_failed_commit=row.dropped_on_failed_commit,
            lost_in_crash=row.lost_in_crash,
            skipped=row.skipped,
            unknown=row.unknown,
            duplicates=row.duplicates,
        )
        dropped.update(row.dropped)
    return RealtimeCounts(**{"attempted": 0, "processed": 0, **totals}, dropped=dict(dropped))


def of_offsets(progress: Iterable[Progress]) -> DurableCounts:
    """Counts of a topic of at-least-once events."""
    found = list(progress)
    published = sum(partition.end - partition.beginning for partition in found)
    return DurableCounts(published, published - sum(partition.left(partition.end) for partition in found))


def page(counts: Counts) -> dict[str, Any]:
    """For JSON."""
    return asdict(counts)
