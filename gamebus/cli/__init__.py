"""The command line: one file per sub-command.

Standard output carries the result, standard error the progress and the logs. Exit codes: 0 ok, 1 failure at run time, 2 usage.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from typing import Annotated

import typer

from gamebus.errors import GamebusError

_GROUPS = ("stack", "topics", "dlq")
_COMMANDS = (
    "dev",
    "demo",
    "verify",
    "gateway",
    "processor",
    "dashboard",
    "token",
    "loss",
    "doctor",
    "top",
    "alerts",
    "catalog",
    "migrate",
    "docs",
)

app = typer.Typer(
    name="gamebus",
    help="The event bus behind a real-time multiplayer game.\n\nTry it: [bold]gamebus demo --seconds 20[/bold]",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if show_version:
        typer.echo(f"gamebus {version('gamebus')}")
        raise typer.Exit


def _exists(name: str) -> bool:
    return find_spec(f"gamebus.cli.{name}") is not None


def _mount() -> None:
    for name in filter(_exists, _GROUPS):
        app.add_typer(import_module(f"gamebus.cli.{name}").app, name=name)
    for name in filter(_exists, _COMMANDS):
        app.command(name)(import_module(f"gamebus.cli.{name}").main)
    # Other distributions add commands (the bots do), so that gamebus needs none of them.
    for entry in entry_points(group="gamebus.commands"):
        app.add_typer(entry.load(), name=entry.name)


_mount()


def main() -> None:
    """Entry point of the `gamebus` command."""
    try:
        app()
    except GamebusError as error:
        typer.echo(f"gamebus: {error}", err=True)
        sys.exit(1)
