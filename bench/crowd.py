"""A crowd of players, each with a connection, in one thread: bare sockets and epoll, so that it costs less than what it measures.

What is received is counted; the age of every 16th message's positions is kept.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from bench.codecs import Codec, masked

_OPENING_AT_ONCE: Final = 64
_OPENING_S: Final = 60.0
_RECEIVE_BYTES: Final = 262_144
_AGES_OF_EVERY: Final = 16
# Loopback has many addresses, and each has ports of its own.
_CLIENTS_OF_AN_ADDRESS: Final = 5_000
_PING: Final = 0x89
_PONG: Final = 0x8A
_CLOSE: Final = 0x88


class Player:
    """One connection."""

    __slots__ = ("codec", "joined", "on_message", "partial", "seq", "socket")

    def __init__(self, codec: Codec, sock: socket.socket) -> None:
        self.codec = codec
        self.socket = sock
        self.partial = b""
        self.joined = False
        self.seq = 0
        self.on_message: Callable[[bytes], None] | None = None
        """Told of each message as well."""


class Crowd:
    """Players and what they received.

    Args:
        url: of the server; path and subprotocol are the codec's.
        codecs: one for each player.
    """

    def __init__(self, url: str, codecs: Sequence[Codec]) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._address = (address.hostname, address.port)
        self._epoll = select.epoll()
        self._players: dict[int, Player] = {}
        self._codecs = codecs
        self.players: list[Player] = []
        self.reset()

    def reset(self) -> None:
        """Begin to count."""
        self.updates = self.messages = self.bytes = 0
        self.ages_ms: list[float] = []

    def join(self, count: int | None = None) -> None:
        """Open connections, some at a time, and enter the rooms, until so many have; None: all."""
        count = len(self._codecs) if count is None else count
        while (first := len(self.players)) < count:
            opening = [
                self._open(self._codecs[number], 1 + number // _CLIENTS_OF_AN_ADDRESS)
                for number in range(first, min(first + _OPENING_AT_ONCE, count))
            ]
            self.until(lambda opening=opening: all(player.joined for player in opening))  # type: ignore[misc]
            self.players += opening

    def until(self, done: Callable[[], bool]) -> None:
        """Receive until something is so."""
        deadline = time.monotonic() + _OPENING_S
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer from {self._address[0]}:{self._address[1]}")
            self.poll(0.1)

    def send_position(self, player: Player) -> None:
        """Send a position that says when it was sent."""
        player.seq += 1
        _send(player, player.codec.position(player.seq, time.monotonic() * 1000))

    def poll(self, timeout_s: float) -> None:
        """Receive what has arrived, or wait for it."""
        for descriptor, _ in self._epoll.poll(timeout_s, 256):
            self._receive(self._players[descriptor])

    def close(self) -> None:
        """Cut all connections."""
        for player in self._players.values():
            player.socket.close()
        self._epoll.close()

    def _open(self, codec: Codec, address: int) -> Player:
        sock = socket.create_connection(self._address, source_address=(f"127.0.0.{address}", 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        offer = f"Sec-WebSocket-Protocol: {codec.subprotocol}\r\n" if codec.subprotocol else ""
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET {codec.path} HTTP/1.1\r\nHost: {self._address[0]}:{self._address[1]}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = sock.recv(4096)
            if not received:
                raise RuntimeError(f"the server closed the connection: {answer!r}")
            answer += received
        head, _, rest = answer.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"the server refused the connection: {head!r}")
        player = Player(codec, sock)
        sock.setblocking(False)
        self._players[sock.fileno()] = player
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        _send(player, codec.opening())
        self._take(player, rest)
        return player

    def _receive(self, player: Player) -> None:
        data = player.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise RuntimeError("the server closed a connection")
        self.bytes += len(data)
        self._take(player, player.partial + data if player.partial else data)

    def _take(self, player: Player, data: bytes) -> None:
        """Frames of a server: not masked, and none of these servers fragments."""
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                if start > size:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            if start + length > size:
                break
            self._handle(player, data[at], data[start : start + length])
            at = start + length
        player.partial = data[at:]

    def _handle(self, player: Player, first_byte: int, message: bytes) -> None:
        if first_byte == _PING:
            _send(player, masked(_PONG, message))
            return
        if first_byte == _CLOSE:
            raise RuntimeError(f"the server closes a connection: {message!r}")
        if player.on_message is not None:
            player.on_message(message)
        updates = player.codec.updates(message)
        if updates:
            self.updates += updates
            self.messages += 1
            if self.messages % _AGES_OF_EVERY == 0:
                now_ms = time.monotonic() * 1000
                self.ages_ms.extend(now_ms - sent_ms for sent_ms in player.codec.sent_ms(message))
        elif player.codec.joins(message):
            player.joined = True
        else:
            _send(player, player.codec.answer(message))


def _send(player: Player, frame: bytes | bytearray) -> None:
    if not frame:
        return
    with contextlib.suppress(BlockingIOError):
        if player.socket.send(frame) == len(frame):
            return
    raise RuntimeError("the server does not read: it is saturated")
