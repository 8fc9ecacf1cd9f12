"""`gamebus loss` as an operator runs it, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import replace

from gamebus.state.ledger import LedgerState
from tests.integration.command_kit import environment, gamebus
from tests.integration.durable_kit import WAIT_S, redis
from tests.ledger_kit import EMPTY

ROW = replace(
    EMPTY,
    written_ms=1_000,
    boot="boot-1",
    partition=3,
    attempted=20,
    processed=10,
    dropped={"backpressure": 4, "expired": 1},
    lost_on_wire=2,
    dropped_on_failed_commit=1,
    lost_in_crash=1,
    skipped=1,
)


class TestLoss:
    async def test_shows_the_ledger_once(self, redis_url: str, topic_prefix: str) -> None:
        """Both rates and every term, for scripts as JSON and for people as a table."""
        settings = environment(redis__url=redis_url, redis__key_prefix=topic_prefix)
        async with redis(redis_url, topic_prefix) as connection:
            await LedgerState(connection).write([ROW])

        (stream,) = (await gamebus(settings, "loss", "--json")).json["streams"]

        assert (stream["boot"], stream["topic"], stream["ended"]) == ("boot-1", "gamebus.position", False)
        assert (stream["attempted"], stream["processed"], stream["lost_in_crash"]) == (20, 10, 1)
        assert (stream["estimated_loss_rate"], stream["loss_rate"]) == (0.25, 0.5)
        table = await gamebus(settings | {"COLUMNS": "240"}, "loss")
        assert (table.code, table.errors) == (0, "")
        assert "lost after commit" in table.output
        assert "backpressure 4, expired 1" in table.output

    async def test_watches_until_it_is_told_to_end(self, redis_url: str, topic_prefix: str) -> None:
        """With --watch --json a line is a whole document, later ones see what was written meanwhile, and Ctrl-C is no failure."""
        settings = environment(redis__url=redis_url, redis__key_prefix=topic_prefix)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gamebus", "loss", "--watch", "--json"),
            env=settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1_000_000,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(WAIT_S), redis(redis_url, topic_prefix) as connection:
                assert json.loads(await process.stdout.readline())["streams"] == []
                await LedgerState(connection).write([ROW])
                while not (page := json.loads(await process.stdout.readline()))["streams"]:
                    pass
                assert page["streams"][0]["attempted"] == 20
                process.send_signal(signal.SIGINT)
                _, errors = await process.communicate()
            assert (process.returncode, errors) == (0, b"")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
