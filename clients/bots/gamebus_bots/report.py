"""What a run of the bots found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RealtimeCounts:
    """Positions and heartbeats.

    Attributes:
        attempted: planned sends that came due.
        sent: written to a socket.
        dropped: not written, by reason of the client.
        received: positions of others that came with ticks. Overtaken positions are merged by design, so this is no loss count.
        stale: received positions that were not newer than the one seen before of the same player (of the sampled ones).
    """

    attempted: int = 0
    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    received: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class DurableCounts:
    """Chats, kills and deaths.

    Attributes:
        published: taken by the clients; each is one of the next three, once the run is over.
        acked: written.
        nacked: surely not written.
        unknown: may have been written.
        delivered: deliveries to bots.
        duplicates: the same event more than once on one connection.
        gaps: acked events that a bot should have got and did not, once for each such bot.
        out_of_order: deliveries against the order of the room and class, or against that of their publisher.
    """

    published: int = 0
    acked: int = 0
    nacked: int = 0
    unknown: int = 0
    delivered: int = 0
    duplicates: int = 0
    gaps: int = 0
    out_of_order: int = 0


@dataclass(frozen=True, slots=True)
class LatencyMs:
    """Latencies in milliseconds, from the planned send time; None without samples.

    `position`: to the receipt of the tick by another bot. `ack`: to the ack. `chat`: to the delivery to another bot.
    `send_lag`: to the actual send, which is the bots' own share in all of them.
    """

    position_p50: float | None
    position_p99: float | None
    ack_p50: float | None
    ack_p99: float | None
    chat_p50: float | None
    chat_p99: float | None
    send_lag_p50: float | None
    send_lag_p99: float | None
    clipped: int = 0
    position_sampled_of: int = 1


@dataclass(frozen=True, slots=True)
class AckedEvent:
    """An event that the gateway acknowledged: it must have had its effect once."""

    room: str
    type: str
    publisher_sub: str
    id: str


@dataclass(frozen=True, slots=True)
class BotsReport:
    """The outcome of a run.

    Attributes:
        seconds: how long positions were sent.
        foreign: deliveries of events that no bot of this run published.
        errors: refusals by wire code, and lost connections by close code (`close 4001`).
        problems: what went wrong with the connection of a player, in words.
        acked: every acknowledged event.
    """

    players: int
    rooms: int
    seconds: float
    realtime: RealtimeCounts
    durable: DurableCounts
    latency_ms: LatencyMs
    kills: int
    chats: int
    reconnects: int
    foreign: int
    errors: Mapping[str, int]
    problems: Mapping[str, tuple[str, ...]]
    acked: tuple[AckedEvent, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """What was promised and not kept, in words; empty when all is well."""
        durable = self.durable
        found = {
            "duplicates": durable.duplicates,
            "gaps": durable.gaps,
            "deliveries out of order": durable.out_of_order,
            "publishes of unknown outcome": durable.unknown,
            "players with a failed connection": len(self.problems),
        }
        return tuple(f"{count} {name}" for name, count in found.items() if count)

    @property
    def ok(self) -> bool:
        """Whether everything that is promised was kept."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the acked events by room and type, as `publisher/id`."""
        acked: dict[str, dict[str, list[str]]] = {}
        for event in self.acked:
            acked.setdefault(event.room, {}).setdefault(event.type, []).append(f"{event.publisher_sub}/{event.id}")
        return asdict(self) | {"acked": acked, "failures": list(self.failures), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class BotsSnapshot:
    """The run as it stands, for a live view. Rates are per second since the snapshot before."""

    elapsed_s: float
    connected: int
    players: int
    rooms: int
    realtime_sent_per_s: float
    received_per_s: float
    durable_acked_per_s: float
    durable: DurableCounts
    latency_ms: LatencyMs
    kills: int
    chats: int
    reconnects: int
    errors: Mapping[str, int]
