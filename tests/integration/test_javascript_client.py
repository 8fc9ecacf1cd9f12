"""The built JavaScript client in a Node process, on real gateways."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topics
from gamebus.verify.proxy import Proxy
from tests.integration.gateway_kit import environment, player, running, token

pytestmark = pytest.mark.timeout(180)

PACKAGE: Final = Path(__file__).parents[2] / "clients" / "javascript"
PATIENCE_S: Final = 60.0
# On each connection fewer than it may say at once (20): past that the gateway asks to come later, and what comes later is out of order.
CHATS: Final = 25
KILLED_AFTER: Final = 10


@pytest.fixture(scope="module")
def node() -> str:
    """Path of Node, with the client built."""
    path = shutil.which("node")
    assert path is not None, "Node is missing: run deploy/scripts/require-tools.sh"
    assert (PACKAGE / "node_modules").is_dir(), "the client's dependencies are missing: run make javascript"
    return path


class Player:
    """A Node process that says what happens to it, one JSON line each."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Read until so many lines of a kind were said in all; the last of them."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(kind)) < count:
                line = await self._process.stdout.readline()
                assert line, f"the process ended; it said {self.said}"
                self.said.append(json.loads(line))
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["kind"] == kind]

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()


@asynccontextmanager
async def javascript_player(node: str, *arguments: str) -> AsyncIterator[Player]:
    building = await asyncio.create_subprocess_exec(node, "build.mjs", cwd=PACKAGE)
    assert await building.wait() == 0
    process = await asyncio.create_subprocess_exec(
        node, "test/player.mjs", *arguments, cwd=PACKAGE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Player(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def address(gateway: str) -> AsyncIterator[Proxy]:
    """One address for whichever gateway there is, as a load balancer gives it."""
    proxy = Proxy(target_port=_port(gateway))
    proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


class TestGatewayIsKilled:
    async def test_another_takes_over_and_nothing_is_lost(
        self, node: str, bootstrap_servers: str, redis_url: str, tmp_path: Path
    ) -> None:
        """A player whose gateway is killed in the middle of its chat resumes on another: every sentence comes once and in order."""
        prefix, room = f"t{secrets.token_hex(4)}.", f"room-{secrets.token_hex(4)}"
        await create_topics(bootstrap_servers, parse_catalog(topic_prefix=prefix))
        settings = environment(kafka=bootstrap_servers, redis=redis_url, prefix=prefix)
        with running(settings, tmp_path) as first, running(settings, tmp_path) as second:
            async with (
                address(first.url) as balancer,
                player(second.url, "watcher", room=room) as watcher,
                javascript_player(node, f"ws://127.0.0.1:{balancer.port}", token("ann"), room, str(CHATS)) as ann,
            ):
                await ann.until("moved")
                await watcher.wait_for("tick", lambda message: any(name == "ann" for name, _ in message[3]))
                await ann.until("acked", KILLED_AFTER)
                balancer.target_port = _port(second.url)
                await asyncio.to_thread(_kill, first.process)
                done = await ann.until("done")
                assert await ann.ended() == 0
                await watcher.wait_for("event", lambda message: message[5]["text"] == str(CHATS))

        in_order = [str(number) for number in range(1, CHATS + 1)]
        assert [line["text"] for line in ann.of("event")] == in_order
        assert [message[5]["text"] for message in watcher.of("event")] == in_order[:-1]
        assert [joined["recovered"] for joined in ann.of("joined")] == [None, True]
        assert [line["id"] for line in ann.of("acked")] == [f"chat-{text}" for text in in_order]
        assert done["statistics"]["reconnects"] == 1


def _kill(process: Any) -> None:
    process.kill()
    process.wait()
