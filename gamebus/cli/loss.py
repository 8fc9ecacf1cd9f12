"""`gamebus loss`: what at-most-once delivery lost, exactly, and where."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from gamebus.catalog import Catalog
from gamebus.settings import RedisSettings, load_catalog, load_settings
from gamebus.state.connection import connect
from gamebus.state.ledger import LedgerState
from gamebus.state.loss_summary import read_summary

_WATCH_S: Final = 1.0
_TERM_NAMES: Final[Mapping[str, str]] = {
    "lost_on_wire": "lost on the wire",
    "dropped_on_failed_commit": "commit failed",
    "lost_in_crash": "lost after commit",
    "skipped": "skipped",
    "unknown": "unknown",
}


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (with --watch: one line a second).")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
) -> None:
    """Show what became of every at-most-once event, by event type and by publishing process.

    Every event that a publisher attempted is in exactly one of these (JSON names in brackets):

    [bold]processed[/bold]: handed to a processor's handler after its offset was committed, and the handler ended well.

    [bold]dropped by publisher[/bold] (dropped): never written, by reason: no connection, no leader, backpressure, too old, too large, ...

    [bold]lost on the wire[/bold] (lost_on_wire): written to a socket and never seen in Kafka.

    [bold]commit failed[/bold] (dropped_on_failed_commit): read, and not processed because the commit failed or its outcome is unknown.

    [bold]lost after commit[/bold] (lost_in_crash): committed, and then the processor died or its handler failed (Redis did not answer).

    [bold]skipped[/bold]: read and passed over: too old, overtaken by a newer one, or written before the processors began.

    [bold]unknown[/bold]: nobody can say; only after a process was killed or an account was lost.

    Beside the sum: [bold]doubled[/bold] (duplicates) is an alarm, this class never doubles; reordered events are among the skipped.

    [bold]publisher's estimate[/bold] (estimated_loss_rate) = dropped / attempted: all that a publisher can know by itself at acks=0.

    [bold]true loss[/bold] (loss_rate) = (attempted - processed) / attempted: counted by the processors, by the numbers on the events.
    """
    settings = load_settings()
    catalog = load_catalog(settings)
    with contextlib.suppress(KeyboardInterrupt):  # the way a watch ends
        asyncio.run(_show(settings.redis, catalog, as_json=as_json, watch=watch))


async def _show(redis: RedisSettings, catalog: Catalog, *, as_json: bool, watch: bool) -> None:
    connection = connect(redis)
    try:
        ledger = LedgerState(connection)
        page = await read_summary(ledger, catalog)
        if not watch and as_json:
            typer.echo(json.dumps(page, indent=2))
        elif not watch:
            Console().print(_tables(page))
        elif as_json:
            while True:
                typer.echo(json.dumps(page))
                await asyncio.sleep(_WATCH_S)
                page = await read_summary(ledger, catalog)
        else:
            with Live(_tables(page), auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(_WATCH_S)
                    page = await read_summary(ledger, catalog)
                    live.update(_tables(page), refresh=True)
    finally:
        await connection.close()


def _count(term: str, total: Mapping[str, Any]) -> str:
    return f"{total[term]:,}"


_ROWS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "attempted": lambda total: f"{total['attempted']:,}",
    "processed": lambda total: f"{total['processed']:,}",
    "dropped by publisher": lambda total: _reasons(total["dropped"]) or "0",
    **{name: partial(_count, term) for term, name in _TERM_NAMES.items()},
    "doubled": lambda total: f"{total['duplicates']:,}",
    "publisher's estimate": lambda total: f"{total['estimated_loss_rate']:.3%}",
    "true loss": lambda total: f"{total['loss_rate']:.3%}",
}


def _tables(page: Mapping[str, Any]) -> Group:
    """For a person: a column for each topic's types, a row for each publisher. Both fit a terminal of 80 columns."""
    now_ms = time.time_ns() // 1_000_000
    types = Table("", *(Column(", ".join(total["types"]), justify="right") for total in page["types"]))
    types.add_row("counted", *(_age(total["written_ms"], now_ms) for total in page["types"]))
    for name, value in _ROWS.items():
        types.add_row(name, *map(value, page["types"]))
    streams = Table("publisher, topic", "attempted", "processed", "what was lost", "true loss")
    for total in page["streams"]:
        streams.add_row(
            f"{total['boot']}{' (ended)' if total['ended'] else ''}\n{total['topic']}",
            *(f"{total['attempted']:,}", f"{total['processed']:,}", _losses(total), f"{total['loss_rate']:.3%}"),
        )
    return Group(types, streams)


def _losses(total: Mapping[str, Any]) -> str:
    dropped = [f"dropped: {reason} {count:,}" for reason, count in sorted(total["dropped"].items()) if count]
    lost = [f"{name} {total[term]:,}" for term, name in _TERM_NAMES.items() if total[term]]
    doubled = [f"doubled {total['duplicates']:,}"] if total["duplicates"] else []
    return "\n".join(dropped + lost + doubled) or "nothing"


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(dropped.items()) if count)


def _age(written_ms: int | None, now_ms: int) -> str:
    return "never" if written_ms is None else f"{max(0, now_ms - written_ms) / 1000:.0f} s ago"
