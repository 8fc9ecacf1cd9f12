"""The ops endpoint of a process: `/healthz`, `/readyz` and `/metrics` on a port of its own.

`/healthz` answers 200 while the event loop turns. `/readyz` answers 200 when the process can do its work and 503 with the
reasons when it cannot: an orchestrator sends no players then, but does not restart it. `/metrics` is Prometheus text: what the process
counts (:mod:`gamebus.telemetry.metrics`), `gamebus_build_info`, and the `process_*` of every Prometheus client.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gamebus.telemetry.build import add_build_info
from gamebus.telemetry.embedded_server import EmbeddedServer
from gamebus.telemetry.metrics import StatisticsCollector

Readiness = Callable[[], Mapping[str, bool]]
"""Condition -> whether it holds; a process is ready when all do."""


class OpsServer:
    """Serves the ops endpoint on the running event loop.

    The socket is bound in the constructor, so that `url` is known, and a taken port is an error, before anything starts.
    """

    def __init__(self, *, host: str, port: int, collector: StatisticsCollector, readiness: Readiness) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        add_build_info(collector)
        self._readiness = readiness
        self._socket = socket.create_server((host, port))
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        application = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
            ]
        )
        self._server = EmbeddedServer(application)

    async def run(self) -> None:
        """Serve until :meth:`stop`."""
        await self._server.run(self._socket)

    def stop(self) -> None:
        """Make :meth:`run` return; requests in progress have one second."""
        self._server.stop()

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "version": version("gamebus")})

    async def _readyz(self, _: Request) -> Response:
        conditions = dict(self._readiness())
        ready = all(conditions.values())
        body = {"status": "ready" if ready else "not ready", "conditions": conditions}
        return JSONResponse(body, status_code=200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
