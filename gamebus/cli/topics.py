"""`gamebus topics`: the Kafka topics of the catalog."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from gamebus.catalog import Catalog
from gamebus.cli import _settings
from gamebus.delivery import topics
from gamebus.delivery.generation_log import current_catalog
from gamebus.settings import Settings, load_catalog

app = typer.Typer(help="Create, list and check the Kafka topics of the catalog.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(as_json: _Json = False) -> None:
    """Create the topics that are missing; topics that exist are never changed."""
    settings = _settings.load()
    catalog = _catalog(settings)
    states = asyncio.run(topics.create_topics(settings.kafka.bootstrap_servers, catalog))
    if as_json:
        typer.echo(json.dumps([asdict(state) for state in states], indent=2))
        return
    for state in states:
        wanted = catalog.topics[state.name].replicas
        clamped = f" (the catalog wants {wanted}: too few brokers)" if state.replicas < wanted else ""
        typer.echo(
            f"{'created' if state.created else 'exists '}  {state.name}  partitions {state.partitions}, "
            f"replicas {state.replicas}{clamped}"
        )


@app.command("list")
def list_(as_json: _Json = False) -> None:
    """List the topics of the catalog with their delivery class and event types."""
    settings = _settings.load()
    catalog = _catalog(settings)
    existing = asyncio.run(topics.list_topics(settings.kafka.bootstrap_servers, catalog))
    rows = [
        {
            "topic": topic.name,
            "delivery": str(topic.delivery),
            "partitions": existing[name].partitions if name in existing else None,
            "replicas": existing[name].replicas if name in existing else None,
            "types": {event_type.name: event_type.rationale for event_type in catalog.types_of(name)},
        }
        for name, topic in sorted(catalog.topics.items())
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        size = "missing" if row["partitions"] is None else f"partitions {row['partitions']}, replicas {row['replicas']}"
        typer.echo(f"{row['topic']}  {row['delivery']}  {size}")
        for event_type in catalog.types_of(str(row["topic"])):
            why = f"  may be lost: {event_type.rationale}" if event_type.rationale else ""
            typer.echo(f"    {event_type.name}{why}")


@app.command()
def check(as_json: _Json = False) -> None:
    """Compare the brokers' topics with the contract of the delivery classes; exit 1 on any difference."""
    settings = _settings.load()
    differences = asyncio.run(topics.check_topics(settings.kafka.bootstrap_servers, _catalog(settings)))
    if as_json:
        typer.echo(json.dumps([asdict(difference) for difference in differences], indent=2))
    elif not differences:
        typer.echo("all topics keep their contract")
    for difference in () if as_json else differences:
        typer.echo(
            f"{difference.topic}: {difference.setting} is {difference.actual}, must be {difference.expected}\n"
            f"    mend: {difference.remedy}"
        )
    if differences:
        raise typer.Exit(1)


def _catalog(settings: Settings) -> Catalog:
    """The catalog of the file at its last generation; the file alone where no log exists yet."""
    return asyncio.run(current_catalog(settings.kafka.bootstrap_servers, load_catalog(settings), command=True))
