"""The loss ledger, added up: what became of every at-most-once event, by event type and by publishing process.

Every event that a publisher attempted is in exactly one term of the identity of :class:`~gamebus.state.ledger.LossRow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from gamebus.catalog import Catalog
from gamebus.state.ledger import LedgerState, LedgerTopic, LossRow

_TERMS: Final = ("lost_on_wire", "dropped_on_failed_commit", "lost_in_crash", "skipped", "unknown")
_ALARMS: Final = ("duplicates", "reordered")


async def read_summary(ledger: LedgerState, catalog: Catalog) -> dict[str, Any]:
    """The :func:`summary` of now.

    Args:
        catalog: of the file; counts where no processor has written for a day.
    Raises:
        StateError: Redis does not answer.
    """
    topics = await ledger.topics(catalog)
    return summary(await ledger.read({topic.name: topic.partitions for topic in topics}), topics)


def summary(rows: Sequence[LossRow], topics: Iterable[LedgerTopic]) -> dict[str, Any]:
    """All terms of the identity: `types` by topic (types of one topic share its numbering), `streams` by boot and topic."""
    types = [
        {"types": list(topic.rationales), "topic": topic.name, "rationales": dict(topic.rationales)}
        | _sum(row for row in rows if row.topic == topic.name)
        for topic in topics
    ]
    streams: dict[tuple[str, str], list[LossRow]] = {}
    for row in rows:
        streams.setdefault((row.boot, row.topic), []).append(row)
    return {
        "types": types,
        "streams": [
            {"boot": boot, "topic": topic, "ended": all(row.ended for row in of_stream)} | _sum(of_stream)
            for (boot, topic), of_stream in sorted(streams.items())
        ],
    }


def _sum(rows: Iterable[LossRow]) -> dict[str, Any]:
    total: dict[str, Any] = dict.fromkeys(("attempted", "processed", *_TERMS, *_ALARMS), 0) | {"dropped": {}}
    written_ms = 0
    for row in rows:
        values = asdict(row)
        written_ms = max(written_ms, row.written_ms)
        for term in ("attempted", "processed", *_TERMS, *_ALARMS):
            total[term] += values[term]
        for reason, count in row.dropped.items():
            total["dropped"][reason] = total["dropped"].get(reason, 0) + count
    attempted, dropped = total["attempted"], sum(total["dropped"].values())
    return total | {
        "estimated_loss_rate": dropped / attempted if attempted else 0.0,
        "loss_rate": (attempted - total["processed"]) / attempted if attempted else 0.0,
        "written_ms": written_ms or None,
    }
