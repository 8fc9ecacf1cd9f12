"""`gamebus migrate`: move an event type to the other delivery class while everything runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.cli import _settings
from gamebus.generations import Generation, Log, Migration, Place, Step
from gamebus.migration.counts import Counts, RealtimeCounts, page
from gamebus.migration.migrator import Migrator, Outcome, edited, warnings
from gamebus.settings import load_catalog

_STEPS: Final[Mapping[Step, str]] = {
    Step.PREPARE: "prepared: the new topic is read, events still go to the old one",
    Step.SWITCH: "switched: events go to the new topic, the old one is being drained",
    Step.FINISH: "finished: the old topic is drained and still read; `--retire` deletes it",
    Step.RETIRE: "over: the old topic is retired",
    Step.ROLL_BACK: "rolled back: as if nothing had been",
}


def main(
    event_type: Annotated[str | None, typer.Argument(metavar="TYPE", help="A type of your own catalog file.")] = None,
    to: Annotated[DeliveryClass | None, typer.Option(help="The class that it is to have.")] = None,
    rationale: Annotated[
        str | None, typer.Option(help="With --to at-most-once: why it is acceptable that events are lost.")
    ] = None,
    retire: Annotated[bool, typer.Option("--retire", help="Delete the old topic of a finished migration.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Undo a migration that has not switched.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show where every type stands, and do nothing.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for others at each step.")] = 90,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move an event type to the other delivery class, with clients playing: no event is lost or doubled by it.

    The type gets a new topic; gateways and processors follow by themselves; the old topic is drained and its account closed.
    Interrupted anywhere, the same command goes on. See docs/migration.md.

    Example: gamebus migrate footstep --to at-least-once
    """
    settings = _settings.load()
    base = load_catalog(settings)
    migrator = Migrator(settings, base, say=lambda line: typer.echo(line, err=True), patience_s=timeout_s)
    if status:
        _show_status(asyncio.run(migrator.log()), base, as_json=as_json)
    elif event_type is None:
        raise typer.BadParameter("name a type, or --status", param_hint="TYPE")
    elif rollback:
        _ask(f"Undo the migration of {event_type}?", yes=yes)
        migration = asyncio.run(migrator.roll_back(event_type))
        _print(_state(migration, base), f"{event_type}: {_STEPS[migration.step]}", as_json=as_json)
    elif retire:
        _ask(f"Delete the old topic of {event_type} with everything in it?", yes=yes)
        _show_outcome(asyncio.run(migrator.retire(event_type)), base, as_json=as_json)
    elif to is None:
        raise typer.BadParameter("at-most-once or at-least-once", param_hint="--to")
    else:
        first = asyncio.run(migrator.first(event_type, to, rationale))
        typer.echo(_plan(first), err=True)
        _ask("Go on?", yes=yes)
        _show_outcome(asyncio.run(migrator.migrate(first)), base, as_json=as_json)


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _plan(first: Generation | Migration) -> str:
    source, target = first.source, first.target
    if isinstance(first, Migration):
        return f"{first.event_type} migrates to {target.topic} already; {_STEPS[first.step]}"
    lines = [
        f"{first.event_type}: {source.delivery} in {source.topic} -> {target.delivery} in {target.topic}",
        f"  1 prepare  create {target.topic} ({target.partitions} partitions); gateways and processors read it too",
        f"  2 switch   gateways publish to {target.topic} only",
        f"  3 drain    {source.topic} is processed to its end, its account is closed",
        "  4 finish   print the counts; `--retire` deletes the old topic when you like",
    ]
    if target.delivery is DeliveryClass.AT_MOST_ONCE:
        lines += [
            f"WARNING: from the switch on events of {first.event_type} may be lost, without a retry and without an ack.",
            "  Clients that publish it on an open connection get `nack unavailable` and are sent to reconnect (4000).",
            f"  Why it is acceptable: {target.rationale}",
        ]
    return "\n".join(lines)


def _show_outcome(outcome: Outcome, base: Catalog, *, as_json: bool) -> None:
    migration = outcome.migration
    for warning in warnings(outcome):
        typer.echo(f"WARNING: {warning}", err=True)
    row = _state(migration, base) | {
        "old": {"topic": migration.source.topic, "exists": outcome.exists} | page(outcome.old),
        "new": {"topic": migration.target.topic} | page(outcome.new),
        "warnings": warnings(outcome),
    }
    text = [
        f"{migration.event_type}: {_STEPS[migration.step]}",
        f"  {migration.source.topic}: {_words(outcome.old)}",
        f"  {migration.target.topic}: {_words(outcome.new)}",
    ]
    if not edited(base, migration):
        text.append(_snippet(migration))
    _print(row, "\n".join(text), as_json=as_json)


def _words(counts: Counts) -> str:
    if isinstance(counts, RealtimeCounts):
        lost = ", ".join(f"{name} {count}" for name, count in counts.lost.items()) or "none"
        return f"attempted {counts.attempted}, processed {counts.processed}, lost: {lost}"
    return f"published {counts.published}, processed {counts.processed}"


def _snippet(migration: Migration) -> str:
    place = migration.place
    lines = [
        "Write it into your catalog file when you like (both are understood until then and afterwards):",
        f"  [types.{migration.event_type}]",
        f'  delivery = "{place.delivery}"',
        f'  topic = "{place.topic}"',
    ]
    if place.rationale is None:
        lines.append("  # without rationale and profile")
    else:
        lines.append(f"  rationale = {json.dumps(place.rationale)}")
    return "\n".join(lines)


def _show_status(log: Log, base: Catalog, *, as_json: bool) -> None:
    rows = [_state(migration, base) for migration in log.migrations.values()]
    lines = [f"generation {log.number}"]
    lines += [
        f"{migration.event_type}  {migration.place.delivery} in {migration.place.topic}"
        f"{'' if edited(base, migration) else '  (the catalog file does not say so yet)'}\n    {_STEPS[migration.step]}"
        for migration in log.migrations.values()
    ]
    _print({"generation": log.number, "types": rows}, "\n".join(lines), as_json=as_json)


def _state(migration: Migration, base: Catalog) -> dict[str, Any]:
    return {
        "type": migration.event_type,
        "step": str(migration.step),
        "generation": migration.number,
        "since": datetime.fromtimestamp(migration.at_ms / 1000, UTC).isoformat(timespec="seconds"),
        "from": _place(migration.source),
        "to": _place(migration.target),
        "published_to": migration.place.topic,
        "file_edited": edited(base, migration),
    }


def _place(place: Place) -> dict[str, Any]:
    return {"delivery": str(place.delivery), "topic": place.topic, "partitions": place.partitions}


def _print(row: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(row, indent=2) if as_json else text)
