"""`gamebus dlq`: records that could not be processed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.cli import _settings
from gamebus.cli._letter_filter import LetterFilter, parse_since
from gamebus.delivery.dead_letters import DeadLetter, read_dead_letters, why_not_discarded, why_not_replayed
from gamebus.delivery.dead_letters import discard as discard_letter
from gamebus.delivery.dead_letters import replay as replay_letter
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.generation_log import current_catalog
from gamebus.errors import ConfigurationError, DeliveryError
from gamebus.settings import Settings, load_catalog

app = typer.Typer(
    help="List, show, replay and discard dead letters: records that could not be processed.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(help="Dead letter, as `list` names it: PARTITION/OFFSET.")]
_Names = Annotated[list[str] | None, typer.Argument(help="Dead letters, PARTITION/OFFSET each.")]
_Every = Annotated[bool, typer.Option("--all", help="All that are pending: neither replayed nor discarded.")]
_Type = Annotated[str | None, typer.Option("--type", help="Only events of this type.")]
_Room = Annotated[str | None, typer.Option("--room", help="Only events of this room.")]
_Error = Annotated[str | None, typer.Option("--error", help="Only those whose error holds this text, in any case.")]
_Since = Annotated[
    str | None,
    typer.Option("--since", help="Only those that died since: an age (90s, 15m, 2h, 7d) or an ISO time (UTC)."),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

_Refusal = Callable[[DeadLetter], str | None]
_Act = Callable[[DurablePublisher, DeadLetter], Awaitable[None]]


@app.command("list")
def list_(
    as_json: _Json = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those neither replayed nor discarded.")] = False,
    type_: _Type = None,
    room: _Room = None,
    error: _Error = None,
    since: _Since = None,
) -> None:
    """List dead letters, oldest first."""
    wanted = _filter(type_, room, error, since)
    settings = _settings.load()
    found = _read(settings, load_catalog(settings))
    letters = [letter for letter in found if wanted.passes(letter) and (letter.pending or not pending)]
    if as_json:
        typer.echo(json.dumps([_row(letter) for letter in letters], indent=2))
        return
    for letter in letters:
        typer.echo(f"{_line(letter)}\n    {letter.error}")
    typer.echo(f"{len(letters)} dead letters", err=True)


@app.command()
def show(name: _Name, as_json: _Json = False) -> None:
    """Show a dead letter with its content."""
    settings = _settings.load()
    letter = _find(_read(settings, load_catalog(settings)), name)
    row = _row(letter) | _content(letter)
    if as_json:
        typer.echo(json.dumps(row, indent=2, default=repr))
        return
    for field, value in row.items():
        typer.echo(f"{field}: {json.dumps(value, default=repr) if field == 'data' else value}")


@app.command()
def replay(
    names: _Names = None,
    every: _Every = False,
    type_: _Type = None,
    room: _Room = None,
    error: _Error = None,
    since: _Since = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also those that were replayed or discarded before. A second replay of an event older than an hour has a second effect.",
        ),
    ] = False,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Publish events of dead letters to their topics again; they keep their ids, so an effect of the last hour does not happen twice.

    Name letters, or choose them: --all, or conditions. What cannot be replayed is refused when it is named, else passed over.
    """
    wanted = _choice(names, _filter(type_, room, error, since), every=every)
    settings = _settings.load()
    catalog = load_catalog(settings)
    # A topic that a type has moved to is one of ours, too.
    catalog = asyncio.run(current_catalog(settings.kafka.bootstrap_servers, catalog, command=True))
    known = {topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)}

    def refusal(letter: DeadLetter) -> str | None:
        if letter.source_topic not in known:
            return (
                f"dead letter {letter.name} is of topic {letter.source_topic!r}, which the catalog does not have as "
                "at-least-once: give its event types back to the catalog, or discard it"
            )
        return why_not_replayed(letter, force=force)

    letters = [letter for letter in _read(settings, catalog) if force or names or letter.pending]
    chosen = _chosen(letters, names, wanted, refusal)
    if not dry_run:
        _ask("replay", chosen, yes=yes)
        topics = {letter.source_topic for letter in chosen} | {catalog.dead_letter_topic}
        dead = catalog.dead_letter_topic
        _act(settings, topics, chosen, lambda publisher, letter: replay_letter(publisher, dead, letter, force=force))
    _report("replay", chosen, dry_run=dry_run, as_json=as_json)


