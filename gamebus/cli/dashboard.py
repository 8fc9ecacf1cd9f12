"""`gamebus dashboard`: what operators see in a browser."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gamebus.catalog import Catalog
from gamebus.cli import _loop
from gamebus.dashboard.server import DashboardServer
from gamebus.settings import Settings, load_catalog, load_settings
from gamebus.signals import stopping
from gamebus.telemetry.logs import configure_logging


def main(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C. It reads Redis only.

    Prints one JSON line when it is ready. Sign in with GAMEBUS_DASHBOARD__PASSWORD, or with a token of `gamebus token --role operator`.

    Example: gamebus dashboard --port 8080
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format, role="dashboard")
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)})

    _loop.run(_run(settings, load_catalog(settings)), loop=settings.loop)


async def _run(settings: Settings, catalog: Catalog) -> None:
    server = DashboardServer(settings, catalog)
    with stopping(server.stop):
        print(json.dumps({"dashboard": server.url}), flush=True)
        await server.run()
