"""Figures of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gamebus.telemetry.histogram import Distribution
from gamebus.telemetry.metrics import counter, gauge, histogram


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What a hub has and what it did."""

    rooms: int = gauge("Rooms with clients of this gateway.")
    clients: int = gauge("Clients that are in a room.")
    members: int = gauge("Clients in rooms, once per room.")
    ticks_total: int = counter("Ticks of rooms.")
    tick_entries_total: int = counter("Positions in these ticks.")
    tick_frames_total: int = counter("Tick frames to clients, those of slow readers conflated.")
    positions_total: int = counter("Positions taken into ticks.")
    age_seconds: Distribution = histogram("Age of the oldest position of a tick when it is sent.")
    dropped_total: Mapping[str, int] = counter("Positions that were not taken.", label="reason")
    events_total: int = counter("Durable events read and passed on to whoever is here.")
    event_frames_total: int = counter("Durable event frames to clients.")
    duplicates_total: int = counter("Durable events that were not delivered again.")
    invalid_total: int = counter("Records that are no events of gamebus.")
    presence_frames_total: int = counter("Presence frames to clients.")
    resumes_total: Mapping[str, int] = counter("Joins with a cursor.", label="outcome")
    outbox_peak_bytes: int = gauge("Most bytes that ever waited for one client.")
    overflows_total: int = counter("Clients cut off because they read too slowly.")
