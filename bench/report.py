"""What every bench prints and writes: ours beside a named rival of the same run, medians of interleaved rounds.

    {"name": ..., "rows": [{"case", "unit", "ours", "rival", "rival_name", "ratio", "target", "ok"}], "environment": {...},
     "figures": {contestant: {figure: median}}}

`ratio` above 1: ours is better. `target` null: for information.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

_LIBRARIES: Final = ("aiokafka", "confluent-kafka", "websockets", "uvloop", "msgpack", "redis")


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; both figures in the same unit."""

    case: str
    unit: str
    ours: float
    rival: float
    rival_name: str
    ratio: float
    target: float | None
    ok: bool


def compare(
    case: str,
    unit: str,
    ours: float,
    rival: float,
    rival_name: str,
    *,
    target: float | None = None,
    lower_is_better: bool = False,
) -> Row:
    """A row; the ratio is above 1 when ours is better."""
    ratio = rival / ours if lower_is_better else ours / rival
    return Row(case, unit, ours, rival, rival_name, ratio, target, target is None or ratio >= target)


def interleaved(
    contestants: Mapping[str, Callable[[], Mapping[str, float]]], *, rounds: int, warm_up_rounds: int = 1
) -> dict[str, dict[str, float]]:
    """Run every contestant `rounds` times in turn; the median of each figure.

    In turn, so that whatever else happens on the machine meets all of them.

    Args:
        warm_up_rounds: rounds before these that are thrown away: they warm caches and Kafka's JIT. 0 where each run has a warm-up
            of its own, or is long beside what that changes; the median leaves out the one cold round.
    """
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    for number in range(warm_up_rounds + rounds):
        for name, run in contestants.items():
            for figure, value in run().items():
                if number >= warm_up_rounds:
                    figures[name].setdefault(figure, []).append(value)
    return {name: {key: statistics.median(values) for key, values in of.items()} for name, of in figures.items()}


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every bench takes."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each contestant")
    return parser


def publish(
    name: str,
    rows: Iterable[Row],
    json_file: Path | None,
    *,
    figures: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Print the tables, write the file.

    Args:
        figures: of all contestants, where the rows do not say it all; each has the same.
    """
    rows = list(rows)
    environment = _environment()
    table = Table(title=f"{name} ({environment['cpu']}, {environment['cpus']} CPUs, Python {environment['python']})")
    for column in ("case", "unit", "ours", "rival", "", "ratio", "target", ""):
        table.add_column(column, justify="right" if column in {"ours", "rival", "ratio", "target"} else "left")
    for row in rows:
        verdict = "" if row.target is None else ("ok" if row.ok else "MISSED")
        target = "" if row.target is None else f"{row.target:g}"
        numbers = (_short(row.ours), _short(row.rival), row.rival_name, f"{row.ratio:.2f}", target)
        table.add_row(row.case, row.unit, *numbers, verdict)
    Console(width=150).print(table)
    if figures:
        Console(width=190).print(_table_of(figures))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = {"name": name, "rows": [asdict(row) for row in rows], "environment": environment}
        result |= {"figures": figures} if figures else {}
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _table_of(figures: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table()
    table.add_column("")
    for figure in next(iter(figures.values())):
        table.add_column(figure, justify="right")
    for name, values in figures.items():
        table.add_row(name, *map(_short, values.values()))
    return table


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _environment() -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
        "versions": {library: version(library) for library in _LIBRARIES},
    }
