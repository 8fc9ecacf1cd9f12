"""`gamebus loss`: what at-most-once delivery lost, exactly, and where."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.settings import RedisSettings, load_catalog, load_settings
from gamebus.state.connection import connect
from gamebus.state.ledger import LedgerState, LossRow

_WATCH_S: Final = 1.0
_TERMS: Final = ("lost_on_wire", "dropped_on_failed_commit", "lost_in_crash", "skipped", "unknown")
_ALARMS: Final = ("duplicates", "reordered")


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (with --watch: one line a second).")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
) -> None:
    """Show what became of every at-most-once event, by event type and by publishing process.

    attempted = processed + dropped + lost on the wire + dropped on a failed commit + lost in a crash + skipped + unknown.
    The estimate is what a publisher can know by itself: its errors by its attempts. The true loss is counted by the consumers.
    """
    settings = load_settings()
    catalog = load_catalog(settings)
    asyncio.run(_show(settings.redis, catalog, as_json=as_json, watch=watch))


async def _show(redis: RedisSettings, catalog: Catalog, *, as_json: bool, watch: bool) -> None:
    connection = connect(redis)
    topics = {topic.name: topic.partitions for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)}
    try:
        ledger = LedgerState(connection)
        page = summary(await ledger.read(topics), catalog)
        if not watch and as_json:
            typer.echo(json.dumps(page, indent=2))
        elif not watch:
            Console().print(_tables(page))
        elif as_json:
            while True:
                typer.echo(json.dumps(page))
                await asyncio.sleep(_WATCH_S)
                page = summary(await ledger.read(topics), catalog)
        else:
            with Live(_tables(page), auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(_WATCH_S)
                    page = summary(await ledger.read(topics), catalog)
                    live.update(_tables(page), refresh=True)
    finally:
        await connection.close()


def summary(rows: Sequence[LossRow], catalog: Catalog) -> dict[str, Any]:
    """All terms of the identity: `types` by topic (types of one topic share its numbering), `streams` by boot and topic."""
    types = [
        {"types": [event_type.name for event_type in catalog.types_of(topic.name)], "topic": topic.name}
        | _sum(row for row in rows if row.topic == topic.name)
        for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)
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


_COLUMNS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "attempted": lambda row: f"{row['attempted']:,}",
    "processed": lambda row: f"{row['processed']:,}",
    "dropped": lambda row: ", ".join(f"{reason} {count:,}" for reason, count in sorted(row["dropped"].items())) or "0",
    "on the wire": lambda row: f"{row['lost_on_wire']:,}",
    "failed commit": lambda row: f"{row['dropped_on_failed_commit']:,}",
    "in a crash": lambda row: f"{row['lost_in_crash']:,}",
    "skipped": lambda row: f"{row['skipped']:,}",
    "unknown": lambda row: f"{row['unknown']:,}",
    "doubled": lambda row: f"{row['duplicates']:,}",
    "estimate": lambda row: f"{row['estimated_loss_rate']:.3%}",
    "true loss": lambda row: f"{row['loss_rate']:.3%}",
}


def _tables(page: Mapping[str, Any]) -> Group:
    now_ms = time.time_ns() // 1_000_000
    types = _table(
        "type", "written", page["types"], lambda row: (", ".join(row["types"]), _age(row["written_ms"], now_ms))
    )
    streams = _table(
        "publisher",
        "topic",
        page["streams"],
        lambda row: (f"{row['boot']}{' (ended)' if row['ended'] else ''}", row["topic"]),
    )
    return Group(types, streams)


def _table(
    first: str, second: str, rows: Sequence[Mapping[str, Any]], names: Callable[[Mapping[str, Any]], tuple[str, str]]
) -> Table:
    table = Table(first, second)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*names(row), *(value(row) for value in _COLUMNS.values()))
    return table


def _age(written_ms: int | None, now_ms: int) -> str:
    return "never" if written_ms is None else f"{max(0, now_ms - written_ms) / 1000:.0f} s ago"
