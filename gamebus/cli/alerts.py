"""`gamebus alerts`: what is an alarm, and what to do then."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gamebus.alerts.prometheus import rules_file
from gamebus.alerts.rules import ALERTS


class Format(StrEnum):
    """How the alerts are written."""

    TEXT = "text"
    PROMETHEUS = "prometheus"


def main(
    format_: Annotated[
        Format, typer.Option("--format", help="text, or a rules file of Prometheus.", case_sensitive=False)
    ] = Format.TEXT,
) -> None:
    """Print all alerts. The dashboard shows which of them fire.

    Example: gamebus alerts --format prometheus > gamebus.rules.yml
    """
    typer.echo(rules_file(ALERTS) if format_ is Format.PROMETHEUS else runbook(), nl=False)


def runbook() -> str:
    """A paragraph for each alert, as docs/operations.md has it."""
    return "\n".join(
        f"### {alert.title}\n\n`{alert.name}`, {alert.severity}. {alert.summary} {alert.cause}\n\n{alert.action}\n"
        for alert in ALERTS
    )
