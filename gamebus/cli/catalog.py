"""`gamebus catalog`: the event types that this installation knows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gamebus.catalog import Role
from gamebus.settings import load_catalog, load_settings


def main(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the event types: delivery class, topic, who may publish, limits, and why a loss is acceptable."""
    types = load_catalog(load_settings()).types.values()
    rows = [
        {
            "type": event_type.name,
            "delivery": str(event_type.delivery),
            "topic": event_type.topic,
            "key": event_type.key,
            "roles": [str(role) for role in Role if role in event_type.roles],
            "per_second": event_type.per_second,
            "max_bytes": event_type.max_bytes,
            "rationale": event_type.rationale,
        }
        for event_type in types
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for event_type in types:
        roles = ", ".join(role for role in Role if role in event_type.roles)
        typer.echo(
            f"{event_type.name}  {event_type.delivery}  {event_type.topic}\n"
            f"    published by {roles}; up to {event_type.per_second:g} a second, {event_type.max_bytes} bytes; "
            f"keyed by {event_type.key}"
        )
        if event_type.rationale is not None:
            typer.echo(f"    may be lost: {event_type.rationale}")
