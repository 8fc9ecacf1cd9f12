"""`gamebus token`: mint a token for development and tests."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from gamebus.catalog import Role
from gamebus.gateway.auth import mint_token
from gamebus.localstack.development import development_secret
from gamebus.settings import load_settings


class Bearer(StrEnum):
    """Whose token it is: a client's role, or an operator."""

    PLAYER = "player"
    SERVER = "server"
    SPECTATOR = "spectator"
    OPERATOR = "operator"


def main(
    sub: Annotated[str, typer.Option(help="Player id: 1..64 of A-Z a-z 0-9 . _ -")],
    role: Annotated[
        Bearer, typer.Option(help="What the bearer may do; `operator`: see the dashboard.")
    ] = Bearer.PLAYER,
    room: Annotated[
        list[str] | None,
        typer.Option(
            "--room", "--rooms", help="Allowed room, exact or with a trailing *; may be repeated. Without it: all."
        ),
    ] = None,
    ttl: Annotated[float, typer.Option(help="Seconds until it expires.")] = 3600,
    folder: Annotated[Path, typer.Option(help="Folder of the development stack, which keeps the secret.")] = Path(
        ".gamebus/stack"
    ),
) -> None:
    """Mint an HS256 token, signed with GAMEBUS_AUTH__SECRET or else with the secret of `gamebus dev`.

    Example: gamebus token --sub alice --role player
    """
    settings = load_settings().auth
    secret = settings.secret.get_secret_value() if settings.secret is not None else development_secret(folder)
    rooms = [name for names in room for name in names.split(",") if name] if room is not None else None
    of_client: Role | Literal["operator"] = "operator" if role is Bearer.OPERATOR else Role(role)
    now_ms = time.time_ns() // 1_000_000
    typer.echo(
        mint_token(secret, sub=sub, role=of_client, rooms=rooms, ttl_s=ttl, now_ms=now_ms, audience=settings.audience)
    )
