"""`gamebus dev`: the whole bus on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from gamebus.catalog import DeliveryClass
from gamebus.localstack.development import Development, Game, development_secret
from gamebus.localstack.stack import Stack
from gamebus.settings import USUAL_CATALOG, Settings, load_catalog, load_settings
from gamebus.telemetry.logs import configure_logging

DEFAULT_FOLDER = Path(".gamebus/stack")

_ARENA = "gamebus_arena"

log = structlog.get_logger(__name__)


def main(
    port: Annotated[int | None, typer.Option(help="Port of the gateway; without it 8000, or a free one.")] = None,
    brokers: Annotated[int | None, typer.Option(help="Kafka brokers: 1 or 3.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the stack: data, logs, secret.")] = DEFAULT_FOLDER,
    arena: Annotated[bool, typer.Option(help="Serve the arena, a small browser game, where it is installed.")] = True,
) -> None:
    """Run Kafka, Redis, a gateway, processors, the dashboard and the arena until Ctrl-C.

    Prints one JSON line with all addresses when a client can connect. What dies is started again. The arena is left out, which a
    warning says, when your own catalog lacks its event types.

    Example: gamebus dev --port 8000
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format, role="dev")
    secret = settings.auth.secret.get_secret_value() if settings.auth.secret else development_secret(folder)
    game = find_arena(settings) if arena else None
    development = Development(development_stack(folder, brokers), secret=secret, port=port, game=game)
    asyncio.run(_run(development, folder / "dev.json"))


def development_stack(folder: Path, brokers: int | None) -> Stack:
    """The servers of a development run: external ones where the environment names them."""
    return Stack(
        folder,
        brokers=brokers,
        external_kafka=os.environ.get("GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"),
        external_redis=os.environ.get("GAMEBUS_REDIS__URL"),
    )


def find_arena(settings: Settings) -> Game | None:
    """The arena, with its own catalog where the user has none, else with the user's; None when it cannot be played.

    Raises:
        CatalogError: the user's catalog is wrong.
    """
    if find_spec(_ARENA) is None:
        log.info("dev.no_arena", reason="not installed: make install, or pip install gamebus-arena")
        return None
    shipped = Path(str(files(_ARENA) / "gamebus.toml"))
    catalog = settings.catalog or (USUAL_CATALOG if USUAL_CATALOG.exists() else shipped)

    def delivery(path: Path) -> dict[str, DeliveryClass]:
        types = load_catalog(settings.model_copy(update={"catalog": path})).types
        return {name: event_type.delivery for name, event_type in types.items()}

    missing = sorted(name for name, _ in delivery(shipped).items() - delivery(catalog).items())
    if missing:
        log.warning(
            "dev.no_arena",
            catalog=str(catalog),
            missing=missing,
            reason="copy these types from gamebus_arena/gamebus.toml into your catalog, or leave the arena out with --no-arena",
        )
        return None
    return Game(_ARENA, catalog.resolve())


async def _run(development: Development, told: Path) -> None:
    main_task = asyncio.current_task()
    assert main_task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # The first signal stops in order; a second one interrupts that, and what still runs dies with this process.
        asyncio.get_running_loop().add_signal_handler(number, main_task.cancel)
    try:
        addresses = (await development.start()).as_json()
        _tell(told, addresses)
        await development.watch()
    except asyncio.CancelledError:
        log.info("dev.stopping")
    finally:
        _tell(told, None)
        await development.stop()
    log.info("dev.stopped")


def _tell(told: Path, addresses: dict[str, Any] | None) -> None:
    """Say where everything listens: to who started this, and to other commands on this machine (`gamebus bots`) by a file."""
    if addresses is None:
        told.unlink(missing_ok=True)
        return
    line = json.dumps(addresses)
    told.write_text(line + "\n", encoding="utf-8")
    typer.echo(line)
