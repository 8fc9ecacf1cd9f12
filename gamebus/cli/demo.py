"""`gamebus demo`: `gamebus dev` and bots, a live view, and a summary that proves the promises from Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
from rich.console import Console

from gamebus.catalog import DeliveryClass
from gamebus.cli import _demo_summary as proof
from gamebus.cli.dev import development_stack
from gamebus.errors import StackError
from gamebus.localstack.development import Development, development_secret
from gamebus.settings import Settings, load_catalog, load_settings
from gamebus.state.audit import AuditState
from gamebus.state.connection import connect
from gamebus.state.ledger import LedgerState
from gamebus.telemetry.logs import configure_logging
from gamebus_bots import Bots, BotsConfig, BotsReport, Scenario, conclude
from gamebus_bots.bots import interval
from gamebus_bots.live import watch

DEFAULT_FOLDER = Path(".gamebus/demo")

_SETTLE_S: Final = 30.0
_CHECK_S: Final = 0.2

log = structlog.get_logger(__name__)


def main(
    players: Annotated[int, typer.Option(min=1, help="Bots.")] = 20,
    rooms: Annotated[int, typer.Option(min=1, help="Rooms that they share.")] = 2,
    seconds: Annotated[float, typer.Option(min=1, help="How long they play.")] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the summary to this file.")] = None,
    brokers: Annotated[int | None, typer.Option(help="Kafka brokers: 1 or 3.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the gateway; without it 8000, or a free one.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the stack; begun anew by each demo.")] = DEFAULT_FOLDER,
) -> None:
    """Show a living game: bots on websockets through a real Kafka into a real Redis.

    Exit code 0 only when every acknowledged event was applied exactly once and every realtime event is accounted for.
    Ctrl-C ends the game early, with the summary.

    Example: gamebus demo --seconds 20 --json out.json
    """
    settings = load_settings()
    configure_logging(level="warning", format_=settings.log.format, role="demo")
    if players < rooms:
        raise typer.BadParameter(f"{players} players in {rooms} rooms: there is at least one player in each room")
    console = Console()
    stack = development_stack(folder, brokers)
    if any(process.running for process in stack.status()):
        raise StackError(f"a demo runs in {folder} already; wait for its end, or use --folder for another one")
    if stack.addresses() is not None:
        stack.wipe()
    secret = settings.auth.secret.get_secret_value() if settings.auth.secret else development_secret(folder)
    development = Development(stack, secret=secret, port=port)

    def bots_config(url: str) -> BotsConfig:
        # Rooms of this run alone, so that the proof counts nothing of an earlier one on the same servers.
        prefix = f"arena-{uuid.uuid4().hex[:6]}"
        game = Scenario(name="demo", players=players, rooms=rooms, duration_s=seconds, warm_up_s=2.0)
        return BotsConfig(url, secret, game, room_prefix=prefix)

    verdict = asyncio.run(_Demo(settings, development, console).run(bots_config))
    if json_file is not None:
        json_file.write_text(json.dumps(verdict.summary, indent=2) + "\n", encoding="utf-8")
    console.print(proof.table(verdict))
    raise typer.Exit(0 if verdict.summary["ok"] else 1)


class _Demo:
    """One demo, from the first server to the verdict."""

    def __init__(self, settings: Settings, development: Development, console: Console) -> None:
        self._settings = settings
        self._development = development
        self._console = console
        self._bots: Bots | None = None

    async def run(self, bots_config: Callable[[str], BotsConfig]) -> proof.Verdict:
        """Play and prove; every process is stopped when this returns or raises."""
        main_task = asyncio.current_task()
        assert main_task is not None

        def interrupt() -> None:
            # Once: end the game and show the summary. Twice, or before the game: end at once.
            if self._bots is None:
                main_task.cancel()
            else:
                self._bots.request_stop()
                self._bots = None

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        try:
            self._console.print("starting Kafka, Redis, processors and a gateway ...")
            addresses = await self._development.start()
            self._console.print(f"watch it: {addresses.dashboard}")
            config = bots_config(addresses.gateway)
            self._bots = Bots(config)
            report = await self._play(self._bots, config.scenario)
            # The gateway's last report says how many events there were; it is sent when the gateway stops.
            await self._development.stop_gateway()
            return await self._prove(report, config, addresses.redis)
        finally:
            await self._development.stop()

    async def _play(self, bots: Bots, game: Scenario) -> BotsReport:
        async with asyncio.TaskGroup() as tasks:
            background = (
                tasks.create_task(self._development.watch()),
                tasks.create_task(watch(bots, game, self._console)),
            )
            try:
                tally = await bots.run()
                return conclude(game, tally, interval_s=interval(game.duration_s), acked=tuple(bots.acked()))
            finally:
                for task in background:
                    task.cancel()

    async def _prove(self, report: BotsReport, config: BotsConfig, redis_url: str) -> proof.Verdict:
        """Read Redis until the processors have caught up, or a deadline passes; then what is missing is lost."""
        catalog = load_catalog(self._settings)
        rooms = config.rooms
        connection = connect(self._settings.redis.model_copy(update={"url": redis_url}))
        try:
            audit, ledger = AuditState(connection, catalog), LedgerState(connection)
            topics = {topic.name: topic.partitions for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)}
            deadline = time.monotonic() + _SETTLE_S
            while True:
                audits = {room: await audit.read(room) for room in rooms}
                rows = [row for row in await ledger.read(topics) if row.boot in self._development.boots]
                settled = bool(rows) and all(row.ended for row in rows)
                if (settled and not proof.lost_events(report, audits)) or time.monotonic() > deadline:
                    return proof.conclude(report, audits, rows)
                await asyncio.sleep(_CHECK_S)
        finally:
            await connection.close()
