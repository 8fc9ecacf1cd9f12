"""Series: the few statistics of a process that are worth a chart, taken from two snapshots that are a second apart.

Pure. A series of many processes is the sum of theirs, so each is something that may be added: an amount (what happened within
the second), a level (what there is at its end), or the buckets of a distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gamebus.telemetry.histogram import BUCKETS, Distribution
from gamebus.telemetry.metrics import Sample

AMOUNTS: Final = {
    "realtime_attempted": "realtime_publisher_attempted_total",
    "realtime_dropped": "realtime_publisher_dropped_total",
    "realtime_processed": "realtime_consumer_processed_total",
    "durable_acked": "gateway_answers_total{answer=ack}",
    "durable_unknown": "gateway_answers_total{answer=unknown_outcome}",
    "durable_answered": "gateway_answers_total",
    "durable_applied": "durable_effects_applied_total",
    "durable_duplicates": "durable_effects_duplicates_total",
    "dead_letters": "durable_consumer_dead_letters_total",
    "messages": "gateway_messages_total",
    "ticks_delivered": "hub_tick_frames_total",
    "events_delivered": "hub_event_frames_total",
    "overflows": "hub_overflows_total",
    "closed": "gateway_closed_total",
    "rebalances": "durable_consumer_rebalances_total",
    "redis_failures": "redis_failures_total",
}
"""Series -> counter: one sample of it, or those of all its labels together."""

LEVELS: Final = {
    "connections": "gateway_connections",
    "rooms": "hub_rooms",
    "realtime_lag": "realtime_consumer_lag",
    "durable_lag": "durable_consumer_lag",
}
"""Series -> gauge."""

LATENCIES: Final = {"ack": "gateway_ack_seconds", "age": "hub_age_seconds"}
"""Series -> histogram; the field of a bucket is `SERIES:INDEX`."""


def amounts(before: Mapping[str, Sample], now: Mapping[str, Sample]) -> dict[str, float]:
    """What to add to the timeline for the time between two snapshots of one process, without zeros."""
    first, last = _by_metric(before), _by_metric(now)
    found = {name: last.get(metric, 0.0) - first.get(metric, 0.0) for name, metric in AMOUNTS.items()}
    found |= {name: last.get(metric, 0.0) for name, metric in LEVELS.items()}
    for name, metric in LATENCIES.items():
        counts, counted = _counts(before, metric), _counts(now, metric)
        found |= {f"{name}:{index}": counted[index] - counts[index] for index in range(BUCKETS)}
    return {name: amount for name, amount in found.items() if amount > 0}


def buckets(amounts: Mapping[str, float], series: str) -> list[float]:
    """The counts of a latency series by bucket."""
    return [amounts.get(f"{series}:{index}", 0.0) for index in range(BUCKETS)]


def _by_metric(samples: Mapping[str, Sample]) -> dict[str, float]:
    """Samples by name, and by metric: those of different labels added up."""
    metrics: dict[str, float] = {}
    for name, sample in samples.items():
        if not isinstance(sample, Distribution):
            metric = name.partition("{")[0]
            metrics[metric] = metrics.get(metric, 0.0) + sample
            metrics[name] = metrics[metric] if metric == name else sample
    return metrics


def _counts(samples: Mapping[str, Sample], metric: str) -> tuple[int, ...]:
    sample = samples.get(metric)
    return sample.counts if isinstance(sample, Distribution) else Distribution().counts
