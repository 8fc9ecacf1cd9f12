"""`gamebus processor`: from Kafka to the live state in Redis."""

from __future__ import annotations

import asyncio
import json
import signal
from enum import StrEnum
from typing import Annotated

import typer

from gamebus.cli import _loop
from gamebus.processors.runner import Processor
from gamebus.settings import Settings, load_catalog, load_settings
from gamebus.telemetry.logs import configure_logging


class Kind(StrEnum):
    """Which delivery classes a processor takes."""

    REALTIME = "realtime"
    DURABLE = "durable"
    ALL = "all"


def main(kind: Annotated[Kind, typer.Argument(help="Delivery class to process.")] = Kind.ALL) -> None:
    """Process events until SIGTERM or Ctrl-C.

    Prints one JSON line when partitions are assigned.

    Example: gamebus processor durable
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format, role=f"processor-{kind}")
    _loop.run(_run(settings, kind), loop=settings.loop)


async def _run(settings: Settings, kind: Kind) -> None:
    processor = Processor(settings, load_catalog(settings), kind.value)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, processor.stop)
    await processor.run(lambda ops: print(json.dumps({"processor": kind, "ops": ops}), flush=True))
