"""`gamebus arena`, or `python -m gamebus_arena`: the game server, and the server of the page.

Each prints one JSON line when it is ready, and runs until SIGINT or SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Annotated, Any

import typer
import uvicorn

from gamebus_arena.config import DEFAULT_ROOM, GameConfig, WebConfig
from gamebus_arena.server import GameServer
from gamebus_arena.web import make_app
from gamebus_client import GameClientError

app = typer.Typer(help="The arena: a small browser game.", no_args_is_help=True)

Gateway = Annotated[str, typer.Option(help="Websocket address of the gateway.")]
Room = Annotated[str, typer.Option(help="Room that is played in.")]
Secret = Annotated[
    str, typer.Option(envvar="GAMEBUS_AUTH__SECRET", show_envvar=True, help="HMAC secret of the gateway's tokens.")
]
DEFAULT_GATEWAY = "ws://127.0.0.1:8000/v1"


@app.command()
def game(
    gateway: Gateway = DEFAULT_GATEWAY,
    room: Room = DEFAULT_ROOM,
    fighters: Annotated[
        int, typer.Option(envvar="ARENA_FIGHTERS", min=0, max=8, help="Opponents make up the numbers to so many.")
    ] = 5,
    token_secret: Secret = "",
) -> None:
    """Run the game server: hits, health, rounds, and opponents."""
    config = GameConfig(gateway, _checked(token_secret), room=room, fighters=fighters)
    server = GameServer(config, on_ready=lambda: _ready({"role": "arena-game", "room": room}))
    try:
        asyncio.run(_until_signal(server.run()))
    except (GameClientError, ValueError) as error:
        because = f" ({error.__cause__})" if error.__cause__ is not None else ""
        typer.echo(f"gamebus arena: {error}{because}", err=True)
        raise typer.Exit(1) from error


@app.command()
def web(
    gateway: Gateway = DEFAULT_GATEWAY,
    room: Room = DEFAULT_ROOM,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another host name that the page may be opened by; may be repeated.")
    ] = None,
    token_secret: Secret = "",
) -> None:
    """Serve the page and its tokens, on the loopback interface unless told otherwise."""
    config = WebConfig(gateway, _checked(token_secret), room=room, host=host, port=port, hosts=tuple(allow_host or ()))
    asyncio.run(_until_signal(_serve(config)))


async def _serve(config: WebConfig) -> None:
    server = _Web(
        uvicorn.Config(make_app(config), host=config.host, port=config.port, log_config=None, access_log=False)
    )
    await server.serve()


class _Web(uvicorn.Server):
    """uvicorn that says when it listens, and where."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            _ready({"role": "arena-web", "arena": f"http://{host}:{port}/"})


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _checked(secret: str) -> str:
    if not secret:
        raise typer.BadParameter(
            "give --token-secret or GAMEBUS_AUTH__SECRET: the gateway's secret signs the tokens here"
        )
    return secret


def _ready(line: dict[str, Any]) -> None:
    typer.echo(json.dumps(line))
