"""`gamebus dev` as a new user runs it: one command, any websocket tool, and whatever dies comes back."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.timeout(240)

START_S = 90.0


@dataclass
class Dev:
    process: asyncio.subprocess.Process
    addresses: dict[str, Any]
    folder: Path
    environment: dict[str, str]

    def pid_of(self, role: str) -> int:
        """Pid of a role or a server, found as an operator would: among the children of this run."""
        words = {"redis": ("valkey-server", "redis-server"), "kafka-1": ("kafka.Kafka",)}.get(role, (role,))
        for child in psutil.Process(self.process.pid).children(recursive=True):
            command = " ".join(child.cmdline())
            if any(word in command for word in words):
                return child.pid
        raise AssertionError(f"no process of {role}")

    async def token(self, sub: str, role: str = "player") -> str:
        command = [sys.executable, "-m", "gamebus", "token", "--sub", sub, "--role", role, "--folder", str(self.folder)]
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode().strip()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dev]:
    folder = tmp_path_factory.mktemp("dev") / "stack"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GAMEBUS_")}
    errors = (folder.parent / "dev.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "gamebus", "dev", "--folder", str(folder)],
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        assert line, (folder.parent / "dev.log").read_text()
        children = psutil.Process(process.pid).children(recursive=True)
        yield Dev(process, json.loads(line), folder, environment)
        children += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
    finally:
        errors.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


class Player:
    """A websocket tool in the hands of a person: JSON, no subprotocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._unread: list[list[Any]] = []

    async def send(self, *message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def expect(self, *operations: str, about: str | None = None) -> list[Any]:
        """The next message of these operations; `about` is its second element. Others are kept for later."""
        async with asyncio.timeout(20):
            while True:
                for message in self._unread:
                    if message[0] in operations and about in (None, message[1]):
                        self._unread.remove(message)
                        return message
                self._unread.append(json.loads(await self.socket.recv()))


async def enter(dev: Dev, sub: str, room: str) -> Player:
    """Connect, say hello and join, as often as a restart needs: what every client does by the close code table."""
    token = await dev.token(sub)
    async with asyncio.timeout(60):
        while True:
            try:
                player = Player(await connect(dev.addresses["gateway"], compression=None))
                await player.send("hello", token)
                await player.expect("welcome")
                await player.send("join", room)
                await player.expect("joined")
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.1)  # the back-off of a client
            else:
                return player


async def keep_moving(player: Player, room: str) -> None:
    """Publish a position ten times a second, as a game does: any one of them may be lost."""
    for seq in itertools.count(1):
        await player.send("pub", "position", room, [seq, 1.5, 2.5, 0])
        await asyncio.sleep(0.1)


async def say_until_acked(player: Player, room: str, text: str, id_: str) -> None:
    """Publish under one id until it is acked: what the protocol asks of a publisher."""
    async with asyncio.timeout(60):
        while True:
            await player.send("pub", "chat", room, {"text": text}, id_)
            answer = await player.expect("ack", "nack", about=id_)
            if answer[0] == "ack":
                return
            assert answer[4] is not None, answer
            await asyncio.sleep(answer[4] / 1000)  # the gateway's own hint


@pytest.mark.asyncio(loop_scope="module")
class TestDev:
    async def test_the_ready_line_names_every_address(self, dev: Dev) -> None:
        """`gamebus dev` prints one JSON line with fixed keys when a client can connect."""
        assert set(dev.addresses) == {"gateway", "dashboard", "arena", "kafka", "redis", "ops"}
        assert dev.addresses["gateway"].startswith("ws://")
        assert dev.addresses["dashboard"].startswith("http://127.0.0.1:")
        assert dev.addresses["arena"].startswith("http://127.0.0.1:")
        assert dev.addresses["redis"].startswith("redis://")
        assert {"gateway", "processor-realtime", "processor-durable"} <= set(dev.addresses["ops"])

    async def test_any_websocket_tool_can_hello_join_publish_and_see_events(self, dev: Dev) -> None:
        """A client that offers no subprotocol talks JSON and sees positions in ticks and chat as events."""
        alice, bob = await enter(dev, "alice", "by-hand"), await enter(dev, "bob", "by-hand")

        async with asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(keep_moving(alice, "by-hand"))
            tick = await bob.expect("tick")
            moving.cancel()
        (name, (seq, *place)) = tick[3][0]
        assert (name, place) == ("alice", [1.5, 2.5, 0])
        assert seq >= 1

        await alice.send("pub", "chat", "by-hand", {"text": " hello "}, "id-1")
        assert (await alice.expect("ack"))[1] == "id-1"
        event = await bob.expect("event")
        assert (event[1], event[3], event[5], event[6]) == ("chat", "alice", {"text": "hello"}, "id-1")
        await alice.socket.close()
        await bob.socket.close()

    @pytest.mark.parametrize("victim", ["gateway", "processor durable", "redis", "kafka-1"])
    async def test_a_killed_process_comes_back_and_play_goes_on(self, dev: Dev, victim: str) -> None:
        """SIGKILL of any one process is survived: it is started again, and a chat published afterwards is acked and seen."""
        room = "after-" + victim.replace(" ", "-")
        pid = dev.pid_of(victim)
        os.kill(pid, signal.SIGKILL)

        alice = await enter(dev, "alice", room)
        await say_until_acked(alice, room, "still here", f"id-{room}")
        event = await alice.expect("event")

        assert event[5] == {"text": "still here"}
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        await alice.socket.close()


class TestBots:
    async def test_a_broker_that_is_killed_under_load_breaks_no_promise(self, dev: Dev, tmp_path: Path) -> None:
        """`gamebus bots run broker-restart` finds the stack of `gamebus dev` by its folder; nothing acknowledged is lost or comes twice,
        and the report says when the broker died."""
        report = tmp_path / "report.json"
        command = ["bots", "run", "broker-restart", "--folder", str(dev.folder), "--players", "6", "--rooms", "2"]
        command += ["--processes", "2", "--duration", "10s", "--ramp", "0s", "--warm-up", "1s", "--json", str(report)]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "gamebus", *command],
            env=dev.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        # The run does not wait for the broker, the next test would not either.
        alice = await enter(dev, "alice", "after-bots")
        await say_until_acked(alice, "after-bots", "still here", "id-after-bots")
        await alice.socket.close()

        # 3: a busy machine made the generator late, which breaks no promise.
        assert process.returncode in (0, 3), output.decode()
        told = json.loads(report.read_text())
        assert told["ok"], told
        assert told["figures"]["acked"] > 0
        assert "kafka-1 was killed" in told["notes"][0]
