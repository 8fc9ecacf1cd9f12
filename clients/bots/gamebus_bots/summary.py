"""The end of a run for a person, in the order of k6: thresholds, results, network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rich.table import Table
from rich.text import Text

from gamebus_bots.comparison import Change
from gamebus_bots.metrics import LATENCY_WORDS, PROMISED
from gamebus_bots.report import BotsReport
from gamebus_bots.tally import RESPONSE, SERVICE, TIMED

_SHOWN: Final = ("mean", "p50", "p90", "p99", "p999", "max")
_WIDTH: Final = 26
_BYTES: Final = ("B", "kB", "MB", "GB", "TB")


def summary(report: BotsReport) -> Text:
    """The whole summary."""
    text = Text()
    for line, style in _lines(report):
        text.append(line + "\n", style)
    return text


def change_table(changes: Iterable[Change], first: str, second: str) -> Table:
    """Two runs beside each other."""
    grid = Table("", first, second, "change", box=None, pad_edge=False)
    for column in grid.columns[1:]:
        column.justify = "right"
    for change in changes:
        style = None if change.better is None else "green" if change.better else "red"
        relative = "" if change.relative is None else "=" if change.relative == 0 else f"{change.relative:+.1%}"
        values = ("-" if value is None else f"{value:,.6g}" for value in (change.first, change.second))
        grid.add_row(change.name, *values, Text(relative, style or ""))
    return grid


def _lines(report: BotsReport) -> Iterator[tuple[str, str]]:
    yield from _thresholds(report)
    yield from _latencies(report)
    yield from _correctness(report)
    yield from _events(report)
    yield from _network(report)
    yield from _servers(report)
    yield from _verdict(report)


def _thresholds(report: BotsReport) -> Iterator[tuple[str, str]]:
    if not report.thresholds:
        return
    yield "", ""
    yield "  THRESHOLDS", "bold"
    for judged in report.thresholds:
        value = "no samples" if judged.value is None else f"{judged.value:,.6g}{judged.unit}"
        yield (
            f"    {'✓' if judged.kept else '✗'} {judged.text:<{_WIDTH}} {value}",
            "green" if judged.kept else "bold red",
        )


def _latencies(report: BotsReport) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield "  RESULTS", "bold"
    yield "    " + " " * _WIDTH + "".join(f"{name:>10}" for name in _SHOWN) + "   ms", "dim"
    for name in TIMED:
        for kind, words in ((RESPONSE, f"{name} response"), (SERVICE, f"{name} service")):
            yield _spread(report, f"{name}_{kind}", words), ""
    for name in ("send_lag", "read_lag", "connect", "resume"):
        if report.figures[f"{name}_p50"] is not None:
            yield _spread(report, name, name.replace("_", " ")), ""
    clipped = report.figures["clipped"]
    if clipped:
        yield f"    {clipped:,.0f} latencies were clipped: they lie outside of what is measured", "bold red"
    counts = report.tally.counts
    yield (
        f"    position: {LATENCY_WORDS['position']} ({counts['pairs_watched']:,} of {counts['pairs']:,} pairs watched)",
        "dim",
    )
    yield "    response: from the planned time; service: from the real send", "dim"


def _spread(report: BotsReport, name: str, words: str) -> str:
    values = [report.figures[f"{name}_{statistic}"] for statistic in _SHOWN]
    shown = "".join(f"{'-' if value is None else f'{value:,.1f}':>10}" for value in values)
    return f"    {_dotted(words)}{shown}"


def _correctness(report: BotsReport) -> Iterator[tuple[str, str]]:
    counts = report.tally.counts
    yield "", ""
    for name in ("acked", "delivered", "resumed"):
        yield f"    {_dotted(name)} {counts[name]:,}", ""
    for name in PROMISED:
        count = counts[name]
        yield (
            f"    {_dotted(name.replace('_', ' '))} {count:,}{' ✗ zero is promised' if count else ' ✓'}",
            ("bold red" if count else "green"),
        )


def _events(report: BotsReport) -> Iterator[tuple[str, str]]:
    figures, counts = report.figures, report.tally.counts
    yield "", ""
    for name in ("sent", "received", "acked", "delivered"):
        yield f"    {_dotted(f'{name} a second')} {figures[f'{name}_per_s']:,.1f}", ""
    yield f"    {_dotted('published')} {counts['published']:,} ({counts['nacked']:,} nacked)", ""
    optional = ("not_recovered", "reconnects", "unseen", "foreign")
    for name in optional:
        if counts[name]:
            yield f"    {_dotted(name.replace('_', ' '))} {counts[name]:,}", ""
    trouble = {f"dropped, {reason}": count for reason, count in report.tally.dropped.items()} | dict(
        report.tally.errors
    )
    for name, count in trouble.items():
        yield f"    {_dotted(name)} {count:,}", "yellow"
    for player, words in list(report.tally.problems.items())[:5]:
        yield f"    {_dotted(player)} {words}", "red"


def _network(report: BotsReport) -> Iterator[tuple[str, str]]:
    counts = report.tally.counts
    yield "", ""
    yield "  NETWORK", "bold"
    for name in ("received", "sent"):
        total, rate = counts[f"bytes_{name}"], report.figures[f"bytes_{name}_per_s"] or 0
        yield f"    {_dotted(f'data {name}')} {size(total):<10} {size(rate)}/s", ""
    frames = f"{counts['frames_received']:,} received, {counts['frames_sent']:,} sent"
    yield f"    {_dotted('frames')} {frames}; {counts['connections']:,} connections", ""


def _servers(report: BotsReport) -> Iterator[tuple[str, str]]:
    servers = report.servers
    if not servers:
        return
    yield "", ""
    yield "  SERVERS on this machine", "bold"
    for kind, cores in sorted(servers["mean_cores"].items(), key=lambda item: -item[1]):
        yield f"    {_dotted(kind)} {cores:.2f} cores, {servers['max_rss_mib'][kind]:,.0f} MiB", ""
    for name, words in (
        ("players_per_gateway_core", "players per gateway core"),
        ("players_per_core", "players per core"),
    ):
        if name in servers:
            yield f"    {_dotted(words)} {servers[name]:,}", ""


def _verdict(report: BotsReport) -> Iterator[tuple[str, str]]:
    scenario = report.scenario
    yield "", ""
    for note in report.notes:
        yield f"  {note}", ""
    played = f"{scenario.name}: {scenario.players} players in {scenario.rooms} rooms, {report.seconds:.1f} s measured"
    if report.invalid is not None:
        yield f"  INVALID  {report.invalid}", "bold yellow"
    if report.failures:
        yield f"  FAILED   {played}: {', '.join(report.failures)}", "bold red"
    elif report.crossed:
        yield f"  CROSSED  {played}: a threshold was crossed", "bold red"
    else:
        yield f"  ok       {played}: every promise kept", "bold green"


def _dotted(words: str) -> str:
    return f"{words} ".ljust(_WIDTH, ".")


def size(count: float) -> str:
    """Bytes for people, in powers of ten."""
    for unit in _BYTES[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_BYTES[-1]}"
