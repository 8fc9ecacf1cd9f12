"""`gamebus verify`: play under faults, and judge what was promised by what was seen."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from gamebus.settings import load_settings
from gamebus.telemetry.logs import configure_logging
from gamebus.verify.checker import count
from gamebus.verify.faults import FAULTS
from gamebus.verify.run import Run, Verdict

ANOMALIES_FOUND: Final = 99
_SHOWN: Final = 5


def main(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long faults are injected.")] = 2.0,
    faults: Annotated[str, typer.Option(help="`all`, `none`, or names with commas between them.")] = "all",
    seed: Annotated[int | None, typer.Option(help="Of the order of faults; without it a new one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the verdict to this file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the history and the logs go.")] = None,
) -> None:
    """Try to break the delivery promises, on a cluster of its own: three real brokers, a real Redis, gateways, processors.

    Exit code 0 when no promise was broken, 99 when one was. The history is kept.

    Example: gamebus verify --minutes 2 --faults broker_kill,gateway_kill --seed 7
    """
    names = _names(faults)
    settings = load_settings()
    # Deaths and restarts are what this is about: only what cannot be helped is said.
    configure_logging(level="error", format_=settings.log.format, role="verify")
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    where = folder or Path(".gamebus") / f"verify-{time.strftime('%Y%m%d-%H%M%S')}"
    if where.exists() and any(where.iterdir()):
        raise typer.BadParameter(f"{where} is not empty: a history is never mixed with another", param_hint="--folder")
    console = Console()
    run = Run(where, minutes, names, chosen, lambda text: console.print(text, highlight=False))
    verdict = asyncio.run(run.run())
    if json_file is not None:
        json_file.write_text(json.dumps(verdict.as_json(), indent=2) + "\n", encoding="utf-8")
    _show(verdict, console)
    console.print(f"history: {where / 'history'}", highlight=False)
    console.print(f"again: gamebus verify --minutes {minutes:g} --faults {faults} --seed {chosen}", highlight=False)
    raise typer.Exit(0 if verdict.ok else ANOMALIES_FOUND)


def _names(faults: str) -> list[str]:
    if faults == "none":
        return []
    names = list(FAULTS) if faults == "all" else [name.strip() for name in faults.split(",")]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise typer.BadParameter(f"no fault is called {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return names


def _show(verdict: Verdict, console: Console) -> None:
    grid = Table("anomaly", "count", title="verdict", title_justify="left")
    for name, number in count(verdict.anomalies).items():
        grid.add_row(name, str(number), style="bold red" if number else None)
    console.print(grid)
    for anomaly in verdict.anomalies[:_SHOWN]:
        console.print(f"{anomaly.name}: {anomaly.evidence}", highlight=False)
    if len(verdict.anomalies) > _SHOWN:
        console.print(f"... and {len(verdict.anomalies) - _SHOWN} more")
    recovered = Table("fault", "times", "recovered after, p50", "max", title="faults", title_justify="left")
    for name, times in verdict.faults.items():
        spread = verdict.recovery_s[name]
        recovered.add_row(name, str(times), *(_seconds(spread[key]) for key in ("p50", "max")))
    console.print(recovered)
    console.print("operations: " + ", ".join(f"{name} {number:,}" for name, number in verdict.operations.items()))
    console.print("loss: " + ", ".join(f"{name} {number:,}" for name, number in verdict.loss.items()))


def _seconds(value: float | None) -> str:
    return "not seen" if value is None else f"{value:.1f} s"
