"""The system under test: three brokers and a Redis, two gateways, two processors of each class, all of them real processes.

What dies comes back by itself, as an orchestrator would bring it back; servers come back when :meth:`Cluster.mend` is called.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gamebus.catalog import Catalog
from gamebus.delivery.topics import create_topics
from gamebus.localstack.ports import free_port
from gamebus.localstack.roles import Role
from gamebus.localstack.stack import Stack, StackAddresses

BROKERS: Final = ("kafka-1", "kafka-2", "kafka-3")
GATEWAYS: Final = ("gateway-1", "gateway-2")
REALTIME: Final = ("realtime-1", "realtime-2")
DURABLE: Final = ("durable-1", "durable-2")


@dataclass(frozen=True, slots=True)
class Death:
    """A process of ours was killed: `boot` names a gateway's streams, None for a processor."""

    name: str
    boot: str | None
    at: float


class Cluster:
    """One cluster, in one folder.

    Args:
        folder: data, logs, and the histories of the watched processes.
        extra: environment of the watched processes, beside their settings.
    """

    def __init__(self, folder: Path, catalog: Catalog, *, extra: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(32)
        self.deaths: list[Death] = []
        self.boots: dict[str, list[str]] = {name: [] for name in GATEWAYS}
        """Boots of each gateway, oldest first."""

        self._catalog = catalog
        self._extra = dict(extra or {})
        self._stack = Stack(folder / "servers", brokers=3, kafka_ports=(0, 0, 0), redis_port=0)
        self._ports = {name: free_port() for name in GATEWAYS}
        self._roles: dict[str, Role] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self.servers: StackAddresses | None = None

    @property
    def urls(self) -> list[str]:
        """Of the gateways; a gateway that comes back has its old one."""
        return [f"ws://127.0.0.1:{port}/v1" for port in self._ports.values()]

    @property
    def histories(self) -> list[Path]:
        """What the watched processes wrote."""
        return sorted((self.folder / "history").glob("*.jsonl"))

    async def start(self) -> None:
        """Start everything; processors first, because an at-most-once group begins at the end of its topics.

        Raises:
            StackError, ConfigurationError: something does not start.
        """
        self.servers = await asyncio.to_thread(self._stack.up, foreground=True)
        (self.folder / "history").mkdir(exist_ok=True)
        await create_topics(self.servers.kafka, self._catalog)
        await asyncio.gather(*(self.add(name) for name in (*REALTIME, *DURABLE)))
        await asyncio.gather(*(self.add(name) for name in GATEWAYS))

    async def stop(self) -> None:
        """Stop everything, in the order that loses nothing; the folder keeps histories and logs, the servers' data goes."""
        for name in list(self._roles):
            await self.remove(name)
        await asyncio.to_thread(self._stack.wipe)

    async def add(self, name: str) -> None:
        """Start a watched process and keep it running. Its kind is in its name: gateway, realtime or durable."""
        kind = name.partition("-")[0]
        arguments = ("gateway", "--port", str(self._ports[name])) if kind == "gateway" else ("processor", kind)
        role = Role(
            name,
            arguments,
            module=("gamebus.verify.recorded", name, str(self.folder / "history" / f"{name}.jsonl")),
            environment=self._environment(),
            folder=self.folder,
            on_ready=lambda ready: self._note(name, ready),
        )
        self._roles[name] = role
        await role.start()
        self._watching[name] = asyncio.create_task(role.watch(), name=f"watch-{name}")

    async def remove(self, name: str) -> None:
        """Stop a watched process in order, for good."""
        await self._roles.pop(name).stop()
        watching = self._watching.pop(name, None)
        if watching is not None:
            await watching

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server or a watched process; nothing happens while it does not run. A kill is written down."""
        if name not in self._roles:
            self._stack.process(name).kill(number)
            return
        pid = self._roles[name].pid
        if pid is None:
            return
        if number is signal.SIGKILL:
            boots = self.boots.get(name)
            self.deaths.append(Death(name, boots[-1] if boots else None, time.monotonic()))
        os.kill(pid, number)

    async def mend(self) -> None:
        """Bring back the servers that died, with their data, and wait until all of them serve."""
        await asyncio.to_thread(self._stack.up, foreground=True)

    async def restart_server(self, name: str) -> None:
        """Stop a server in order and start it again."""
        await asyncio.to_thread(self._stack.process(name).stop)
        await self.mend()

    def _environment(self) -> dict[str, str]:
        assert self.servers is not None, "the servers run"
        return {
            "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": self.servers.kafka,
            "GAMEBUS_REDIS__URL": self.servers.redis,
            "GAMEBUS_AUTH__SECRET": self.secret,
            "GAMEBUS_LOG__FORMAT": "json",
            **self._extra,
        }

    def _note(self, name: str, ready: dict[str, Any]) -> None:
        if name in self.boots:
            self.boots[name].append(ready["boot"])
