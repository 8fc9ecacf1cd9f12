"""The system under test: three brokers and a Redis, two gateways, two processors of each class, all of them real processes.

What dies comes back by itself, as an orchestrator would bring it back; servers come back when :meth:`Cluster.mend` is called.
Gateways and processors reach each broker through a proxy (:attr:`Cluster.proxies`), which stands for the network, and so do clients each
gateway (:attr:`Cluster.fronts`); who looks from outside, with :attr:`Cluster.servers`, does not. Brokers reach each other without one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.generation_log import current_catalog
from gamebus.delivery.topics import create_topics
from gamebus.errors import StackError
from gamebus.localstack.ports import free_port
from gamebus.localstack.process import parent_death_wrapper
from gamebus.localstack.roles import Role
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.verify import footsteps
from gamebus.verify.orders import Orders, Step, give
from gamebus.verify.proxy import Proxy

BROKERS: Final = ("kafka-1", "kafka-2", "kafka-3")
GATEWAYS: Final = ("gateway-1", "gateway-2")
REALTIME: Final = ("realtime-1", "realtime-2")
DURABLE: Final = ("durable-1", "durable-2")
FRONTS: Final = ("front-1", "front-2")
"""Where clients connect: one address for each gateway, as a load balancer has it."""

MAX_POLL_INTERVAL_S: Final = 10.0
"""Of our consumers; the default is longer than a fault."""

_ATTEMPTS: Final = 3
_POLL_S: Final = 0.1

_Result = TypeVar("_Result")


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

    def __init__(self, folder: Path, *, extra: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.catalog = parse_catalog(footsteps.CATALOG)
        """Of the file; a migration is laid over it (:meth:`present_catalog`)."""

        self.secret = secrets.token_hex(32)
        self.deaths: list[Death] = []
        self.boots: dict[str, list[str]] = {name: [] for name in GATEWAYS}
        """Boots of each gateway, oldest first."""

        self.proxies = {name: Proxy(port=free_port()) for name in BROKERS}
        """The network between our processes and each broker."""

        self.fronts = {name: Proxy(port=free_port()) for name in FRONTS}
        """The network between clients and each gateway."""

        self._extra = dict(extra or {})
        self._stack = Stack(
            folder / "servers",
            brokers=3,
            kafka_ports=(0, 0, 0),
            redis_port=0,
            proxied_ports=tuple(proxy.port for proxy in self.proxies.values()),
        )
        self._ports = {name: free_port() for name in GATEWAYS}
        self._roles: dict[str, Role] = {}
        self._ready: dict[str, int | None] = {}
        # Servers are started, stopped in order, and given other data by one fault at a time.
        self._servers_lock = asyncio.Lock()
        self._watching: dict[str, asyncio.Task[None]] = {}
        self.servers: StackAddresses | None = None

    @property
    def urls(self) -> list[str]:
        """Of the gateways as clients reach them: through the fronts."""
        return [f"ws://127.0.0.1:{front.port}/v1" for front in self.fronts.values()]

    @property
    def bootstrap_servers(self) -> str:
        """Kafka as our processes reach it: through the proxies."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies.values())

    @property
    def redis_data(self) -> Path:
        """Where Redis keeps its one copy of the data: its append-only files."""
        return self.folder / "servers" / "redis" / "appendonlydir"

    @property
    def topics(self) -> tuple[str, ...]:
        """Of the catalog."""
        return tuple(self.catalog.topics)

    @property
    def event_topics(self) -> tuple[str, ...]:
        """Those that carry events."""
        return tuple(topic.name for delivery in DeliveryClass for topic in self.catalog.event_topics(delivery))

    @property
    def histories(self) -> list[Path]:
        """What the watched processes wrote."""
        return sorted((self.folder / "history").glob("*.jsonl"))

    async def present_catalog(self) -> Catalog:
        """The catalog as the processes have it now."""
        assert self.servers is not None, "the servers run"
        return await current_catalog(self.servers.kafka, self.catalog, command=True)

    async def start(self) -> None:
        """Start everything; processors first, because an at-most-once group begins at the end of its topics.

        Raises:
            StackError, ConfigurationError: something does not start.
        """
        # First: nobody else can take their ports then.
        for proxy in (*self.proxies.values(), *self.fronts.values()):
            proxy.start()
        for index in range(len(FRONTS)):
            self.route(FRONTS[index], GATEWAYS[index])
        self.servers = await self._up()
        for proxy, port in zip(self.proxies.values(), self.servers.proxied, strict=True):
            proxy.target_port = port
        (self.folder / "history").mkdir(exist_ok=True)
        self._catalog_file.write_text(footsteps.CATALOG, encoding="utf-8")
        await create_topics(self.servers.kafka, self.catalog)
        await asyncio.gather(*(self.add(name) for name in (*REALTIME, *DURABLE)))
        await asyncio.gather(*(self.add(name) for name in GATEWAYS))

    async def stop(self) -> None:
        """Stop everything, in the order that loses nothing; the folder keeps histories and logs, the servers' data goes."""
        for name in list(self._roles):
            await self.remove(name)
        await _to_the_end(self._stack.wipe)
        for proxy in (*self.proxies.values(), *self.fronts.values()):
            await proxy.close()

    async def add(self, name: str) -> None:
        """Start a watched process and keep it running. Its kind is in its name: gateway, realtime or durable."""
        kind = name.partition("-")[0]
        arguments = ("gateway", "--port", str(self._ports[name])) if kind == "gateway" else ("processor", kind)
        role = Role(
            name,
            arguments,
            module=(
                "gamebus.verify.recorded",
                name,
                str(self.folder / "history" / f"{name}.jsonl"),
                str(self._orders(name)),
            ),
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
        self._ready.pop(name, None)
        watching = self._watching.pop(name, None)
        if watching is not None:
            await watching

    async def command(self, *arguments: str) -> int:
        """Run a `gamebus` command as an operator would; its exit code. Killed when this is cancelled."""
        with (self.folder / "commands.log").open("ab") as log_file:
            process = await asyncio.create_subprocess_exec(
                *parent_death_wrapper((sys.executable, "-m", "gamebus", *arguments)),
                env={**os.environ, **self._environment()},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise

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
        # It may have died, by another fault, and not be missed yet.
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def route(self, front: str, gateway: str) -> None:
        """Take new connections of a front to a gateway; those that stand stay where they are."""
        self.fronts[front].target_port = self._ports[gateway]

    def order(self, name: str, orders: Orders) -> None:
        """Let a watched process carry out orders instead of those before; nothing happens while it is not ready."""
        role = self._roles.get(name)
        if role is not None and role.pid is not None and role.pid == self._ready.get(name):
            with suppress(ProcessLookupError):
                give(orders, self._orders(name), role.pid)

    async def die(self, name: str, step: Step) -> None:
        """Let a ready process die when it comes to `step` the next time, and wait until it has."""
        pid = self._roles[name].pid
        self.order(name, Orders(die_at=step))
        await self._until(lambda: self._roles[name].pid != pid)
        self.deaths.append(Death(name, None, time.monotonic()))

    async def until_ready(self, name: str) -> None:
        """Wait until a watched process has started."""
        await self._until(lambda: self._roles[name].pid is not None and self._roles[name].pid == self._ready.get(name))

    def pid(self, name: str) -> int | None:
        """Of a server or a watched process, while it runs."""
        role = self._roles.get(name)
        return self._stack.process(name).pid if role is None else role.pid

    async def mend(self) -> None:
        """Bring back the servers that died, with their data, and wait until all of them serve.

        Raises:
            StackError: one does not come back, each time it is tried.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                await self._up()
            except StackError:
                # Another fault met a server that was starting.
                continue
            return
        await self._up()

    async def restart_server(self, name: str) -> None:
        """Stop a server in order and start it again, also when this is cancelled."""
        try:
            async with self._servers_lock:
                await _to_the_end(self._stack.process(name).stop)
        finally:
            await self.mend()

    async def restore_redis(self, copy: Path) -> None:
        """Kill Redis and start it with `copy`, a copy of :attr:`redis_data`, which moves there; whole again also when this is cancelled.

        Raises:
            StackError: Redis does not end, or does not start.
        """

        def restore() -> None:
            redis = self._stack.process("redis")
            redis.kill()
            # While it runs its files are its own.
            if not redis.wait_stopped():
                raise StackError("redis still runs after it was killed")
            shutil.rmtree(self.redis_data)
            copy.rename(self.redis_data)

        try:
            async with self._servers_lock:
                await _to_the_end(restore)
        finally:
            await self.mend()

    def broken(self) -> list[str]:
        """What does not run, stands still or does not pass now: names of servers, watched processes, and links ("link kafka-1")."""
        pids = {status.name: status.pid for status in self._stack.status()}
        pids |= {name: role.pid if role.pid == self._ready.get(name) else None for name, role in self._roles.items()}
        proxies = self.proxies | self.fronts
        links = [f"link {name}" for name, proxy in proxies.items() if not proxy.passing]
        return [*(name for name, pid in pids.items() if pid is None or _stands_still(pid)), *links]

    async def whole(self, *, timeout_s: float = 60.0) -> None:
        """Wait until nothing is broken and every server serves and knows the others. Repairs nothing.

        Raises:
            StackError: something still is; the message names it.
        """
        deadline = time.monotonic() + timeout_s
        while broken := self.broken():
            if time.monotonic() > deadline:
                raise StackError(f"after {timeout_s:.0f} s still broken: {', '.join(broken)}")
            await asyncio.sleep(_POLL_S)
        # Nothing to start any more: this only waits.
        await self._up()

    async def _up(self) -> StackAddresses:
        async with self._servers_lock:
            return await _to_the_end(lambda: self._stack.up(foreground=True))

    def _environment(self) -> dict[str, str]:
        assert self.servers is not None, "the servers run"
        return {
            "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "GAMEBUS_REDIS__URL": self.servers.redis,
            "GAMEBUS_AUTH__SECRET": self.secret,
            "GAMEBUS_CATALOG": str(self._catalog_file),
            "GAMEBUS_LOG__FORMAT": "json",
            "GAMEBUS_CONSUMER__MAX_POLL_INTERVAL_MS": str(int(MAX_POLL_INTERVAL_S * 1000)),
            **self._extra,
        }

    @property
    def _catalog_file(self) -> Path:
        return self.folder / "gamebus.toml"

    def _orders(self, name: str) -> Path:
        return self.folder / f"{name}.orders.json"

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(_POLL_S)

    def _note(self, name: str, ready: dict[str, Any]) -> None:
        if name in self._roles:
            self._ready[name] = self._roles[name].pid
        if name in self.boots:
            self.boots[name].append(ready["boot"])


async def _to_the_end(function: Callable[[], _Result]) -> _Result:
    """Run something that blocks in a thread. When this is cancelled it still ends first: two of them would meet the same processes."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        # Looked at, so that asyncio does not complain; the cancellation is what counts.
        running.exception()
        raise


def _stands_still(pid: int) -> bool:
    """Whether a process is stopped by a signal (Linux; elsewhere unknown)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"
