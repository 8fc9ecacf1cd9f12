"""CPU and memory of local servers."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from gamebus_bots.servers import BOTS, GATEWAY, OTHERS, ServerMonitor, is_local

SERVER = """
import asyncio
async def main():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while True:
        sum(range(10_000))
        await asyncio.sleep(0)
asyncio.run(main())
"""


class TestServerMonitor:
    async def test_finds_who_listens(self) -> None:
        """A busy server's share of the CPU is its own; players per core are told by it."""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            port = int(await process.stdout.readline())
            monitor = ServerMonitor(f"ws://127.0.0.1:{port}/v1", ())
            started_s = time.perf_counter()
            watching = asyncio.create_task(monitor.watch())
            await asyncio.sleep(2.5)
            watching.cancel()
            found = monitor.between(started_s, time.perf_counter(), players=100)
        finally:
            process.kill()
            await process.wait()
        assert set(found["mean_cores"]) == {BOTS, GATEWAY, OTHERS}
        assert found["mean_cores"][GATEWAY] > 0
        assert found["max_rss_mib"][GATEWAY] > 1
        assert (
            found["players_per_gateway_core"] == found["players_per_core"] == round(100 / found["mean_cores"][GATEWAY])
        )
        assert len(found["t"]) == len(found["cores"][GATEWAY])

    def test_says_nothing_of_what_it_does_not_find(self) -> None:
        """No figures rather than those of something else."""
        monitor = ServerMonitor("ws://127.0.0.1:9/v1", (os.getpid(),))
        assert monitor.between(0.0, 1.0, players=1) == {}


@pytest.mark.parametrize(
    ("url", "local"), [("ws://127.0.0.1:1/v1", True), ("ws://localhost/v1", True), ("ws://192.0.2.1/v1", False)]
)
def test_is_local(url: str, local: bool) -> None:
    """Loopback only."""
    assert is_local(url) is local
