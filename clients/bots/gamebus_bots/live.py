"""The run while it runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gamebus_bots.bots import Bots
from gamebus_bots.report import BotsReport, BotsSnapshot

_TABLE_S: Final = 0.5
_LINES_S: Final = 2.0


async def watch(bots: Bots, console: Console) -> None:
    """Show the run until cancelled."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINES_S)
            console.print(line(bots.snapshot()), soft_wrap=True, highlight=False)
    with Live(table(bots.snapshot()), console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(_TABLE_S)
            live.update(table(bots.snapshot()), refresh=True)


def rows(snapshot: BotsSnapshot) -> list[tuple[str, str]]:
    """What both views show, as names and values."""
    durable, latency = snapshot.durable, snapshot.latency_ms
    found = [
        ("players", f"{snapshot.connected}/{snapshot.players} in {snapshot.rooms} rooms"),
        ("realtime", f"{snapshot.realtime_sent_per_s:,.0f}/s sent, {snapshot.received_per_s:,.0f}/s received"),
        ("durable", f"{snapshot.durable_acked_per_s:,.1f}/s acked, {durable.acked} of {durable.published}"),
        ("events", f"{snapshot.kills} kills, {snapshot.chats} chats, {durable.delivered} deliveries"),
        ("position", _pair(latency.position_p50, latency.position_p99)),
        ("ack", _pair(latency.ack_p50, latency.ack_p99)),
        ("chat", _pair(latency.chat_p50, latency.chat_p99)),
        ("send lag", _pair(latency.send_lag_p50, latency.send_lag_p99)),
    ]
    trouble = {"nacked": durable.nacked, "unknown": durable.unknown, "duplicates": durable.duplicates}
    trouble |= {"reconnects": snapshot.reconnects} | dict(snapshot.errors)
    words = ", ".join(f"{count} {name}" for name, count in trouble.items() if count)
    return [*found, ("trouble", words or "none")]


def table(snapshot: BotsSnapshot) -> Table:
    """For a terminal."""
    grid = Table(title=f"gamebus bots, {snapshot.elapsed_s:.0f} s", show_header=False, title_justify="left")
    for name, value in rows(snapshot):
        grid.add_row(name, value)
    return grid


def line(snapshot: BotsSnapshot) -> str:
    """For a file or a pipe."""
    return f"{snapshot.elapsed_s:6.1f} s  " + "; ".join(f"{name} {value}" for name, value in rows(snapshot))


def summary(report: BotsReport) -> Table:
    """The end."""
    durable, realtime, latency = report.durable, report.realtime, report.latency_ms
    grid = Table(title="gamebus bots: " + ("ok" if report.ok else "FAILED"), show_header=False, title_justify="left")
    grid.add_row("played", f"{report.players} players in {report.rooms} rooms for {report.seconds:.1f} s")
    dropped = "".join(f", {count} dropped {reason}" for reason, count in realtime.dropped.items())
    sent = (
        f"{realtime.sent} of {realtime.attempted} sent{dropped}; {realtime.received} received, {realtime.stale} stale"
    )
    grid.add_row("realtime", sent)
    outcome = f"{durable.acked} of {durable.published} acked, {durable.nacked} nacked, {durable.unknown} unknown"
    grid.add_row("durable", f"{outcome}; {durable.delivered} deliveries")
    kept = f"{durable.duplicates} duplicates, {durable.gaps} gaps, {durable.out_of_order} out of order"
    grid.add_row("promised", kept)
    grid.add_row("position", _pair(latency.position_p50, latency.position_p99))
    grid.add_row("ack", _pair(latency.ack_p50, latency.ack_p99))
    grid.add_row("chat", _pair(latency.chat_p50, latency.chat_p99))
    grid.add_row("send lag", _pair(latency.send_lag_p50, latency.send_lag_p99))
    if report.errors or report.reconnects:
        errors = "".join(f", {count} {code}" for code, count in report.errors.items())
        grid.add_row("trouble", f"{report.reconnects} reconnects{errors}")
    for player, words in list(report.problems.items())[:5]:
        grid.add_row(player, "; ".join(words))
    if report.failures:
        grid.add_row("failed", ", ".join(report.failures))
    return grid


def _pair(p50: float | None, p99: float | None) -> str:
    return "no samples" if p50 is None or p99 is None else f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
