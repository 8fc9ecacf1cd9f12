"""How a Redis server is set up and how it is."""

from __future__ import annotations

from dataclasses import dataclass

from gamebus.state.connection import Connection


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server at one moment."""

    version: str
    policy: str
    """`maxmemory-policy`."""

    used_bytes: int
    max_bytes: int
    """0: no bound."""

    append_only: bool
    now_ms: float
    """Its clock, Unix milliseconds."""


async def read_server_info(connection: Connection) -> ServerInfo:
    """Ask the server (of a Cluster, any of them).

    Raises:
        StateError: it does not answer.
    """
    info = await connection.execute("INFO")
    values = dict(info) if isinstance(info, dict) else _parsed(info)
    seconds, microseconds = await connection.execute("TIME")
    return ServerInfo(
        version=str(values["redis_version"]),
        policy=str(values.get("maxmemory_policy", "unknown")),
        used_bytes=int(values["used_memory"]),
        max_bytes=int(values.get("maxmemory", 0)),
        append_only=str(values.get("aof_enabled", "0")) == "1",
        now_ms=int(seconds) * 1000 + int(microseconds) / 1000,
    )


def _parsed(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
