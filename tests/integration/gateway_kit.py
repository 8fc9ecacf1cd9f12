"""A real gateway process and clients on the real `websockets` library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gamebus.catalog import Role
from gamebus.gateway.auth import mint_token

SECRET = "0123456789abcdef0123456789abcdef"
JSON = Subprotocol("gamebus.v1.json")
MSGPACK = Subprotocol("gamebus.v1.msgpack")
PATIENCE_S = 15.0

Message = list[Any]


def token(sub: str = "alice", role: Role = Role.PLAYER, **options: Any) -> str:
    return mint_token(SECRET, sub=sub, role=role, now_ms=time.time_ns() // 1_000_000, **options)


def environment(*, kafka: str, redis: str, prefix: str, **settings: object) -> dict[str, str]:
    """Environment of a gateway with topics and keys of its own; `settings` are those of the gateway section."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("GAMEBUS_")},
        "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "GAMEBUS_KAFKA__TOPIC_PREFIX": prefix,
        "GAMEBUS_REDIS__URL": redis,
        "GAMEBUS_REDIS__KEY_PREFIX": f"{prefix}:",
        "GAMEBUS_AUTH__SECRET": SECRET,
        "GAMEBUS_LOG__FORMAT": "json",
        **{f"GAMEBUS_GATEWAY__{name.upper()}": str(value) for name, value in settings.items()},
    }


class GatewayProcess:
    """`gamebus gateway` as a child process, or another command that says when it is ready; its logs go to a file."""

    def __init__(
        self,
        environment_: dict[str, str],
        folder: Path,
        *arguments: str,
        command: tuple[str, ...] = ("gateway", "--port", "0"),
    ) -> None:
        self.addresses: dict[str, Any] = {}
        self._log = folder / f"{command[0]}-{secrets.token_hex(4)}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gamebus", *command, *arguments],
                env=environment_,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    @property
    def url(self) -> str:
        return str(self.addresses["gateway"])

    def wait_until_ready(self) -> None:
        """Read the ready line; the process must not be silent for long."""
        assert self.process.stdout is not None
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line, self._log.read_text()
        self.addresses = json.loads(line)

    def place(self, room: str) -> str:
        """URL of the gateway that should take `room`, as this one says."""
        with urlopen(
            f"{self.url.replace('ws', 'http', 1).removesuffix('/v1')}/place?room={room}", timeout=PATIENCE_S
        ) as answer:
            return str(json.load(answer)["gateway"])

    def metric(self, sample: str) -> float:
        """A value of its metrics, by the name and the labels as they are written."""
        with urlopen(f"{self.addresses['ops']}/metrics", timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{sample} "))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(40)

    def close(self) -> None:
        """Leave nothing behind."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def logs(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def logged(self, event: str) -> dict[str, Any]:
        """The first log line of an event."""
        return next(line for line in self.logs() if line["event"] == event)


@contextlib.contextmanager
def running(environment_: dict[str, str], folder: Path, *arguments: str, **options: Any) -> Iterator[GatewayProcess]:
    """A gateway process until the block ends."""
    gateway = GatewayProcess(environment_, folder, *arguments, **options)
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.close()


class Client:
    """A connection that reads in the background, so that a test can look at everything that came."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.received: list[Message] = []
        self._json = websocket.subprotocol != MSGPACK
        self._arrived = asyncio.Condition()
        self._closed = False

    async def send(self, *message: Any) -> None:
        await self.websocket.send(json.dumps(message) if self._json else msgpack.packb(message))

    async def wait_for(
        self, operation: str, matches: Callable[[Message], bool] = lambda _: True, *, patience_s: float = PATIENCE_S
    ) -> Message:
        """Remove and return the first message of `operation` that matches, now or later."""

        def find() -> Message | None:
            return next((m for m in self.received if m[0] == operation and matches(m)), None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._arrived:
                await self._arrived.wait_for(lambda: find() is not None or self._closed)
        found = find()
        state = f"closed with {self.websocket.close_code}" if self._closed else "open"
        assert found is not None, f"{state}, no such {operation} among {self.received}"
        self.received.remove(found)
        return found

    async def wait_for_any(self, operations: Collection[str]) -> Message:
        """Remove and return the first message of one of these operations, now or later."""

        def find() -> Message | None:
            return next((m for m in self.received if m[0] in operations), None)

        async with asyncio.timeout(PATIENCE_S), self._arrived:
            await self._arrived.wait_for(lambda: find() is not None)
        found = find()
        assert found is not None
        self.received.remove(found)
        return found

    async def join(self, room: str) -> Message:
        await self.send("join", room)
        return await self.wait_for("joined", lambda message: message[1] == room)

    async def ping(self) -> None:
        """Return when everything sent before was taken, and the answers to it have come."""
        mark = f"ping-{time.monotonic_ns()}"
        await self.send("ping", mark)
        await self.wait_for("pong", lambda message: message[1] == mark)

    async def closed(self) -> int | None:
        """Wait for the end; the close code."""
        async with asyncio.timeout(PATIENCE_S), self._arrived:
            await self._arrived.wait_for(lambda: self._closed)
        return self.websocket.close_code

    def of(self, operation: str) -> list[Message]:
        """What came and was not taken, of one operation."""
        return [message for message in self.received if message[0] == operation]

    async def read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                payload = await self.websocket.recv()
                assert isinstance(payload, str) is self._json
                message = json.loads(payload) if self._json else msgpack.unpackb(payload)
                async with self._arrived:
                    self.received.append(message)
                    self._arrived.notify_all()
        async with self._arrived:
            self._closed = True
            self._arrived.notify_all()


@contextlib.asynccontextmanager
async def connected(url: str, subprotocol: Subprotocol | None = JSON) -> AsyncIterator[Client]:
    """A websocket connection, without hello."""
    async with connect(
        url, subprotocols=[subprotocol] if subprotocol else None, compression=None, ping_interval=None
    ) as websocket:
        client = Client(websocket)
        reading = asyncio.create_task(client.read())
        try:
            yield client
        finally:
            await websocket.close()
            await reading


@contextlib.asynccontextmanager
async def player(
    url: str,
    sub: str = "alice",
    *,
    role: Role = Role.PLAYER,
    subprotocol: Subprotocol = JSON,
    rooms: list[str] | None = None,
    resume: dict[str, str] | None = None,
    room: str | None = None,
) -> AsyncIterator[Client]:
    """A client that said hello, and has joined `room`."""
    async with connected(url, subprotocol) as client:
        options = {} if resume is None else {"resume": resume}
        await client.send("hello", token(sub, role, rooms=rooms), options)
        await client.wait_for("welcome")
        if room is not None:
            await client.join(room)
        yield client
