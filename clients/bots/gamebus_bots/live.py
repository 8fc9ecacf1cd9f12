"""The run while it runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gamebus_bots.clock import clock
from gamebus_bots.metrics import PROMISED
from gamebus_bots.scenario import Scenario
from gamebus_bots.tally import Tally
from gamebus_bots.timeline import Timeline

_TABLE_S: Final = 0.5
_LINES_S: Final = 2.0


class Watched(Protocol):
    """A run."""

    @property
    def started_s(self) -> float | None:
        """When playing began; None before."""

    def live(self) -> Tally:
        """The run as it stands."""


async def watch(run: Watched, scenario: Scenario, console: Console) -> None:
    """Show the run until cancelled."""
    view = _View(scenario)
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINES_S)
            console.print(view.line(run), soft_wrap=True, highlight=False)
    with Live(view.table(run), console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(_TABLE_S)
            live.update(view.table(run), refresh=True)


class _View:
    """What is shown; rates are those since the last look."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._timeline = Timeline(scenario)
        self._last: tuple[float, Counter[str]] = (clock(), Counter())

    def table(self, run: Watched) -> Table:
        """For a terminal."""
        now_s = clock()
        grid = Table(title=f"gamebus bots: {self._progress(run, now_s)}", show_header=False, title_justify="left")
        for name, value in self._rows(run.live(), now_s):
            grid.add_row(name, value)
        return grid

    def line(self, run: Watched) -> str:
        """For a file or a pipe."""
        now_s = clock()
        rows = "; ".join(f"{name} {value}" for name, value in self._rows(run.live(), now_s))
        return f"{self._progress(run, now_s)}  {rows}"

    def _progress(self, run: Watched, now_s: float) -> str:
        if run.started_s is None:
            return "connecting"
        timeline, elapsed_s = self._timeline, now_s - run.started_s
        measured_s = elapsed_s - timeline.measured_from_s
        if elapsed_s > timeline.ends_s:
            return "draining"
        if measured_s < 0:
            return f"warm-up, {-measured_s:.0f} s left"
        return f"{measured_s:.0f} of {self._scenario.duration_s:g} s"

    def _rows(self, tally: Tally, now_s: float) -> list[tuple[str, str]]:
        counts = Counter(tally.counts)
        last_s, last = self._last
        self._last = (now_s, counts)
        span_s = max(now_s - last_s, 1e-3)

        def rate(name: str) -> str:
            return f"{max(0, counts[name] - last[name]) / span_s:,.0f}/s"

        found = [
            ("players", f"{counts['connected']} of {self._scenario.players} in {self._scenario.rooms} rooms"),
            ("realtime", f"{rate('sent')} sent, {rate('received')} received"),
            (
                "durable",
                f"{rate('acked')} acked, {counts['acked']:,} of {counts['published']:,}; {rate('delivered')} delivered",
            ),
        ]
        for name, words in (("position", "position"), ("ack", "ack"), ("chat", "chat")):
            found.append((words, _spread(tally, f"{name}.response")))
        found.append(("send lag", _spread(tally, "send_lag")))
        trouble = {name: counts[name] for name in (*PROMISED, "nacked", "reconnects")} | dict(tally.errors)
        words = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in trouble.items() if count)
        return [*found, ("trouble", words or "none")]


def _spread(tally: Tally, name: str) -> str:
    latency = tally.latencies.get(name)
    if latency is None or not len(latency):
        return "no samples yet"
    return (
        ", ".join(f"{statistic} {latency.statistic_ms(statistic):.1f}" for statistic in ("p50", "p99", "max")) + " ms"
    )
