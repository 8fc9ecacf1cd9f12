"""Anomalies: what a history must not hold, by name, and the bounds beyond which something counts as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REALTIME: Final = (
    "duplicate",
    "reordered",
    "redelivered_after_commit",
    "stale_delivered",
    "blocked_publish",
    "unaccounted",
    "processed_before_committed",
)
DURABLE: Final = (
    "lost_acked",
    "failed_but_applied",
    "applied_twice",
    "reordered_in_room",
    "phantom",
    "delivered_twice",
    "gap_delivered",
    "committed_before_processed",
)
BOTH: Final = ("mixed_class", "commit_moved_back")
ANOMALIES: Final = (*REALTIME, *DURABLE, *BOTH)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One broken promise.

    Attributes:
        name: of :data:`ANOMALIES`.
        evidence: what in the history shows it, for a person.
    """

    name: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still as promised.

    Attributes:
        max_age_s: the publisher's `max_age_ms`: older positions must not be written.
        delivery_s: how long the way of a position that was written in time may take: linger, tail, tick, a busy machine.
        blocked_s: a call of `publish` that keeps its caller longer, beyond what the machine's scheduling explains, waits.
    """

    max_age_s: float = 1.0
    delivery_s: float = 1.0
    blocked_s: float = 0.1
