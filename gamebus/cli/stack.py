"""`gamebus stack`: a real Kafka and a real Redis on this machine, in one folder."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gamebus.localstack.process import ProcessStatus
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.settings import load_settings
from gamebus.telemetry.logs import configure_logging

_CHECK_S = 1.0

app = typer.Typer(help="Run a real Kafka and a real Redis on this machine, for development.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Folder of the stack: data, logs, ports.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_FOLDER = Path(".gamebus/stack")


def configured_stack(folder: Path, *, brokers: int | None = None) -> Stack:
    """The stack of `folder`, without the servers that the settings name: those are used as they are."""
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format)
    kafka, redis = settings.kafka, settings.redis
    return Stack(
        folder,
        brokers=brokers,
        external_kafka=kafka.bootstrap_servers if "bootstrap_servers" in kafka.model_fields_set else None,
        external_redis=redis.url if "url" in redis.model_fields_set else None,
    )


@app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    brokers: Annotated[int | None, typer.Option(help="1 or 3; without it what the folder has, else 1.")] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, start again what dies, and stop everything on Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start what does not run; a second `up` changes nothing.

    A server that GAMEBUS_KAFKA__BOOTSTRAP_SERVERS or GAMEBUS_REDIS__URL names is not started: the given one is used.
    """
    if brokers not in {None, 1, 3}:
        raise typer.BadParameter("1 or 3", param_hint="--brokers")
    stack = configured_stack(folder, brokers=brokers)
    addresses = stack.up(foreground=foreground)
    _print_addresses(addresses, as_json=as_json)
    if foreground:
        _stay(stack)


@app.command()
def status(folder: Folder = DEFAULT_FOLDER, as_json: Json = False) -> None:
    """Show every server. Exit code 1 when one does not run."""
    servers = configured_stack(folder).status()
    if as_json:
        typer.echo(json.dumps([_as_json(server) for server in servers]))
    elif not servers:
        typer.echo(f"no stack in {folder}; start one with `gamebus stack up`", err=True)
    else:
        for server in servers:
            state = f"pid {server.pid}, {(server.rss_bytes or 0) >> 20} MiB" if server.running else "does not run"
            typer.echo(f"{server.name:8} 127.0.0.1:{server.port:<6} {state:22} {server.log_path}")
    if not servers or not all(server.running for server in servers):
        raise typer.Exit(1)


@app.command()
def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop everything; data and ports stay for the next `up`."""
    typer.echo(f"stopped {configured_stack(folder).down()} server(s)")


@app.command()
def wipe(
    folder: Folder = DEFAULT_FOLDER, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Stop everything and remove the folder with all data."""
    if not yes:
        typer.confirm(f"Remove {folder} with all data?", abort=True, err=True)
    configured_stack(folder).wipe()
    typer.echo(f"removed {folder}")


def _stay(stack: Stack) -> None:
    """Start again what dies, until SIGINT or SIGTERM or something cannot be started; then stop everything."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    typer.echo("running until Ctrl-C", err=True)
    try:
        while True:
            time.sleep(_CHECK_S)
            if not all(server.running for server in stack.status()):
                stack.up(foreground=True)
    except KeyboardInterrupt:
        pass
    finally:
        typer.echo(f"stopped {stack.down()} server(s)", err=True)


def _print_addresses(addresses: StackAddresses, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(addresses), "folder": str(addresses.folder)}))
    else:
        typer.echo(f"kafka  {addresses.kafka}\nredis  {addresses.redis}")


def _as_json(server: ProcessStatus) -> dict[str, Any]:
    return {**asdict(server), "log_path": str(server.log_path)}
