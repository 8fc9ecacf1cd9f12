"""The dashboard as a process."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import structlog
import uvicorn

from gamebus.catalog import Catalog
from gamebus.dashboard.application import Dashboard
from gamebus.dashboard.sign_in import Credentials
from gamebus.errors import ConfigurationError
from gamebus.settings import Settings
from gamebus.state.connection import connect

log = structlog.get_logger(__name__)


async def run(settings: Settings, catalog: Catalog, *, ready: Callable[[str], None]) -> None:
    """Serve the dashboard until SIGTERM or SIGINT.

    Args:
        ready: called once with its URL.
    Raises:
        ConfigurationError: it would let strangers in, or its port is taken; the message says what to do.
    """
    dashboard = settings.dashboard
    credentials = _credentials(settings)
    listener = _bind(dashboard.host, dashboard.port)
    connection = connect(settings.redis)
    hosts = ["127.0.0.1", "localhost", "[::1]", dashboard.host, *dashboard.hosts]
    application = Dashboard(connection, catalog, credentials=credentials, hosts=hosts).application
    config = uvicorn.Config(
        application, http="h11", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    url = f"http://{dashboard.host}:{listener.getsockname()[1]}"
    log.info("dashboard.ready", url=url, sign_in=credentials is not None)
    ready(url)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
        await connection.close()


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
