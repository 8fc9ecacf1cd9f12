"""`gamebus processor`: from Kafka to live state in Redis."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from gamebus.catalog import Catalog
from gamebus.cli import _loop
from gamebus.delivery.generation_log import current_catalog
from gamebus.processors.runner import Kind, Runner
from gamebus.settings import Settings, load_catalog, load_settings
from gamebus.signals import stopping
from gamebus.telemetry.logs import configure_logging


def main(
    kind: Annotated[Kind, typer.Argument(help="Which events: at-most-once, at-least-once, or both.")],
    ops_host: Annotated[str, typer.Option(help="Address of /healthz and /metrics.")] = "127.0.0.1",
    ops_port: Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0 takes a free one.")] = 0,
) -> None:
    """Run processors until SIGTERM or Ctrl-C; a second signal ends them at once.

    Prints one JSON line when records are read. Start as many as there is work; they share the partitions.

    Example: gamebus processor all
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format, role=f"processor-{kind}")
    catalog = load_catalog(settings)
    _loop.run(_run(settings, catalog, kind=kind, ops_host=ops_host, ops_port=ops_port), loop=settings.loop)


async def _run(settings: Settings, catalog: Catalog, *, kind: Kind, ops_host: str, ops_port: int) -> None:
    reading = asyncio.ensure_future(current_catalog(settings.kafka.bootstrap_servers, catalog))
    with stopping(reading.cancel):
        await asyncio.wait((reading,))
    if reading.cancelled():
        return
    runner = Runner(settings, catalog, reading.result(), kind=kind, ops_host=ops_host, ops_port=ops_port)

    def ready(ops: str) -> None:
        print(json.dumps({"processor": kind, "ops": ops}), flush=True)

    with stopping(runner.stop):
        await runner.run(ready)
