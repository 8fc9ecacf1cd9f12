"""`gamebus dlq`: records that could not be processed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.cli import _settings
from gamebus.delivery.dead_letters import DeadLetter, read_dead_letters
from gamebus.delivery.dead_letters import replay as replay_letter
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.generation_log import current_catalog
from gamebus.errors import ConfigurationError, RecordError
from gamebus.record import decode_durable
from gamebus.settings import Settings, load_catalog

app = typer.Typer(help="List, show and replay dead letters: records that could not be processed.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(help="Dead letter, as `list` names it: PARTITION/OFFSET.")]


@app.command("list")
def list_(
    as_json: _Json = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that were never replayed.")] = False,
) -> None:
    """List dead letters, oldest first."""
    settings = _settings.load()
    letters = _read(settings, load_catalog(settings))
    if pending:
        letters = [letter for letter in letters if letter.replayed_ms is None]
    if as_json:
        typer.echo(json.dumps([_row(letter) for letter in letters], indent=2))
        return
    for letter in letters:
        state = "" if letter.replayed_ms is None else f"  replayed {_time(letter.replayed_ms)}"
        typer.echo(
            f"{letter.name}  {_time(letter.dead_ms)}  {letter.source_topic}/{letter.source_partition}"
            f"@{letter.source_offset}  {letter.event or '-'}{state}\n    {letter.error}"
        )
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
    names: Annotated[list[str] | None, typer.Argument(help="Dead letters, PARTITION/OFFSET each.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were never replayed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also those that were replayed before.")] = False,
    as_json: _Json = False,
) -> None:
    """Publish events of dead letters to their topics again; they keep their ids, so no effect happens twice."""
    if bool(names) == every:
        raise typer.BadParameter("name dead letters, or give --all")
    settings = _settings.load()
    catalog = load_catalog(settings)
    letters = _read(settings, catalog)
    if every:
        chosen = [letter for letter in letters if force or letter.replayed_ms is None]
    else:
        chosen = [_find(letters, name) for name in names or ()]
    if chosen:
        asyncio.run(_replay(settings, catalog, chosen, force=force))
    if as_json:
        typer.echo(json.dumps([letter.name for letter in chosen]))
    else:
        typer.echo(f"replayed {len(chosen)} dead letters")


async def _replay(settings: Settings, catalog: Catalog, letters: Sequence[DeadLetter], *, force: bool) -> None:
    catalog = await current_catalog(settings.kafka.bootstrap_servers, catalog, command=True)
    known = {topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)}
    for letter in letters:
        if letter.source_topic not in known:
            raise ConfigurationError(
                f"dead letter {letter.name} is of topic {letter.source_topic!r}, which the catalog does not have as "
                "at-least-once: give its event types back to the catalog, or leave it"
            )
    publisher = DurablePublisher(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        settings=settings.durable,
        topics=sorted({letter.source_topic for letter in letters} | {catalog.dead_letter_topic}),
        client_id="gamebus-dlq",
    )
    await publisher.start()
    try:
        for letter in letters:
            await replay_letter(publisher, catalog.dead_letter_topic, letter, force=force)
    finally:
        await publisher.stop()


def _read(settings: Settings, catalog: Catalog) -> list[DeadLetter]:
    return asyncio.run(read_dead_letters(settings.kafka.bootstrap_servers, catalog.dead_letter_topic))


def _find(letters: Sequence[DeadLetter], name: str) -> DeadLetter:
    for letter in letters:
        if letter.name == name:
            return letter
    raise ConfigurationError(f"there is no dead letter {name!r}; `gamebus dlq list` names them all")


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
    }


def _content(letter: DeadLetter) -> dict[str, Any]:
    try:
        record = decode_durable(letter.value)
    except RecordError:
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
