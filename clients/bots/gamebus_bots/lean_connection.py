"""A websocket that costs a load generator little: an `asyncio.Protocol` with one inbox for all of them.

The opening handshake is that of `websockets`' sans-I/O core; frames are read and written here, without a task, a queue or a
future for each. It passes `tests/conformance`, as the client's own connection does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from random import getrandbits
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from gamebus_bots.frame_reader import BINARY, CLOSE, PING, PONG, TEXT, BadFrame, FrameReader, masked
from gamebus_bots.inbox import Inbox
from gamebus_client.codec import Frame
from gamebus_client.dialling import (
    CLOSE_TIMEOUT_S,
    MAX_MESSAGE_BYTES,
    OPEN_TIMEOUT_S,
    Dial,
    Websocket,
    failure,
    no_subprotocol,
)

# A gateway pings every 10 s, so a connection on which nothing came for twice that is dead.
_SILENCE_S: Final[float | None] = 20.0


@dataclass(slots=True)
class Traffic:
    """Counted over all connections of a process: bytes with the frames' headers, without TCP's and TLS's."""

    connections: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0


class LeanConnection(asyncio.Protocol):
    """One websocket, as :class:`gamebus_client.dialling.Websocket`."""

    def __init__(self, handshake: ClientProtocol, traffic: Traffic, inbox: Inbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._handshake: ClientProtocol | None = handshake
        self._head = b""
        # How much of a refusal the handshake has read.
        self._fed = 0
        self._traffic = traffic
        self._inbox = inbox
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._take: Callable[[Frame], None] | None = None
        # Frames that came before somebody read them.
        self._early: list[Frame] = []
        self._open = False
        self._reading: asyncio.Future[None] | None = None
        self._heard_at = self._loop.time()
        self._silence: asyncio.TimerHandle | None = None
        self.ended: tuple[int, str] = (1006, "")
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # As the link sees it

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, frame: Frame) -> bool:
        """Write one frame at once; False when the connection is no longer open."""
        if not self._open:
            return False
        opcode, payload = (BINARY, frame) if isinstance(frame, bytes) else (TEXT, frame.encode())
        self._write(opcode, payload)
        self._traffic.frames_sent += 1
        return True

    async def read(self, take: Callable[[Frame], None]) -> None:
        """Hand over every frame until the connection ends; what `take` raises ends it and is raised."""
        early, self._early = self._early, []
        for frame in early:
            take(frame)
        if self.lost.done():
            return
        self._take, self._reading = take, self._loop.create_future()
        try:
            await self._reading
        finally:
            self._take = None

    async def close(self, code: int, reason: str) -> None:
        """Close with the closing handshake, or cut after its time."""
        if self._open:
            self._say_close(code, reason)
        if self._transport is not None and not self.lost.done():
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await asyncio.shield(self.lost)
            except TimeoutError:
                self.cut()
                await asyncio.shield(self.lost)

    # For the bots

    def cut(self) -> None:
        """Break it, without a close frame."""
        self._open = False
        if self._transport is not None:
            self._transport.abort()

    def read_slowly(self, *, paused: bool) -> None:
        """Stop taking bytes from the kernel, or go on."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.is_reading() is paused:
            (transport.pause_reading if paused else transport.resume_reading)()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the opening handshake."""
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self._handshake is not None
        self._handshake.send_request(self._handshake.connect())
        self._transport.write(b"".join(self._handshake.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._traffic.bytes_received += len(data)
        self._heard_at = self._loop.time()
        self._inbox.put(self._handle, data)

    def eof_received(self) -> None:
        """The server sends no more: the transport closes itself."""
        self._inbox.put(self._handle_eof, b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what came before is handled first."""
        self._inbox.put(lambda _: self._gone(exc), b"")

    # Within

    def _handle(self, data: bytes) -> None:
        if self._handshake is not None:
            data = self._shake_hands(data)
            if not data:
                return
        try:
            for opcode, payload in self._reader.feed(data):
                self._received(opcode, payload)
        except BadFrame as error:
            self._say_close(error.code, str(error))
            self._end()
        except Exception as error:
            if self._reading is None or self._reading.done():
                raise
            self._take = None
            self._reading.set_exception(error)

    def _handle_eof(self, _: bytes) -> None:
        if self._handshake is not None:
            self._handshake.receive_eof()
            self._judge_handshake()

    def _gone(self, exc: Exception | None) -> None:
        self._open = False
        if self._silence is not None:
            self._silence.cancel()
        if not self.opened.done():
            self.opened.set_exception(exc or EOFError("the connection closed before the handshake was over"))
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
        self.lost.set_result(None)

    def _shake_hands(self, data: bytes) -> bytes:
        """Take the answer to the handshake; what is left over is frames."""
        assert self._handshake is not None
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return b""
        if b" 101 " in head.partition(b"\r\n")[0]:
            self._handshake.receive_data(head + end)
        else:
            # A refusal has a body, which ends by its length or with the connection.
            self._handshake.receive_data(self._head[self._fed :])
            self._fed, rest = len(self._head), b""
        self._judge_handshake()
        return rest

    def _judge_handshake(self) -> None:
        handshake = self._handshake
        assert handshake is not None
        error = handshake.handshake_exc
        if self.opened.done() or (error is None and handshake.state is not State.OPEN):
            return
        if error is None and handshake.subprotocol is None:
            error = _NoSubprotocol()
        if error is not None:
            self.opened.set_exception(error)
            return
        self._handshake, self._head, self._open = None, b"", True
        self._traffic.connections += 1
        self._watch_silence()
        self.opened.set_result(None)

    def _received(self, opcode: int, payload: bytes) -> None:
        if opcode in (BINARY, TEXT):
            self._traffic.frames_received += 1
            frame = payload if opcode == BINARY else _text(payload)
            if self._take is not None:
                self._take(frame)
            elif self._open:
                self._early.append(frame)
        elif opcode == PING:
            if self._open:
                self._write(PONG, payload)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.ended = code, payload[2:].decode(errors="replace")
            self._say_close(code if code != 1005 else 1000, "")
            self._end()

    def _end(self) -> None:
        assert self._transport is not None
        # What was written is still sent.
        self._transport.close()

    def _say_close(self, code: int, reason: str) -> None:
        if self._open:
            self._write(CLOSE, code.to_bytes(2, "big") + reason.encode()[:100])
            self._open = False

    def _write(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        # uvloop raises when a transport is written to that a reset has closed already.
        if not self._transport.is_closing():
            data = masked(opcode, payload, getrandbits(32))
            self._traffic.bytes_sent += len(data)
            self._transport.write(data)

    def _watch_silence(self) -> None:
        limit_s = _SILENCE_S
        if limit_s is None:
            return
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= limit_s:
            self.cut()
        else:
            self._silence = self._loop.call_later(limit_s - silent_s, self._watch_silence)


class _NoSubprotocol(Exception):
    pass


def lean_dial(traffic: Traffic, inbox: Inbox, *, opened: Callable[[LeanConnection], None] = lambda _: None) -> Dial:
    """A dial for :class:`~gamebus_client.GameClient`.

    Args:
        traffic: counts what all of them carry.
        inbox: where what comes waits, that of all connections of a process.
        opened: told of each connection that opens.
    """

    async def dial(url: str, subprotocol: str) -> Websocket:
        address = parse_uri(url)
        handshake = ClientProtocol(address, subprotocols=[Subprotocol(subprotocol)], max_size=MAX_MESSAGE_BYTES)
        connection: LeanConnection | None = None
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: LeanConnection(handshake, traffic, inbox),
                    address.host,
                    address.port,
                    ssl=True if address.secure else None,
                )
                await connection.opened
        except _NoSubprotocol:
            raise no_subprotocol(url, subprotocol) from None
        except (OSError, EOFError, InvalidHandshake, InvalidMessage) as error:
            raise failure(url, subprotocol, error) from error
        finally:
            if connection is not None and (not connection.opened.done() or connection.opened.exception() is not None):
                connection.cut()
        opened(connection)
        return connection

    return dial


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise BadFrame(1007, "text that is not UTF-8") from error
