"""A websocket server over real sockets whose bus is in the test's hands: no Kafka, no Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import msgpack
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gamebus.catalog import Catalog, Role
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.durable_publisher import DurablePublisher, Written
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.errors import PublishFailed, StateError
from gamebus.gateway.auth import TokenVerifier, mint_token
from gamebus.gateway.hub import Hub
from gamebus.gateway.players import PlayerRegistry
from gamebus.gateway.server import Server
from gamebus.gateway.server_frame import server_frame
from gamebus.gateway.session_driver import Bus, SessionDriver
from gamebus.protocol import frames
from gamebus.record import DurableRecord, decode_durable
from gamebus.settings import AuthSettings, GatewaySettings
from gamebus.state.sessions import SessionState

SECRET = "0123456789abcdef0123456789abcdef"
JSON = Subprotocol("gamebus.v1.json")
MSGPACK = Subprotocol("gamebus.v1.msgpack")


def token(sub: str = "alice", role: Role = Role.PLAYER, **options: Any) -> str:
    return mint_token(SECRET, sub=sub, role=role, now_ms=time.time_ns() // 1_000_000, **options)


class HandHub:
    """Answers joins and remembers who was dropped."""

    def __init__(self) -> None:
        self.drivers: list[SessionDriver] = []
        self.dropped: list[tuple[str, bool]] = []

    def join(self, client: SessionDriver, room: str, resume: str | None = None) -> None:
        if client not in self.drivers:
            self.drivers.append(client)
        message = frames.joined(room, cursor="c", players=[], positions=[], tick_hz=20, recovered=None)
        client.outbox.send(server_frame(message, client.outbox.encoding))

    def leave(self, client: SessionDriver, room: str) -> None: ...

    def refresh(self, client: SessionDriver) -> None: ...

    def drop(self, client: SessionDriver, *, replaced: bool = False) -> None:
        self.dropped.append((client.player, replaced))

    def cursor_for(self, client: SessionDriver, room: str, topic: str, offset: int) -> str:
        return f"{topic}@{offset}"


class HandRealtime:
    """Remembers what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, str, Any]] = []
        self.moved: set[str] = set()

    def publish(self, event_type: str, room: str, player: str, server_ms: int, data: Any) -> None:
        if event_type in self.moved:
            raise ValueError(event_type)
        self.published.append((event_type, room, player, data))


class HandDurable:
    """Hands every publish to the test, which settles it; or refuses all."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[asyncio.Future[Written]] = asyncio.Queue()
        self.published: list[tuple[str, DurableRecord]] = []
        self.refuse_with: PublishFailed | None = None
        self._offset = 0

    def publish(self, topic: str, key: bytes, value: bytes) -> asyncio.Future[Written]:
        if self.refuse_with is not None:
            raise self.refuse_with
        self.published.append((topic, decode_durable(value)))
        outcome: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(outcome)
        return outcome

    def written(self, outcome: asyncio.Future[Written]) -> None:
        self._offset += 1
        outcome.set_result(Written("gamebus.chat", 0, self._offset - 1, 0))


class NoSessions:
    """A Redis that is away."""

    async def announce(self, player: str, session: str) -> None:
        raise StateError("away")

    async def holder(self, player: str) -> str | None:
        raise StateError("away")

    async def listen(self) -> AsyncIterator[tuple[str, str]]:
        await asyncio.Event().wait()
        yield "", ""


class Harness:
    """A running server."""

    def __init__(self, sessions: Any = None, *, catalog: Catalog | None = None, **settings: Any) -> None:
        self.hub = HandHub()
        self.realtime = HandRealtime()
        self.durable = HandDurable()
        self.players = PlayerRegistry(cast("SessionState", sessions or NoSessions()))
        auth = AuthSettings(secret=SecretStr(SECRET))
        self.catalog = catalog or parse_catalog()
        self.server = Server(
            settings=GatewaySettings(port=0, **settings),
            auth=auth,
            catalog=self.catalog,
            verify=TokenVerifier(auth),
            bus=Bus(
                hub=cast("Hub", self.hub),
                realtime=cast("RealtimePublisher", self.realtime),
                durable=cast("DurablePublisher", self.durable),
                players=self.players,
                event_type=lambda name: self.catalog.types[name],
            ),
            place=lambda _: None,
        )
        self.url = ""

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    def connect(self, subprotocol: Subprotocol | None = JSON, **options: Any) -> connect:
        return connect(
            self.url,
            subprotocols=[subprotocol] if subprotocol else None,
            compression=None,
            ping_interval=None,
            **options,
        )

    @contextlib.asynccontextmanager
    async def client(
        self, sub: str = "alice", *, subprotocol: Subprotocol = JSON, **options: Any
    ) -> AsyncIterator[Client]:
        """A client that said hello."""
        async with self.connect(subprotocol) as websocket:
            client = Client(websocket)
            await client.send("hello", token(sub, **options))
            assert (await client.receive())[0] == "welcome"
            yield client

    async def raw(self, request: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer


class Client:
    """Messages over a websocket."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self._json = websocket.subprotocol != MSGPACK

    async def send(self, *message: Any) -> None:
        await self.websocket.send(json.dumps(message) if self._json else msgpack.packb(message))

    async def receive(self) -> list[Any]:
        payload = await self.websocket.recv()
        message: list[Any] = json.loads(payload) if self._json else msgpack.unpackb(payload)
        return message

    async def closed(self) -> tuple[int | None, list[list[Any]]]:
        """Read to the end: close code, and what came before."""
        received = [json.loads(payload) async for payload in _until_closed(self.websocket)]
        return self.websocket.close_code, received


async def _until_closed(websocket: ClientConnection) -> AsyncIterator[Any]:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        while True:
            yield await websocket.recv()


@contextlib.asynccontextmanager
async def serving(sessions: Any = None, **settings: Any) -> AsyncIterator[Harness]:
    """A server until the block ends."""
    harness = Harness(sessions, **settings)
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(harness.server.run()), tasks.create_task(harness.players.run())]
        harness.url = await harness.server.listen()
        try:
            yield harness
        finally:
            await harness.server.drain()
            for task in background:
                task.cancel()