@app.command()
def discard(
    names: _Names = None,
    every: _Every = False,
    type_: _Type = None,
    room: _Room = None,
    error: _Error = None,
    since: _Since = None,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Mark dead letters as dealt with: their events shall not have their effect. Nothing is deleted.

    They are no longer pending, and replaying one needs --force. Name letters, or choose them: --all, or conditions.
    """
    wanted = _choice(names, _filter(type_, room, error, since), every=every)
    settings = _settings.load()
    catalog = load_catalog(settings)
    letters = [letter for letter in _read(settings, catalog) if names or letter.pending]
    chosen = _chosen(letters, names, wanted, why_not_discarded)
    if not dry_run:
        _ask("discard", chosen, yes=yes)
        dead = catalog.dead_letter_topic
        _act(settings, {dead}, chosen, lambda publisher, letter: discard_letter(publisher, dead, letter))
    _report("discard", chosen, dry_run=dry_run, as_json=as_json)


def _filter(type_: str | None, room: str | None, error: str | None, since: str | None) -> LetterFilter:
    since_ms = None if since is None else parse_since(since, now_ms=time.time_ns() // 1_000_000)
    return LetterFilter(type_, room, error, since_ms)


def _choice(names: Sequence[str] | None, wanted: LetterFilter, *, every: bool) -> LetterFilter:
    if bool(names) == (every or wanted.given):
        raise typer.BadParameter("name dead letters, or choose them by --all or --type, --room, --error, --since")
    return wanted


def _chosen(
    letters: Sequence[DeadLetter], names: Sequence[str] | None, wanted: LetterFilter, refusal: _Refusal
) -> list[DeadLetter]:
    """The letters to act on. One that is named and cannot be is an error; of a choice it is left out, with a word on stderr."""
    if names:
        # A name given twice is one letter.
        chosen = [_find(letters, name) for name in dict.fromkeys(names)]
        refusals = [reason for reason in map(refusal, chosen) if reason is not None]
        if refusals:
            raise DeliveryError("; ".join(refusals))
        return chosen
    chosen = []
    for letter in filter(wanted.passes, letters):
        reason = refusal(letter)
        if reason is None:
            chosen.append(letter)
        else:
            typer.echo(f"passed over: {reason}", err=True)
    return chosen


def _ask(verb: str, letters: Sequence[DeadLetter], *, yes: bool) -> None:
    if yes or not letters:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"would {verb} {len(letters)} dead letters, and nobody can be asked: give --yes, or --dry-run to see them"
        )
    for letter in letters:
        typer.echo(_line(letter), err=True)
    # Not typer.confirm: it writes to standard output, which carries the result alone.
    typer.echo(f"{verb} {len(letters)} dead letters? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def _act(settings: Settings, topics: set[str], letters: Sequence[DeadLetter], act: _Act) -> None:
    async def run() -> None:
        publisher = DurablePublisher(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            settings=settings.durable,
            topics=sorted(topics),
            client_id="gamebus-dlq",
        )
        await publisher.start()
        try:
            for letter in letters:
                await act(publisher, letter)
        finally:
            await publisher.stop()

    if letters:
        asyncio.run(run())


def _report(verb: str, letters: Sequence[DeadLetter], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([letter.name for letter in letters]))
    elif dry_run:
        for letter in letters:
            typer.echo(_line(letter))
        typer.echo(f"would {verb} {len(letters)} dead letters")
    else:
        typer.echo(f"{verb}ed {len(letters)} dead letters")


def _read(settings: Settings, catalog: Catalog) -> list[DeadLetter]:
    return asyncio.run(read_dead_letters(settings.kafka.bootstrap_servers, catalog.dead_letter_topic))


def _find(letters: Sequence[DeadLetter], name: str) -> DeadLetter:
    for letter in letters:
        if letter.name == name:
            return letter
    raise ConfigurationError(f"there is no dead letter {name!r}; `gamebus dlq list` names them all")


def _line(letter: DeadLetter) -> str:
    state = "" if letter.replayed_ms is None else f"  replayed {_time(letter.replayed_ms)}"
    state += "" if letter.discarded_ms is None else f"  discarded {_time(letter.discarded_ms)}"
    source = f"{letter.source_topic}/{letter.source_partition}@{letter.source_offset}"
    return f"{letter.name}  {_time(letter.dead_ms)}  {source}  {letter.event or '-'}{state}"


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "name": letter.name,
        "dead": _time(letter.dead_ms),
        "topic": letter.source_topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "event": letter.event,
        "error": letter.error,
        "truncated": letter.truncated,
        "replayed": None if letter.replayed_ms is None else _time(letter.replayed_ms),
        "discarded": None if letter.discarded_ms is None else _time(letter.discarded_ms),
    }


def _content(letter: DeadLetter) -> dict[str, Any]:
    record = letter.record
    if record is None:
        return {"key": letter.key.decode(errors="replace"), "value_hex": letter.value.hex()}
    return {
        "type": record.type,
        "room": record.room,
        "player": record.player,
        "publisher": record.publisher,
        "id": record.id,
        "server_ms": record.server_ms,
        "data": record.data,
    }


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
