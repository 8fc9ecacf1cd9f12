"""A whole gamebus on one machine, in the foreground: Kafka, Redis, gateway, processors, dashboard, and a game where one is given.

Guarantees: when :meth:`Development.start` returns, a client can connect and its events reach Redis; what dies is started again
(servers too) and logged; :meth:`Development.stop` ends everything in the order that loses nothing (game, gateway, processors, servers).
Not guaranteed: safety. Tokens are signed with a secret kept in the stack's folder, and everything listens on loopback.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from gamebus.delivery.topics import create_topics
from gamebus.errors import StackError
from gamebus.localstack.ports import free_port
from gamebus.localstack.roles import Role
from gamebus.localstack.stack import Stack
from gamebus.settings import load_catalog, load_settings

_USUAL_PORT: Final = 8000
_SERVER_CHECK_S: Final = 1.0
_USUAL_GAME_PORT: Final = 8080
_USUAL_DASHBOARD_PORT: Final = 8090
_PROCESSORS: Final = ("realtime", "durable")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DevelopmentAddresses:
    """Where a development run listens. `ops`: role -> URL of its ops endpoint."""

    gateway: str
    kafka: str
    redis: str
    ops: dict[str, str] = field(default_factory=dict)
    dashboard: str | None = None
    arena: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The ready line of `gamebus dev`; keys are fixed."""
        return {
            "gateway": self.gateway,
            "dashboard": self.dashboard,
            "arena": self.arena,
            "kafka": self.kafka,
            "redis": self.redis,
            "ops": self.ops,
        }


def development_secret(folder: Path) -> str:
    """The secret that signs the tokens of a development run: made once, kept in the stack's folder, readable by its owner."""
    path = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class Game:
    """A game that is played on the bus: programs of another distribution, which know its wire protocol only.

    Attributes:
        module: run with `game` for its game server and with `web` for the server of its page.
        catalog: the catalog with its event types.
    """

    module: str
    catalog: Path


class Development:
    """One development run.

    Args:
        stack: the servers, started in the foreground: they end with this process.
        secret: signs and checks tokens.
        port: of the gateway; None takes the usual one, or a free one when that is taken; 0 a free one.
        game: played on it; its catalog becomes that of every role.
    """

    def __init__(self, stack: Stack, *, secret: str, port: int | None = None, game: Game | None = None) -> None:
        self.boots: list[str] = []
        """Boot ids of every gateway that this run started: they name its streams in the loss ledger."""

        self._stack = stack
        self._secret = secret
        # A gateway that is started again has to come back where clients look for it, so 0 becomes a port here and not there.
        self._port = port or free_port(_USUAL_PORT if port is None else 0)
        self._game = game
        self._roles: list[Role] = []
        self._gateway: Role | None = None

    async def start(self) -> DevelopmentAddresses:
        """Start everything.

        Raises:
            ConfigurationError: a server or a role cannot start; the message says what to do. Call :meth:`stop` all the same.
        """
        servers = await asyncio.to_thread(self._stack.up, foreground=True)
        environment = {
            "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": servers.kafka,
            "GAMEBUS_REDIS__URL": servers.redis,
            "GAMEBUS_AUTH__SECRET": self._secret,
        }
        settings = load_settings()
        if settings.dashboard.password is None:
            # On this machine only, as everything here is.
            environment["GAMEBUS_DASHBOARD__INSECURE"] = "true"
        if self._game is not None:
            environment["GAMEBUS_CATALOG"] = str(self._game.catalog)
            settings = settings.model_copy(update={"catalog": self._game.catalog})
        await create_topics(servers.kafka, load_catalog(settings))

        def role(name: str, *arguments: str, module: str = "gamebus") -> Role:
            made = Role(
                name,
                arguments,
                environment=environment,
                folder=servers.folder,
                module=(module,),
                on_ready=self._note_boot,
            )
            self._roles.append(made)
            return made

        # Processors first: an at-most-once consumer begins at the end of its topics, so it must be there before the first event.
        processors = [role(f"processor-{kind}", "processor", kind) for kind in _PROCESSORS]
        lines = await asyncio.gather(*(processor.start() for processor in processors))
        self._gateway = role("gateway", "gateway", "--port", str(self._port))
        lines.append(await self._gateway.start())
        address = lines[-1]["gateway"]
        lines.append(await role("dashboard", "dashboard", "--port", str(free_port(_USUAL_DASHBOARD_PORT))).start())
        dashboard = lines[-1]["dashboard"]
        page = None if self._game is None else await self._start_game(role, self._game, address)
        return DevelopmentAddresses(
            gateway=address,
            kafka=servers.kafka,
            redis=servers.redis,
            dashboard=dashboard,
            ops={role.name: line["ops"] for role, line in zip(self._roles, lines, strict=False) if line.get("ops")},
            arena=page,
        )

    async def _start_game(self, role: Callable[..., Role], game: Game, gateway: str) -> str:
        """Start the game's two processes; the address of its page."""
        server = role("arena-game", "game", "--gateway", gateway, module=game.module)
        port = str(free_port(_USUAL_GAME_PORT))
        page = role("arena-web", "web", "--gateway", gateway, "--port", port, module=game.module)
        lines = await asyncio.gather(server.start(), page.start())
        return str(lines[1]["arena"])

    async def watch(self) -> None:
        """Keep everything running until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for role in self._roles:
                tasks.create_task(role.watch())
            tasks.create_task(self._watch_servers())

    async def stop_gateway(self) -> None:
        """Stop the gateway alone, gracefully: what it accepted is in Kafka and its last report sent when this returns."""
        if self._gateway is not None:
            await self._gateway.stop()

    async def stop(self) -> None:
        """Stop everything: the game, the gateway, then the processors (they finish what it accepted), then the servers."""
        for role in reversed(self._roles):
            await role.stop()
        await asyncio.to_thread(self._stack.down)

    async def _watch_servers(self) -> None:
        while True:
            await asyncio.sleep(_SERVER_CHECK_S)
            dead = [process.name for process in await asyncio.to_thread(self._stack.status) if not process.running]
            if dead:
                log.warning("server.died", servers=dead)
                try:
                    await asyncio.to_thread(self._stack.up, foreground=True)
                except StackError as error:
                    log.warning("server.failed", servers=dead, error=str(error))
                else:
                    log.info("server.restarted", servers=dead)

    def _note_boot(self, ready: dict[str, Any]) -> None:
        self.boots.extend(ready.get("boots", [ready["boot"]] if "boot" in ready else []))
