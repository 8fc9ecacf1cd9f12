"""How a websocket is opened, and what the link needs of it.

`dial` opens one by the asyncio layer of `websockets`. A program that carries very many clients may give another one to
:class:`~gamebus_client.client.GameClient`; it has to pass `tests/conformance`, as the load-test bots' does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    NegotiationError,
)
from websockets.http11 import Response
from websockets.protocol import State as SocketState
from websockets.typing import Subprotocol

from gamebus_client.codec import Frame
from gamebus_client.exceptions import ConnectError, HandshakeRefused

OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_PING_INTERVAL_S: Final = 10.0

_RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Websocket(Protocol):
    """An open websocket."""

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel has not taken."""

    @property
    def ended(self) -> tuple[int, str]:
        """Close code and reason once it is closed; 1006 when it just broke."""

    def write(self, frame: Frame) -> bool:
        """Write one frame at once; False when it is no longer open."""

    async def read(self, take: Callable[[Frame], None]) -> None:
        """Hand over every frame until the websocket closes. What `take` raises ends the reading and is raised."""

    async def close(self, code: int, reason: str) -> None:
        """Close it, within :data:`CLOSE_TIMEOUT_S`; nothing happens when it is closed already."""


Dial: TypeAlias = Callable[[str, str], Awaitable[Websocket]]
"""Opens a websocket by URL and subprotocol; raises ConnectError, or HandshakeRefused when another attempt cannot help."""


class _Connection:
    """One of the `websockets` library."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def unsent_bytes(self) -> int:
        return self._connection.transport.get_write_buffer_size()

    @property
    def ended(self) -> tuple[int, str]:
        return self._connection.close_code or 1006, self._connection.close_reason or ""

    def write(self, frame: Frame) -> bool:
        if self._connection.state is not SocketState.OPEN:
            return False
        # The one way of websockets to write without waiting; it works for clients by its documentation.
        broadcast((self._connection,), frame)
        return True

    async def read(self, take: Callable[[Frame], None]) -> None:
        recv = self._connection.recv
        while True:
            try:
                frame = await recv()
            except ConnectionClosed:
                return
            take(frame)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)


async def dial(url: str, subprotocol: str) -> Websocket:
    """Open a websocket with the `websockets` library."""
    try:
        connection = await connect(
            url,
            subprotocols=[Subprotocol(subprotocol)],
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_INTERVAL_S,
            max_size=MAX_MESSAGE_BYTES,
            # The reader never waits for the program, so frames do not pile up in front of it.
            max_queue=64,
        )
    except (OSError, EOFError, InvalidHandshake) as error:
        raise failure(url, subprotocol, error) from error
    if connection.subprotocol is None:
        await connection.close()
        raise no_subprotocol(url, subprotocol)
    return _Connection(connection)


def failure(url: str, subprotocol: str, error: Exception) -> ConnectError:
    """What a failed opening handshake of `websockets` means."""
    match error:
        case InvalidStatus():
            return _refused(url, error.response)
        case NegotiationError():
            return HandshakeRefused(f"{url} does not speak {subprotocol}: {error}", status=None)
        case InvalidHandshake() if not isinstance(error, InvalidMessage):
            return HandshakeRefused(f"{url} is not a gamebus gateway: {error}", status=None)
    return ConnectError(f"cannot connect to {url}: {error or type(error).__name__}")


def no_subprotocol(url: str, subprotocol: str) -> HandshakeRefused:
    """The server opened a websocket without the subprotocol that was offered."""
    return HandshakeRefused(f"{url} does not speak {subprotocol}", status=None)


def _refused(url: str, response: Response) -> ConnectError:
    status = response.status_code
    words = bytes(response.body or b"").decode(errors="replace").strip()[:200]
    message = f"{url} answered HTTP {status}{': ' if words else ''}{words}"
    if status not in _RETRIED_STATUSES:
        return HandshakeRefused(f"{message}; {_HINTS.get(status, 'the request must change')}", status=status)
    retry_after = response.headers.get("Retry-After", "")
    return ConnectError(message, retry_after_s=float(retry_after) if retry_after.isdecimal() else None)


_HINTS: Final = {
    400: "it offers none of this client's subprotocols",
    403: "the Origin is not allowed, or the address belongs to something else",
    404: "the path of a gateway is /v1",
    426: "something on the way removed the websocket upgrade",
}
