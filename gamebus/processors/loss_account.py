"""The loss account as counters: by how much each term of the ledger grew while this process kept it.

The rows of :mod:`gamebus.state.ledger` are cumulative and go with their partition from processor to processor, so their sum in one
process jumps at every rebalance. What grew does not: it may be added up over processes, and its rate is a rate of loss.

Pure. Guarantees: what a term grew by is counted by one process only, also what the new owner of a partition finds to be lost in the
death of the last one. Not guaranteed: after a Redis that lost its ledger a row that moves counts from zero again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gamebus.state.ledger import LossRow
from gamebus.telemetry.metrics import counter

TERMS: Final = (
    *("attempted", "processed", "dropped", "lost_on_wire", "dropped_on_failed_commit", "lost_in_crash", "skipped"),
    *("unknown", "duplicates"),
)

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LossAccountStatistics:
    """What became of the at-most-once events that this process accounts for."""

    events: Mapping[str, int] = counter("Events by what became of them (docs/delivery.md).", label="term")


class LossAccount:
    """Counts by how much rows grow.

    Bounded: the highest values of the rows of partitions that are owned now.
    """

    def __init__(self) -> None:
        self._grown = dict.fromkeys(TERMS, 0)
        # By partition and boot: the most that was ever written of each term.
        self._highest: dict[Partition, dict[str, tuple[int, ...]]] = {}

    def unknown(self, rows: Iterable[LossRow]) -> list[Partition]:
        """Partitions of these rows that are new here: :meth:`begin` wants the rows that their last owner wrote."""
        return sorted({(row.topic, row.partition) for row in rows} - self._highest.keys())

    def begin(self, partitions: Iterable[Partition], written: Iterable[LossRow]) -> None:
        """Go on from what the last owners of partitions wrote."""
        for partition in partitions:
            self._highest[partition] = {}
        for row in written:
            self._highest[row.topic, row.partition][row.boot] = _terms(row)

    def take(self, rows: Sequence[LossRow]) -> None:
        """Count what grew, and forget partitions that are not among the rows any more."""
        before, self._highest = self._highest, {}
        for row in rows:
            partition = row.topic, row.partition
            terms = _terms(row)
            highest = before.get(partition, {}).get(row.boot, (0,) * len(TERMS))
            for name, now, then in zip(TERMS, terms, highest, strict=True):
                self._grown[name] += max(0, now - then)
            # A new owner may begin a little behind what the last one wrote; what it makes good is not counted twice.
            self._highest.setdefault(partition, {})[row.boot] = tuple(map(max, terms, highest))

    def statistics(self) -> LossAccountStatistics:
        """Everything that was counted."""
        return LossAccountStatistics(events=dict(self._grown))


def _terms(row: LossRow) -> tuple[int, ...]:
    values = {name: getattr(row, name) for name in TERMS if name != "dropped"} | {"dropped": sum(row.dropped.values())}
    return tuple(values[name] for name in TERMS)
