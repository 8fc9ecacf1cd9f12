"""The figures of a run by name: what thresholds, comparisons and reports speak of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gamebus_bots.latency import STATISTICS
from gamebus_bots.tally import LATENCIES, RESPONSE, Tally

LATENCY_WORDS: Final[Mapping[str, str]] = {
    "position": "a position, until another player has it or a newer one",
    "ack": "a durable event, until its ack",
    "chat": "a chat line, until another player has it",
    "send_lag": "the generator: planned to real send",
    "read_lag": "the generator: read to looked at",
    "connect": "a connection, until its room is joined",
    "resume": "a lost connection, until its room is joined again",
}

PROMISED: Final = {
    "duplicates": "the same durable event more than once on one connection",
    "gaps": "acked events that a connected player did not get, once for each such player",
    "out_of_order": "deliveries against the order of the room, or of their publisher",
    "missed_after_resume": "acked events that a resume should have brought and did not",
    "stale": "positions older than one that was seen on the same connection",
    "unknown": "publishes of which nobody knows whether they were written",
    "problems": "players whose connection failed for good",
}
"""Counts of which zero is promised: anything else fails the run."""

COUNTS: Final[Mapping[str, str]] = {
    "attempted": "realtime events that came due",
    "sent": "realtime events written to a socket",
    "dropped": "realtime events not written: no connection, or it took no more",
    "received": "positions of others that came with ticks",
    "published": "durable events given to the clients",
    "acked": "durable events acknowledged",
    "nacked": "durable events surely not written",
    "delivered": "deliveries of durable events to players",
    "resumed": "rooms entered again with everything that was missed",
    "not_recovered": "rooms entered again without",
    "reconnects": "connections that were lost and dialled again",
    "unseen": "watched positions that nobody had seen at the end",
    "foreign": "deliveries of events that no bot of this run published",
    "errors": "refusals by the gateway, and lost connections",
    "clipped": "latencies outside of what a histogram holds, or of positions seen too late to tell",
    "connections": "websockets opened",
    "kills": "fights that the game server published",
    "chats": "chat lines that came due",
} | PROMISED

RATES: Final = ("attempted", "sent", "received", "acked", "delivered", "bytes_sent", "bytes_received")
"""Counts of the measured time, also told for each second of it, as `sent_per_s`."""

SHARES: Final[Mapping[str, tuple[str, ...]]] = {
    "errors": ("attempted", "published"),
    "dropped": ("attempted",),
    "nacked": ("published",),
    "unknown": ("published",),
}
"""What may be asked for in percent, and of which counts."""


def latency_names() -> list[str]:
    """`position_p99` and the like; without `service` or `response` in it, the response is meant."""
    names = []
    for latency in LATENCIES:
        spelled = latency.replace(".", "_")
        names += [f"{spelled}_{statistic}" for statistic in STATISTICS]
        if latency.endswith(f".{RESPONSE}"):
            names += [f"{latency.partition('.')[0]}_{statistic}" for statistic in STATISTICS]
    return names


def known_names() -> list[str]:
    """Every name."""
    return [*latency_names(), *COUNTS, *(f"{name}_per_s" for name in RATES)]


def measure(tally: Tally) -> dict[str, float | None]:
    """Every figure of a run; None: a latency without samples."""
    found: dict[str, float | None] = {}
    for name, latency in tally.latencies.items():
        for statistic in STATISTICS:
            value = latency.statistic_ms(statistic)
            found[f"{name.replace('.', '_')}_{statistic}"] = value
            if name.endswith(f".{RESPONSE}"):
                found[f"{name.partition('.')[0]}_{statistic}"] = value
    counts = tally.counts
    found |= {name: counts[name] for name in COUNTS}
    found["dropped"] = sum(tally.dropped.values())
    found["errors"] = sum(tally.errors.values())
    found["clipped"] = sum(latency.clipped for latency in tally.latencies.values())
    for name in RATES:
        total = sum(point.counts[name] for point in tally.points)
        found[f"{name}_per_s"] = round(total / tally.seconds, 1) if tally.points else 0.0
    return found
