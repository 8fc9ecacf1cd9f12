"""`gamebus bots`: play against a gateway from the command line."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gamebus_bots.bots import Bots
from gamebus_bots.config import BotsConfig
from gamebus_bots.live import summary, watch
from gamebus_bots.report import BotsReport
from gamebus_client import GameClientError

app = typer.Typer(help="Bots that play over real websockets and check what the bus promises.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # Keeps `run` a sub-command: typer would fold a single one into the group.
    pass


@app.command()
def run(
    url: Annotated[str, typer.Option(help="Websocket address of the gateway.")] = "ws://127.0.0.1:8000/v1",
    players: Annotated[int, typer.Option(min=1)] = 20,
    rooms: Annotated[int, typer.Option(min=1)] = 2,
    seconds: Annotated[float, typer.Option(min=0)] = 60.0,
    rate_hz: Annotated[float, typer.Option(help="Positions a second of each player.")] = 20.0,
    seed: Annotated[int, typer.Option(help="The same seed, the same game.")] = 1,
    room_prefix: Annotated[str, typer.Option(help="Rooms are PREFIX-1, PREFIX-2, ...")] = "arena",
    player_prefix: Annotated[
        str, typer.Option(help="Players are PREFIX-1, ...; the game server PREFIX-server.")
    ] = "bot",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
    token_secret: Annotated[
        str,
        typer.Option(envvar="GAMEBUS_AUTH__SECRET", show_envvar=True, help="HMAC secret of the gateway's tokens."),
    ] = "",
    combat: Annotated[bool, typer.Option(help="A game server publishes kills and deaths.")] = True,
) -> None:
    """Play, show it, and say whether everything that is promised was kept.

    Exit code 0: kept; 1: something was lost, doubled, out of order or unknown, or a connection failed; 2: wrong usage.
    """
    try:
        config = BotsConfig(
            url,
            token_secret,
            players=players,
            rooms=rooms,
            seconds=seconds,
            rate_hz=rate_hz,
            seed=seed,
            room_prefix=room_prefix,
            player_prefix=player_prefix,
            combat=combat,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console()
    try:
        report = asyncio.run(_play(config, console))
    except (GameClientError, ValueError) as error:
        typer.echo(f"gamebus bots: {error}{_because(error)}", err=True)
        raise typer.Exit(1) from error
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    console.print(summary(report))
    raise typer.Exit(0 if report.ok else 1)


async def _play(config: BotsConfig, console: Console) -> BotsReport:
    bots = Bots(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, bots.request_stop)
    watching = asyncio.create_task(watch(bots, console))
    try:
        return await bots.run()
    finally:
        watching.cancel()
        await asyncio.wait((watching,))


def _because(error: Exception) -> str:
    return f" ({error.__cause__})" if error.__cause__ is not None else ""
