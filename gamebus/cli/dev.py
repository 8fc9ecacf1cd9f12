"""`gamebus dev`: the whole bus on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from gamebus.localstack.development import Development, development_secret
from gamebus.localstack.stack import Stack
from gamebus.settings import load_settings
from gamebus.telemetry.logs import configure_logging

DEFAULT_FOLDER = Path(".gamebus/stack")

log = structlog.get_logger(__name__)


def main(
    port: Annotated[int | None, typer.Option(help="Port of the gateway; without it 8000, or a free one.")] = None,
    brokers: Annotated[int | None, typer.Option(help="Kafka brokers: 1 or 3.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the stack: data, logs, secret.")] = DEFAULT_FOLDER,
) -> None:
    """Run Kafka, Redis, a gateway and processors until Ctrl-C.

    Prints one JSON line with all addresses when a client can connect. What dies is started again.

    Example: gamebus dev --port 8000
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format, role="dev")
    secret = settings.auth.secret.get_secret_value() if settings.auth.secret else development_secret(folder)
    asyncio.run(_run(Development(development_stack(folder, brokers), secret=secret, port=port)))


def development_stack(folder: Path, brokers: int | None) -> Stack:
    """The servers of a development run: external ones where the environment names them."""
    return Stack(
        folder,
        brokers=brokers,
        external_kafka=os.environ.get("GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"),
        external_redis=os.environ.get("GAMEBUS_REDIS__URL"),
    )


async def _run(development: Development) -> None:
    main_task = asyncio.current_task()
    assert main_task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # The first signal stops in order; a second one interrupts that, and what still runs dies with this process.
        asyncio.get_running_loop().add_signal_handler(number, main_task.cancel)
    try:
        addresses = await development.start()
        typer.echo(json.dumps(addresses.as_json()))
        await development.watch()
    except asyncio.CancelledError:
        log.info("dev.stopping")
    finally:
        await development.stop()
    log.info("dev.stopped")
