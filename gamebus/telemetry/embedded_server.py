"""uvicorn inside a process that handles its own signals."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class EmbeddedServer:
    """Serves an application on a socket of the caller's, until it is told to stop.

    Args:
        application: of Starlette.
        lifespan: whether the application has something to start and to stop.
    """

    def __init__(self, application: ASGIApp, *, lifespan: bool = False) -> None:
        config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="on" if lifespan else "off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)

    async def run(self, listener: socket.socket) -> None:
        """Serve until :meth:`stop`."""
        await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """Make :meth:`run` return; requests in progress have one second."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
