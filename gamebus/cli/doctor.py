"""`gamebus doctor`: what is wrong here, and what mends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from gamebus.catalog import Catalog
from gamebus.cli import _settings
from gamebus.doctor.finding import Finding, Grade
from gamebus.doctor.kafka import examine_kafka
from gamebus.doctor.machine import examine_machine
from gamebus.doctor.redis import examine_redis
from gamebus.settings import Settings, load_catalog

_SIGNS: Final = {Grade.OK: "[green]ok  [/green]", Grade.WARN: "[yellow]warn[/yellow]", Grade.FAIL: "[red]FAIL[/red]"}


def main(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at Kafka, Redis, this machine and the settings; each line says ok, warn or fail, and what mends it.

    Exit code 0: nothing failed (warnings included), 1: something did.

    Example: gamebus doctor --json
    """
    settings = _settings.load()
    findings = asyncio.run(_examine(settings, load_catalog(settings)))
    failed = any(finding.grade is Grade.FAIL for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print(findings)
    raise typer.Exit(1 if failed else 0)


async def _examine(settings: Settings, catalog: Catalog) -> list[Finding]:
    kafka, redis = await asyncio.gather(examine_kafka(settings.kafka, catalog), examine_redis(settings.redis))
    return [*examine_machine(settings, catalog), *kafka, *redis]


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{_SIGNS[finding.grade]}  [bold]{escape(finding.name)}[/bold]: {escape(finding.detail)}")
        if finding.fix:
            console.print(f"      mend: {escape(finding.fix)}")
    counts = {grade: sum(finding.grade is grade for finding in findings) for grade in Grade}
    console.print(f"{counts[Grade.OK]} ok, {counts[Grade.WARN]} warnings, {counts[Grade.FAIL]} failures")
