"""What a search for the limit found, step by step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from gamebus_bots.limit import LimitSearch, Step
from gamebus_bots.report import BotsReport

_PER_CORE: Final = ("players_per_gateway_core", "players_per_core")


def step_of(report: BotsReport) -> Step:
    """What a run says of its number of players."""
    if report.invalid is not None:
        return Step.SATURATED
    return Step.KEPT if report.ok else Step.CROSSED


def step_line(report: BotsReport) -> str:
    """One step for a person."""
    judged = ", ".join(
        f"{'✓' if one.kept else '✗'} {one.text} ({'no samples' if one.value is None else f'{one.value:,.4g}{one.unit}'})"
        for one in report.thresholds
    )
    failures = f"; {', '.join(report.failures)}" if report.failures else ""
    scenario, lag_ms = report.scenario, report.figures["send_lag_p99"]
    lag = "" if lag_ms is None else f"; send lag p99 {lag_ms:.1f} ms"
    return f"{scenario.players:>6,} players in {scenario.rooms:,} rooms: {step_of(report).value:<9} {judged}{failures}{lag}"


def limit_document(search: LimitSearch, steps: Sequence[BotsReport]) -> dict[str, Any]:
    """For JSON: the answer, what bounded it, and every step. Per core: of the step of the answer, where the servers are local."""
    best = next((report for report in steps if report.scenario.players == search.limit), None)
    servers = {} if best is None else best.servers
    return {
        "limit": search.limit,
        "bounded_by": "most" if search.over_because is None else search.over_because.value,
        "over": search.over,
        **{name: servers.get(name) for name in _PER_CORE},
        "mean_cores": servers.get("mean_cores"),
        "environment": dict(steps[-1].environment) if steps else {},
        "steps": [
            {
                "players": report.scenario.players,
                "rooms": report.scenario.rooms,
                "step": step_of(report).value,
                "thresholds": [asdict(judged) for judged in report.thresholds],
                "failures": list(report.failures),
                "position_p99": report.figures["position_p99"],
                "ack_p99": report.figures["ack_p99"],
                "send_lag_p99": report.figures["send_lag_p99"],
                "mean_cores": report.servers.get("mean_cores"),
            }
            for report in steps
        ],
    }


def limit_words(outcome: dict[str, Any]) -> str:
    """The answer for a person."""
    if not outcome["limit"]:
        return f"not even {outcome['over']} players keep the thresholds ({outcome['bounded_by']})"
    bounds = {
        Step.CROSSED.value: f"{outcome['over']:,} do not" if outcome["over"] else "",
        Step.SATURATED.value: (
            f"at {outcome['over']:,} the generator itself is saturated, so the limit may be higher: use more --processes or another machine"
            if outcome["over"]
            else ""
        ),
        "most": "that is the most that was asked for",
    }
    cores = "".join(
        f"; {outcome[name]:,} players per {words}"
        for name, words in zip(_PER_CORE, ("core of the gateway", "core of all servers"), strict=True)
        if outcome[name]
    )
    return f"{outcome['limit']:,} players keep the thresholds{cores}. {bounds[outcome['bounded_by']]}"
