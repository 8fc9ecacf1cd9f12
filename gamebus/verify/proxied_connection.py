"""One connection through a proxy: two sockets, and a pipe in each direction."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import deque
from typing import Final

from gamebus.verify.link import Flow, Link, Way

_CHUNK_BYTES: Final = 65_536
# Small, so that a narrow link is a steady trickle and not a lump now and then.
_NARROW_CHUNK_BYTES: Final = 4_096
# What is under way on a link with latency; without latency a proxy holds one chunk, since what it takes hides a stall from the sender.
_UNDER_WAY_BYTES: Final = 1_048_576
_ABORT: Final = struct.pack("ii", 1, 0)  # SO_LINGER 0: closing throws away the kernel's buffer and resets
_TCP_CLOSE: Final = 7  # include/net/tcp_states.h


def abort(sock: socket.socket) -> None:
    """Close with a reset (RST), whatever the kernel still holds."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    finally:
        sock.close()


class Pipe:
    """One direction of a connection.

    Guarantees: bytes come out in order, each once, or not at all; what is buffered is bounded; the end of the stream follows its last byte.
    A reset is told to the other end only when the direction that would carry it passes.
    """

    def __init__(self, way: Way, link: Link, source: socket.socket, sink: socket.socket) -> None:
        self.way = way
        self.hole = False
        """Whether bytes, or the end of the stream, were lost on the way."""

        self.cut = False
        """Whether the next chunk is to be cut in half by a reset."""

        self.forwarded_bytes = 0
        self.dropped_bytes = 0
        self.buffered_bytes = 0
        self._link = link
        self._source = source
        self._sink = sink
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._moved = asyncio.Event()

    async def read(self) -> None:
        """Take bytes until the stream ends; never returns before that.

        Raises:
            OSError: the source was reset, and the sink may know it.
        """
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            await self._until_room()
            await self._until_unheld()
            try:
                data = await loop.sock_recv(self._source, _CHUNK_BYTES)
            except OSError:
                await self._link.until_passing(self.way)
                raise
            self._chunks.append((loop.time(), data))
            self.buffered_bytes += len(data)
            self._moved.set()

    async def write(self) -> None:
        """Hand on what was read, as the link allows, until the end of the stream.

        Raises:
            OSError: the sink was reset and the source may know it, or the connection was cut.
        """
        while True:
            while not self._chunks:
                self._moved.clear()
                await self._moved.wait()
            read_at, data = self._chunks.popleft()
            await self._link.until_arrived(read_at)
            if data:
                await self._hand_on(data)
                self._moved.set()
            elif await self._end():
                return

    async def _hand_on(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            size = len(view) if self._link.bandwidth_bytes_per_s is None else _NARROW_CHUNK_BYTES
            part, view = view[:size], view[size:]
            await self._link.until_through(self.way, len(part))
            await self._until_unheld()
            if self._link.flows[self.way] is Flow.DROP or self.hole:
                self.hole = True
                self.dropped_bytes += len(part)
            else:
                await self._send(part)
            self.buffered_bytes -= len(part)

    async def _send(self, part: memoryview) -> None:
        loop = asyncio.get_running_loop()
        sent = part[: len(part) // 2] if self.cut else part
        try:
            await loop.sock_sendall(self._sink, sent)
        except OSError:
            await self._link.until_passing(self.way.back)
            raise
        self.forwarded_bytes += len(sent)
        if self.cut:
            raise ConnectionResetError("cut")

    async def _end(self) -> bool:
        """Tell the sink that the stream ended; false when the link lost that too."""
        await self._link.until_unheld(self.way)
        if self._link.flows[self.way] is Flow.DROP or self.hole:
            self.hole = True
            return False
        self._sink.shutdown(socket.SHUT_WR)
        return True

    async def _until_unheld(self) -> None:
        if await self._link.until_unheld(self.way) and _is_reset(self._source):
            # The kernel of a sender that gives up throws away what was not acknowledged: it never arrives late.
            raise ConnectionResetError("the sender gave up")

    async def _until_room(self) -> None:
        while self.buffered_bytes >= (_UNDER_WAY_BYTES if self._link.latency_s else 1):
            self._moved.clear()
            await self._moved.wait()


class ProxiedConnection:
    """A client's connection and the one to the broker behind it.

    Guarantees: :meth:`run` closes both, in order when both ends closed in order, else with a reset; one end that is forgotten
    leaves the other one open, for its owner to close.
    """

    def __init__(self, link: Link, client: socket.socket, broker: socket.socket) -> None:
        self._sockets = {Way.TO_CLIENT: client, Way.TO_BROKER: broker}
        self.pipes = {way: Pipe(way, link, self._sockets[way.back], self._sockets[way]) for way in Way}
        self._forgotten: Way | None = None

    @property
    def lost_bytes(self) -> bool:
        """Whether a stream has a hole, so that the connection cannot go on."""
        return any(pipe.hole for pipe in self.pipes.values())

    def forget(self, end: Way) -> socket.socket:
        """Let :meth:`run`, which is to be cancelled now, close only the end in the direction `end`; the socket that stays open."""
        self._forgotten = end
        return self._sockets[end.back]

    async def run(self) -> bool:
        """Carry bytes until both ends have closed; whether they did so in order."""
        in_order = False
        try:
            async with asyncio.TaskGroup() as tasks:
                for pipe in self.pipes.values():
                    tasks.create_task(pipe.read(), name=f"read-{pipe.way}")
                    tasks.create_task(pipe.write(), name=f"write-{pipe.way}")
            in_order = True
        except* OSError:
            pass
        finally:
            for way, sock in self._sockets.items():
                if in_order:
                    sock.close()
                elif self._forgotten in {None, way}:
                    abort(sock)
        return in_order


def _is_reset(sock: socket.socket) -> bool:
    """Whether the peer reset the connection; known on Linux without reading what came before."""
    if sys.platform != "linux":
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
