"""A report for people who were not there: one file, which needs nothing else to open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

from gamebus_bots.latency import STATISTICS
from gamebus_bots.metrics import COUNTS, LATENCY_WORDS, PROMISED
from gamebus_bots.report import BotsReport
from gamebus_bots.summary import size

_PAGE: Final = files("gamebus_bots") / "page"
_NO_VALUE: Final = "–"


def html(report: BotsReport) -> str:
    """The whole page."""
    scenario = report.scenario
    document = report.to_dict()
    verdict, kind = _verdict(report)
    started = document["options"].get("started", "")
    facts = (
        f"{scenario.players:,} players in {scenario.rooms:,} rooms · {scenario.rate_hz:g} positions a second of each · "
        f"{report.seconds:,.1f} s measured · {document['options'].get('processes', 1)} process(es) · {started}"
    )
    return Template(_read("report.html")).substitute(
        title=escape(f"{scenario.name}: {verdict} · gamebus bots"),
        name=escape(scenario.name),
        verdict=escape(verdict),
        verdict_class=kind,
        about=escape(scenario.about),
        facts=escape(facts),
        words=escape(_in_words(report)),
        alerts=_alerts(report),
        tiles=_tiles(report),
        thresholds=_thresholds(report),
        tables="\n".join(_tables(report, document)),
        footer=_FOOTER,
        # Within a script element `<` could end it.
        json=json.dumps(document).replace("<", "\\u003c"),
        css=_read("report.css"),
        js=_read("report.js"),
        uplot_css=_read("vendor/uplot.css"),
        uplot=_read("vendor/uplot.js").replace("export { uPlot as default };", "return uPlot;"),
    )


_FOOTER: Final = (
    "Latencies count from the planned time of an open model (response) and from the real send (service); bots send on an absolute "
    "schedule whatever the servers do, so a stall is in the figures as everything that it held up. A position counts until another "
    "player has it or a newer one. Histograms: HdrHistogram, three significant digits. Charts: uPlot (MIT, Leon Sorokin)."
)


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _verdict(report: BotsReport) -> tuple[str, str]:
    if report.failures:
        return "promise broken", "bad"
    if report.crossed:
        return "threshold crossed", "bad"
    return ("invalid", "warn") if report.invalid else ("passed", "good")


def _in_words(report: BotsReport) -> str:
    """The outcome for somebody who reads nothing else."""
    figures, counts = report.figures, report.tally.counts
    said = []
    if report.failures:
        said.append("A promise was broken.")
    elif counts["acked"]:
        said.append(
            f"Every promise was kept: {counts['acked']:,} durable events were acknowledged and reached players {counts['delivered']:,} "
            "times; none was lost, none came twice, none out of order."
        )
    if report.invalid:
        said.append("The generator was saturated: the latencies say nothing of the servers.")
    elif figures["position_p50"] is not None:
        half, nearly_all = (_number(figures[f"position_{name}"], " ms") for name in ("p50", "p99"))
        said.append(
            f"Half of all positions were seen by the others within {half} of their planned time, 99 of 100 within {nearly_all}."
        )
    return " ".join(said)


def _alerts(report: BotsReport) -> str:
    found = [("warn", report.invalid)] if report.invalid else []
    if report.failures:
        found.append(("bad", "Promised and not kept: " + ", ".join(report.failures)))
    found += [("note", note) for note in report.notes]
    return "".join(f'<p class="alert {kind}">{escape(words)}</p>' for kind, words in found)


def _tiles(report: BotsReport) -> str:
    figures, counts = report.figures, report.tally.counts
    tiles = [
        (_number(figures["position_p99"], " ms"), "position p99, response"),
        (_number(figures["ack_p99"], " ms"), "ack p99, response"),
        (_number(figures["chat_p99"], " ms"), "chat p99, response"),
        (_number(figures["received_per_s"], "/s"), "positions received"),
        (_number(figures["acked_per_s"], "/s"), "durable events acked"),
        (_number(sum(counts[name] for name in PROMISED)), "broken promises"),
        (_number(figures["send_lag_p99"], " ms"), "generator's send lag p99"),
    ]
    for name, words in (
        ("players_per_gateway_core", "players per gateway core"),
        ("players_per_core", "players per core"),
    ):
        if name in report.servers:
            tiles.append((_number(report.servers[name]), words))
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(words)}</span></div>' for value, words in tiles
    )


def _thresholds(report: BotsReport) -> str:
    rows = [
        (
            f'<span class="{"good" if judged.kept else "bad"}">{"✓ kept" if judged.kept else "✗ crossed"}</span>',
            escape(judged.text),
            _number(judged.value, f" {judged.unit}" if judged.unit == "ms" else judged.unit),
        )
        for judged in report.thresholds
    ]
    return _card("Thresholds", ("", "condition", "found"), rows, raw=True, numbers={2}) if rows else ""


def _tables(report: BotsReport, document: Mapping[str, Any]) -> Iterable[str]:
    yield '<section class="tables">'
    yield _card(
        "Latency, ms",
        ("", "samples", *STATISTICS),
        _latency_rows(document),
        numbers=set(range(1, 2 + len(STATISTICS))),
        wide=True,
    )
    counts = report.tally.counts
    yield _card(
        "Correctness: zero is promised",
        ("", "count", ""),
        [(name.replace("_", " "), _mark(counts[name]), escape(words)) for name, words in PROMISED.items()],
        raw=True,
        numbers={1},
        soft={2},
    )
    figures = report.figures
    shown = [name for name in COUNTS if name not in PROMISED]
    yield _card(
        "Counts, whole run",
        ("", "count", ""),
        [(name.replace("_", " "), _number(figures[name]), COUNTS[name]) for name in shown],
        numbers={1},
        soft={2},
    )
    yield _card("Network", ("", "whole run", "measured, a second"), _network_rows(report), numbers={1, 2})
    trouble = {f"dropped, {name}": count for name, count in report.tally.dropped.items()} | dict(report.tally.errors)
    if trouble:
        rows = [(name, _number(count)) for name, count in trouble.items()]
        yield _card("Refusals, lost connections and drops", ("", "count"), rows, numbers={1})
    if report.tally.problems:
        yield _card("Failed connections", ("player", ""), list(report.tally.problems.items()))
    if report.servers:
        yield _servers(report.servers)
    yield _card("Environment", ("", ""), _flat(report.environment))
    yield _card(
        "Scenario",
        ("", ""),
        _flat({name: value for name, value in document["scenario"].items() if value not in (None, "", ())}),
    )
    yield _card("Options", ("", ""), _flat(report.options))
    yield "</section>"


def _latency_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, latency in document["latencies"].items():
        if latency["count"]:
            words = LATENCY_WORDS.get(name, name.replace(".", ", "))
            label = f"{name.replace('_', ' ')} ({words})" if name in LATENCY_WORDS else words
            rows.append((label, _number(latency["count"]), *(_number(latency[statistic]) for statistic in STATISTICS)))
    pairs = document["pairs"]
    rows.append(
        (f"position: {pairs['watched']:,} of {pairs['all']:,} pairs of players watched", *[""] * (1 + len(STATISTICS)))
    )
    return rows


def _network_rows(report: BotsReport) -> list[tuple[str, ...]]:
    counts, figures = report.tally.counts, report.figures
    rows: list[tuple[str, ...]] = [
        (f"data {name}", size(counts[f"bytes_{name}"]), f"{size(figures[f'bytes_{name}_per_s'] or 0)}/s")
        for name in ("received", "sent")
    ]
    return rows + [(f"frames {name}", f"{counts[f'frames_{name}']:,}", "") for name in ("received", "sent")]


def _servers(servers: Mapping[str, Any]) -> str:
    rows = [
        (kind, f"{cores:.2f}", f"{servers['max_rss_mib'][kind]:,.0f}")
        for kind, cores in sorted(servers["mean_cores"].items(), key=lambda item: -float(item[1]))
    ]
    return _card("Processes on this machine", ("", "cores, mean", "MiB, most"), rows, numbers={1, 2})


def _flat(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key.removesuffix('_s')} {inner}" for key, inner in value.items())
        elif isinstance(value, list | tuple):
            value = "; ".join(
                ", ".join(map(str, item.values())) if isinstance(item, Mapping) else str(item) for item in value
            )
        rows.append((name.replace("_", " "), str(value)))
    return rows


def _card(
    title: str,
    head: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    raw: bool = False,
    numbers: set[int] | None = None,
    soft: set[int] | None = None,
    wide: bool = False,
) -> str:
    def kind(index: int) -> str:
        names = {"number": index in (numbers or set()), "soft": index in (soft or set())}
        chosen = [name for name, wanted in names.items() if wanted]
        return f' class="{chosen[0]}"' if chosen else ""

    def row(cells: Iterable[str]) -> str:
        first, *others = [cell if raw else escape(cell) for cell in cells]
        tail = "".join(f"<td{kind(index)}>{cell}</td>" for index, cell in enumerate(others, 1))
        return f'<tr><th scope="row">{first}</th>{tail}</tr>'

    headings = list(head)
    cells = "".join(f"<th{kind(index)}>{escape(words)}</th>" for index, words in enumerate(headings))
    top = f"<thead><tr>{cells}</tr></thead>" if any(headings) else ""
    body = "".join(row(cells) for cells in rows)
    # What scrolls sideways on a phone must be reachable by keyboard.
    box = 'class="card wide" tabindex="0"' if wide else 'class="card"'
    return f"<div {box}><h2>{escape(title)}</h2><table>{top}<tbody>{body}</tbody></table></div>"


def _mark(count: int) -> str:
    return f'<span class="{"bad" if count else "good"}">{count:,} {"✗" if count else "✓"}</span>'


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return _NO_VALUE
    spelled = (
        f"{value:,.0f}"
        if value == int(value) or abs(value) >= 1000
        else f"{value:,.2f}"
        if abs(value) < 10
        else f"{value:,.1f}"
    )
    return spelled + unit
