"""What a client counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """Counts since the client was made.

    Attributes:
        reconnects: connections opened after the first.
        realtime_sent: realtime events written to a socket.
        realtime_dropped: realtime events dropped here, by reason: `not_connected`, `not_joined`, `backpressure`.
        published: durable events taken; each ends in exactly one of the next five, or still waits.
        acked: written.
        rejected: refused for good.
        failed: surely not written in time.
        unknown: may have been written.
        cancelled: given up by the caller.
        outbox: durable events that wait for their outcome.
        inbox: messages, ticks aside, that wait to be taken.
        ticks_merged: ticks merged into one that still waited.
        duplicates_dropped: events that a resume brought a second time.
        unknown_operations: messages of a newer protocol that were ignored.
        frames_received: frames read.
    """

    reconnects: int
    realtime_sent: int
    realtime_dropped: Mapping[str, int]
    published: int
    acked: int
    rejected: int
    failed: int
    unknown: int
    cancelled: int
    outbox: int
    inbox: int
    ticks_merged: int
    duplicates_dropped: int
    unknown_operations: int
    frames_received: int
