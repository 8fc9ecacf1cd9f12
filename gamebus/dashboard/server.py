"""The dashboard as a process."""

from __future__ import annotations

import ipaddress
import socket

import structlog

from gamebus.catalog import Catalog
from gamebus.dashboard.application import Dashboard
from gamebus.dashboard.sign_in import Credentials
from gamebus.errors import ConfigurationError
from gamebus.settings import Settings
from gamebus.state.connection import connect
from gamebus.telemetry.embedded_server import EmbeddedServer

log = structlog.get_logger(__name__)


class DashboardServer:
    """Serves the dashboard. Build it within the running loop.

    Raises:
        ConfigurationError: it would let strangers in, or its port is taken; the message says what to do.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        dashboard = settings.dashboard
        credentials = _credentials(settings)
        self._listener = _bind(dashboard.host, dashboard.port)
        self.url = f"http://{dashboard.host}:{self._listener.getsockname()[1]}"
        self._connection = connect(settings.redis)
        hosts = ["127.0.0.1", "localhost", "[::1]", dashboard.host, *dashboard.hosts]
        application = Dashboard(
            self._connection, catalog, credentials=credentials, hosts=hosts, actions=dashboard.actions
        ).application
        self._server = EmbeddedServer(application, lifespan=True)
        log.info("dashboard.ready", url=self.url, sign_in=credentials is not None)

    async def run(self) -> None:
        """Serve until :meth:`stop`."""
        try:
            await self._server.run(self._listener)
        finally:
            self._listener.close()
            await self._connection.close()

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._server.stop()


def _credentials(settings: Settings) -> Credentials | None:
    dashboard = settings.dashboard
    if dashboard.insecure:
        if not _loopback(dashboard.host):
            raise ConfigurationError(
                f"GAMEBUS_DASHBOARD__INSECURE lets everyone in, and {dashboard.host} is no loopback address; set "
                "GAMEBUS_DASHBOARD__PASSWORD instead"
            )
        return None
    credentials = Credentials(dashboard, settings.auth)
    if not credentials.any:
        raise ConfigurationError(
            "nobody could sign in: set GAMEBUS_DASHBOARD__PASSWORD, or GAMEBUS_AUTH__SECRET for tokens with the role operator, or "
            "GAMEBUS_DASHBOARD__INSECURE=true to let everyone in on this machine"
        )
    return credentials


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; set GAMEBUS_DASHBOARD__HOST and "
            "GAMEBUS_DASHBOARD__PORT (0 takes a free port)"
        ) from error
