"""`gamebus top`: the overview of the dashboard, in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gamebus.catalog import Catalog
from gamebus.cli import _settings
from gamebus.dashboard.overview import Overview
from gamebus.dashboard.processes import Processes
from gamebus.errors import StateError
from gamebus.settings import RedisSettings, load_catalog
from gamebus.state.connection import connect

_INTERVAL_S: Final = 1.0
_UNKNOWN: Final = "–"


def main(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a second (with --once: one).")] = False,
) -> None:
    """Show the live state of the whole bus, once a second, until Ctrl-C. Reads Redis only.

    Example: gamebus top
    """
    settings = _settings.load()
    with contextlib.suppress(KeyboardInterrupt):  # the way it ends
        asyncio.run(_watch(settings.redis, load_catalog(settings), once=once, as_json=as_json))


async def _watch(redis: RedisSettings, catalog: Catalog, *, once: bool, as_json: bool) -> None:
    connection = connect(redis)
    overview, processes = Overview(connection, catalog), Processes(connection)
    console = Console()

    async def read() -> dict[str, Any]:
        page = await overview.read()
        return {"now": page["now"], "processes": (await processes.read())["processes"]}

    try:
        if once or as_json or not console.is_terminal:
            while True:
                page = await read()
                if as_json:
                    typer.echo(json.dumps(page))
                elif once:
                    console.print(_screen(page))
                else:
                    typer.echo(_line(page["now"]))
                if once:
                    return
                await asyncio.sleep(_INTERVAL_S)
        with Live(console=console, auto_refresh=False, screen=True) as live:
            page = {}
            while True:
                trouble = None
                try:
                    page = await read()
                except StateError as error:
                    trouble = str(error)
                live.update(_screen(page, trouble), refresh=True)
                await asyncio.sleep(_INTERVAL_S)
    finally:
        await connection.close()


def _line(now: Mapping[str, Any]) -> str:
    """For a log: what does not need a table."""
    return (
        f"{time.strftime('%H:%M:%S')}  players {now['players']}  rooms {now['rooms']}  realtime {now['realtime_per_s']}/s  "
        f"durable {now['durable_per_s']}/s  ack p99 {_ms(now['ack_p99_ms'])}  age p99 {_ms(now['age_p99_ms'])}  "
        f"lag {now['realtime_lag']}/{now['durable_lag']}  loss {_percent(now['loss_rate'])}  errors {now['errors_per_s']}/s"
    )


def _screen(page: Mapping[str, Any], trouble: str | None = None) -> Group:
    parts: list[Any] = []
    if trouble is not None:
        parts.append(Text(f"Redis does not answer; this is the last that it said. {trouble}", style="bold red"))
    if page:
        parts += (_overview(page["now"]), _processes(page["processes"]))
    return Group(*parts)


def _overview(now: Mapping[str, Any]) -> Table:
    table = Table(title="gamebus", title_justify="left", show_header=False)
    for _ in range(3):
        table.add_column(style="dim")
        table.add_column(justify="right")
    table.add_row(
        "players", f"{now['players']:,}", "realtime", f"{now['realtime_per_s']:,}/s", "ack p50 / p99", _pair(now, "ack")
    )
    table.add_row(
        "rooms", f"{now['rooms']:,}", "durable", f"{now['durable_per_s']:,}/s", "age p50 / p99", _pair(now, "age")
    )
    table.add_row(
        "connections",
        f"{now['connections']:,}",
        "delivered",
        f"{now['delivered_per_s']:,}/s",
        "lag realtime / durable",
        f"{now['realtime_lag']:,} / {now['durable_lag']:,}",
    )
    table.add_row(
        "realtime loss",
        _alarming(_percent(now["loss_rate"]), bad=(now["loss_rate"] or 0) > 0.01),
        "errors",
        _alarming(f"{now['errors_per_s']:,}/s", bad=now["errors_per_s"] > 0),
        "stale processes",
        _alarming(str(now["stale"]), bad=now["stale"] > 0),
    )
    return table


_COLUMNS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "uptime": lambda row: f"{row['uptime_s']:,} s",
    "in": lambda row: (
        f"{_rate(row, 'gateway_messages_total', 'realtime_consumer_records_total', 'durable_consumer_records_total'):,.0f}/s"
    ),
    "clients": lambda row: f"{row['samples'].get('gateway_connections', 0):,}" if row["role"] == "gateway" else "",
    "lag": lambda row: (
        f"{sum(row['samples'].get(name, 0) for name in ('realtime_consumer_lag', 'durable_consumer_lag')):,}"
    ),
    "loop": lambda row: _ms(row["samples"].get("process_event_loop_lag_seconds", 0) * 1000),
    "CPU": lambda row: f"{_rate(row, 'process_cpu_seconds_total'):.0%}",
    "memory": lambda row: f"{row['samples'].get('process_resident_memory_bytes', 0) / 1e6:,.0f} MB",
}


def _processes(rows: list[Mapping[str, Any]]) -> Table:
    table = Table("process", "role", "")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        state = (
            Text(f"silent {row['age_ms'] / 1000:.0f} s", style="bold red")
            if row["stale"]
            else Text("ok", style="green")
        )
        table.add_row(
            row["name"], row["role"].removeprefix("processor-"), state, *(show(row) for show in _COLUMNS.values())
        )
    return table


def _rate(row: Mapping[str, Any], *names: str) -> float:
    return float(sum(row["rates"].get(name, 0.0) for name in names))


def _pair(now: Mapping[str, Any], series: str) -> str:
    return f"{_ms(now[f'{series}_p50_ms'])} / {_ms(now[f'{series}_p99_ms'])}"


def _ms(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f} ms"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3%}"


def _alarming(text: str, *, bad: bool) -> Text:
    return Text(text, style="bold red" if bad else "")
