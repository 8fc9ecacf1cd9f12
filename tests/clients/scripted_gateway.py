"""A real websocket server whose conversation is written by the test.

A script is a coroutine function that plays one connection; scripts are used in order, one per connection. What goes wrong in
a script fails the test when the gateway is left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

PATIENCE_S = 10.0
"""How long a script waits for a message that must come."""

SERVER_MS = 1_700_000_000_000


class Peer:
    """The gateway's end of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self._json = connection.subprotocol == "gamebus.v1.json"

    async def recv(self) -> list[Any]:
        async with asyncio.timeout(PATIENCE_S):
            frame = await self.connection.recv()
        message = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
        assert isinstance(message, list)
        return message

    async def send(self, *message: Any) -> None:
        await self.connection.send(json.dumps(message) if self._json else msgpack.packb(message))

    async def raw(self, frame: bytes | str) -> None:
        await self.connection.send(frame)

    async def welcome(self, *, player: str = "alice", **info: Any) -> list[Any]:
        """Take the hello, answer it, and return it."""
        hello = await self.recv()
        assert hello[0] == "hello"
        defaults = {
            "server_ms": SERVER_MS,
            "expires_ms": SERVER_MS + 3_600_000,
            "ping_interval_ms": 10_000,
            "limits": {"frame_bytes": 65_536, "batch": 256, "rooms": 64, "per_second": {}},
            "types": {
                "position": "at-most-once",
                "heartbeat": "at-most-once",
                "kill": "at-least-once",
                "death": "at-least-once",
                "chat": "at-least-once",
            },
        }
        await self.send("welcome", "session-1", player, defaults | info)
        return hello

    async def joined(self, room: str, *, cursor: str = "c0", recovered: bool | None = None) -> None:
        info = {"cursor": cursor, "players": ["alice"], "positions": [], "tick_hz": 20, "recovered": recovered}
        await self.send("joined", room, info)

    async def admit(self, room: str, *, cursor: str = "c0") -> None:
        """Take a join and answer it."""
        assert await self.recv() == ["join", room]
        await self.joined(room, cursor=cursor)

    async def pong(self) -> None:
        """Take a ping and answer it: the client then knows that everything before it was read."""
        ping = await self.recv()
        assert ping[0] == "ping"
        await self.send("pong", ping[1], SERVER_MS)

    async def event(self, room: str, cursor: str, *, text: str = "hi", player: str = "bob") -> None:
        await self.send("event", "chat", room, player, SERVER_MS, {"text": text}, f"id-{cursor}", cursor)

    async def bye(self, code: int, *, reconnect_ms: int | None) -> None:
        """Close as a gateway does."""
        await self.send("bye", code, "because", reconnect_ms)
        await self.connection.close(code, "because")

    async def closed(self) -> int | None:
        """Wait for the client to close; its close code."""
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        return self.connection.close_code

    def cut(self) -> None:
        """Break the socket without a close frame (seen as 1006)."""
        self.connection.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


async def until_closed(peer: Peer) -> None:
    """End of a script: nothing more happens until the client leaves."""
    await peer.closed()


class ScriptedGateway:
    """Serves one script per connection.

    Args:
        scripts: what happens on the first, the second, ... connection.
        refusals: HTTP answers `(status, headers)` to the first handshakes, in place of a connection.
        places: HTTP answers `(status, body)` to the first requests for a place; 503 to the rest.
    """

    def __init__(
        self,
        *scripts: Script,
        refusals: list[tuple[int, dict[str, str]]] | None = None,
        places: list[tuple[int, str]] | None = None,
    ) -> None:
        self._scripts = list(scripts)
        self._refusals = list(refusals or [])
        self._places = list(places or [])
        self.asked: list[str] = []
        """Paths of the requests for a place."""
        self._failures: list[Exception] = []
        self._server: Server | None = None
        self.handshakes = 0

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._play,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("gamebus.v1.msgpack"), Subprotocol("gamebus.v1.json")],
            compression=None,
            process_request=self._answer,
            close_timeout=1,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self._failures:
            raise ExceptionGroup("the gateway's script failed", self._failures)
        if kind is None:
            assert not self._scripts, f"{len(self._scripts)} scripted connections never came"

    @property
    def url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1"

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        if "/place" in request.path:
            self.asked.append(request.path)
            status, body = self._places.pop(0) if self._places else (503, "unavailable")
            return connection.respond(HTTPStatus(status), body)
        self.handshakes += 1
        if not self._refusals:
            return None
        status, headers = self._refusals.pop(0)
        response = connection.respond(HTTPStatus(status), "refused\n")
        response.headers.update(headers)
        return response

    async def _play(self, connection: ServerConnection) -> None:
        if not self._scripts:
            self._failures.append(AssertionError("an unexpected connection"))
            return
        try:
            await self._scripts.pop(0)(Peer(connection))
        except ConnectionClosed as error:
            self._failures.append(AssertionError(f"the client left in the middle of a script: {error}"))
        except (AssertionError, TimeoutError) as error:
            self._failures.append(error)
