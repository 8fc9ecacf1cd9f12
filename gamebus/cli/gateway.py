"""`gamebus gateway`: the websocket gateway."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from gamebus.cli import _loop
from gamebus.gateway import gateway, workers
from gamebus.settings import Settings, load_catalog, load_settings
from gamebus.telemetry.logs import configure_logging


def main(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    ops_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of /healthz and /metrics; 0 takes a free one.")
    ] = None,
    worker_count: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Processes that share the port.")
    ] = None,
    as_worker: Annotated[bool, typer.Option("--as-worker", hidden=True)] = False,
) -> None:
    """Run a gateway until SIGTERM or Ctrl-C; a second signal ends it at once.

    Prints one JSON line when clients can connect. Options go before settings (GAMEBUS_GATEWAY__...).

    Example: gamebus gateway --port 8000
    """
    settings = _with_options(load_settings(), host=host, port=port, ops_port=ops_port, workers=worker_count)
    configure_logging(level=settings.log.level, format_=settings.log.format, role="gateway")
    if settings.gateway.workers > 1:
        _loop.run(workers.run(settings.gateway, ready=_print), loop="asyncio")
        return
    catalog = load_catalog(settings)
    if as_worker:
        workers.stop_with_parent(sys.stdin.fileno())

    def ready(addresses: gateway.Addresses) -> None:
        _print({"gateway": addresses.gateway, "ops": addresses.ops, "boot": addresses.boot})

    _loop.run(gateway.run(settings, catalog, ready=ready, reuse_port=as_worker), loop=settings.loop)


def _with_options(settings: Settings, **options: Any) -> Settings:
    given = {name: value for name, value in options.items() if value is not None}
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update=given)})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
