"""The demo's summary: what the bots were told, against what Redis holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from gamebus.state.audit import RoomAudit
from gamebus.state.ledger import LossRow
from gamebus_bots import BotsReport

_TERMS: Final = (
    "attempted",
    "processed",
    "lost_on_wire",
    "dropped_on_failed_commit",
    "lost_in_crash",
    "skipped",
    "duplicates",
    "unknown",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The summary and why it is not ok, in words; no words when it is."""

    summary: dict[str, Any]
    failures: tuple[str, ...]


def lost_events(report: BotsReport, audits: Mapping[str, RoomAudit]) -> list[str]:
    """Events that were acknowledged to a bot and are not in Redis."""
    return [
        f"{room} {publisher}/{event_id}"
        for room, publisher, event_id in report.acked
        if f"{publisher}/{event_id}" not in audits[room].identities
    ]


def conclude(report: BotsReport, audits: Mapping[str, RoomAudit], ledgers: Iterable[LossRow]) -> Verdict:
    """Compare what the bots were told with what Redis holds."""
    scenario, counts = report.scenario, report.tally.counts
    lost = lost_events(report, audits)
    duplicates_applied = sum(audit.duplicates_applied for audit in audits.values())
    realtime = _realtime(ledgers)
    summary = {
        "players": scenario.players,
        "rooms": scenario.rooms,
        "seconds": round(report.seconds, 3),
        "durable": {
            "published": counts["published"],
            "acked": counts["acked"],
            "nacked": counts["nacked"],
            "unknown": counts["unknown"],
            "applied": sum(audit.applied for audit in audits.values()),
            "duplicates_applied": duplicates_applied,
            "lost": len(lost),
            "delivered_to_clients": counts["delivered"],
        },
        "realtime": realtime,
        "latency_ms": {
            name: report.latency_ms(name)
            for name in ("position_p50", "position_p99", "ack_p50", "ack_p99", "chat_p50", "chat_p99")
        },
    }
    accounted = sum(realtime[term] for term in _TERMS if term not in ("attempted", "duplicates"))
    accounted += sum(realtime["dropped"].values())
    failures = [
        *report.failures,
        *([f"{len(lost)} acknowledged events are not in Redis: {', '.join(lost[:3])}"] if lost else []),
        *([f"{duplicates_applied} effects were applied twice"] if duplicates_applied else []),
        *([] if counts["acked"] else ["no durable event was acknowledged"]),
        *([] if realtime["attempted"] else ["no realtime event reached the ledger"]),
        *([f"{realtime['duplicates']} realtime duplicates"] if realtime["duplicates"] else []),
        *([f"{realtime['unknown']} realtime events are unaccounted for"] if realtime["unknown"] else []),
        *(
            [f"the loss identity does not hold: {realtime['attempted']} attempted, {accounted} accounted for"]
            if accounted != realtime["attempted"]
            else []
        ),
    ]
    return Verdict(summary | {"ok": not failures}, tuple(failures))


def table(verdict: Verdict) -> Table:
    """For a person."""
    summary = verdict.summary
    durable, realtime, latency = summary["durable"], summary["realtime"], summary["latency_ms"]
    title = "gamebus demo: " + ("every promise kept" if summary["ok"] else "FAILED")
    grid = Table(title=title, show_header=False, title_justify="left")
    grid.add_row("played", f"{summary['players']} players in {summary['rooms']} rooms for {summary['seconds']:.0f} s")
    grid.add_row("at least once", f"{durable['acked']} acked of {durable['published']} published")
    grid.add_row("", f"{durable['applied']} applied, {durable['duplicates_applied']} twice, {durable['lost']} lost")
    grid.add_row("", f"{durable['delivered_to_clients']} deliveries to players")
    grid.add_row("at most once", f"{realtime['processed']} processed of {realtime['attempted']} attempted")
    dropped = sum(realtime["dropped"].values())
    reasons = "".join(f" {name} {count}" for name, count in realtime["dropped"].items() if count)
    grid.add_row(
        "", f"{dropped} dropped{reasons}, {realtime['lost_on_wire']} lost on the wire, {realtime['duplicates']} doubled"
    )
    commit = f"{realtime['dropped_on_failed_commit']} on failed commits, {realtime['lost_in_crash']} after the commit"
    grid.add_row("", f"{commit}, {realtime['skipped']} skipped, {realtime['unknown']} unknown")
    for name, words in (
        ("position", "position to another player"),
        ("ack", "publish to ack"),
        ("chat", "chat to another"),
    ):
        p50, p99 = latency[f"{name}_p50"], latency[f"{name}_p99"]
        grid.add_row(words, "no samples" if p50 is None else f"p50 {p50} ms, p99 {p99} ms")
    for failure in verdict.failures:
        grid.add_row("failed", failure)
    return grid


def _realtime(ledgers: Iterable[LossRow]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for ledger in ledgers:
        for term in _TERMS:
            totals[term] += getattr(ledger, term)
        dropped.update(ledger.dropped)
    first = {"attempted": totals["attempted"], "processed": totals["processed"], "dropped": dict(dropped)}
    return first | {term: totals[term] for term in _TERMS[2:]}
