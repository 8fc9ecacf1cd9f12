"""One of several processes that play: `main` is all that it does.

One JSON document a line. It is told its configuration, then when to start (by the machine's monotonic clock, which all processes
share), and perhaps to stop; it tells that it is ready, how it goes, and the outcome.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any, Final

from gamebus_bots import loop
from gamebus_bots.bots import Bots
from gamebus_bots.config import BotsConfig
from gamebus_bots.precedence import precedence
from gamebus_bots.scenario import Scenario
from gamebus_client import GameClientError

LIVE_S: Final = 0.5
LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line: the outcome of a long run."""


def config_document(config: BotsConfig) -> dict[str, Any]:
    """A configuration for JSON."""
    return asdict(config)


async def _work(reader: asyncio.StreamReader) -> None:
    document = json.loads(await reader.readline())
    bots = Bots(BotsConfig(**document | {"scenario": Scenario.of(document["scenario"])}))
    begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def begin() -> float:
        _say({"ready": True})
        return await begun

    async def obey() -> None:
        while line := await reader.readline():
            order = json.loads(line)
            if "start_s" in order:
                begun.set_result(order["start_s"])
            else:
                bots.request_stop()
        # Whoever started this process is gone.
        sys.exit(1)

    async def tell() -> None:
        while True:
            await asyncio.sleep(LIVE_S)
            _say({"live": bots.live().encoded()})

    background = [asyncio.create_task(obey()), asyncio.create_task(tell())]
    try:
        with precedence():
            tally = await bots.run(begin)
        _say({"outcome": tally.encoded()})
    except (GameClientError, OSError) as error:
        _say({"failed": f"{error}"})
    finally:
        for task in background:
            task.cancel()


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await _work(reader)


def main() -> None:
    """Play as told on standard input."""
    loop.run(_main())
