"""A TCP peer that speaks just enough of Kafka to be dialled, and misbehaves at the very byte where a real broker cannot be made to.

Everything that a real broker can be made to do is tested on a real one (tests/integration).
"""

from __future__ import annotations

import asyncio
import io
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.record.memory_records import MemoryRecords

from gamebus.record import RealtimeRecord, decode_realtime

_PRODUCE, _METADATA, _API_VERSIONS = 0, 3, 18
_RESET = struct.pack("ii", 1, 0)


class ScriptedBroker:
    """Leads all partitions of its topics, unless `leaders` says otherwise.

    Attributes:
        peers: all brokers of its cluster, this one included.
        leaders: node that leads a partition, where that is not this one; None is nobody. As a real broker does at acks=0, it closes
            a connection that brings records for a partition that it does not lead.
        streams: every byte that each connection brought, whether or not it made a whole request.
        records: what whole produce requests brought, in order.
        cut_after_bytes: reset a connection when it has brought so many bytes of produce requests; None never.
        answers: whether questions are answered.
        reads: whether bytes are read at all.
        leads: whether it names itself as leader.
    """

    def __init__(self, topics: dict[str, int], *, node: int = 7, produce_versions: tuple[int, int] = (0, 13)) -> None:
        self._topics = topics
        self.node = node
        self.peers = [self]
        self.leaders: dict[tuple[str, int], int | None] = {}
        self.streams: list[bytearray] = []
        self._produce_versions = produce_versions
        self.records: list[RealtimeRecord] = []
        self.requests = 0
        self.connections = 0
        self.cut_after_bytes: int | None = None
        self.cuts = 0
        self.answers = True
        self.leads = True
        self.reads = asyncio.Event()
        self.reads.set()
        self.changed = asyncio.Condition()
        self.port = 0
        self._serving: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedBroker]:
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        # A small window, inherited by connections, so that a reader who stops is felt soon.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = server.getsockname()[1]
        accepting = asyncio.create_task(self._accept(server))
        try:
            yield self
        finally:
            tasks = (accepting, *self._serving)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            server.close()

    def reset(self) -> None:
        """Cut every connection now, with what is on its way."""
        for task, peer in self._serving.items():
            if not task.done():
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                task.cancel()

    def finish(self) -> None:
        """Say on every connection that nothing more will come, and read on."""
        for task, peer in self._serving.items():
            if not task.done():
                with suppress(OSError):
                    peer.shutdown(socket.SHUT_WR)

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            peer, _ = await loop.sock_accept(server)
            self.connections += 1
            task = asyncio.create_task(self._serve(peer))
            self._serving[task] = peer

    async def _serve(self, peer: socket.socket) -> None:
        produced = 0
        stream = bytearray()
        self.streams.append(stream)
        with peer, suppress(OSError, asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack(">i", await self._read(peer, stream, 4))
                head = await self._read(peer, stream, 8)
                api, version, correlation = struct.unpack(">hhi", head)
                if api == _PRODUCE and self.cut_after_bytes is not None and produced + size > self.cut_after_bytes:
                    await self._read(peer, stream, max(0, self.cut_after_bytes - produced))
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.cuts += 1
                    self.cut_after_bytes = None
                    await self._notify()
                    return
                body = await self._read(peer, stream, size - 8)
                if api == _PRODUCE:
                    produced += size
                    self._take(body)
                elif self.answers:
                    answer = struct.pack(">i", correlation) + self._answer(api, version)
                    await asyncio.get_running_loop().sock_sendall(peer, struct.pack(">i", len(answer)) + answer)
                await self._notify()

    async def _read(self, peer: socket.socket, stream: bytearray, count: int) -> bytes:
        read = b""
        while len(read) < count:
            await self.reads.wait()
            part = await asyncio.get_running_loop().sock_recv(peer, min(4096, count - len(read)))
            if not part:
                raise asyncio.IncompleteReadError(read, count)
            read += part
            stream += part
        return read

    def _answer(self, api: int, version: int) -> bytes:
        if api == _API_VERSIONS:
            versions = [(_PRODUCE, *self._produce_versions), (_METADATA, 0, 5), (_API_VERSIONS, 0, 0)]
            return ApiVersionResponse_v0(0, versions).encode()
        assert (api, version) == (_METADATA, 5)
        nodes = [peer.node for peer in self.peers]
        topics: list[Any] = [
            (0, topic, False, [(0, number, self._leader(topic, number), nodes, nodes, []) for number in range(count)])
            for topic, count in self._topics.items()
        ]
        brokers = [(peer.node, "127.0.0.1", peer.port, None) for peer in self.peers]
        return MetadataResponse_v5(0, brokers, "scripted", self.node, topics).encode()

    def _leader(self, topic: str, partition: int) -> int:
        leader = self.leaders.get((topic, partition), self.node) if self.leads else None
        return -1 if leader is None else leader

    def _take(self, body: bytes) -> None:
        self.requests += 1
        (client_length,) = struct.unpack_from(">h", body)
        request: Any = ProduceRequest_v7.decode(io.BytesIO(body[2 + client_length :]))
        for topic, partitions in request.topics:
            for partition, payload in partitions:
                if self._leader(topic, partition) != self.node:
                    raise ConnectionResetError("not the leader")
                records = MemoryRecords(payload)
                while records.has_next():
                    batch = records.next_batch()
                    assert batch is not None
                    assert batch.validate_crc()
                    self.records += [decode_realtime(record.value) for record in batch]

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of this broker."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(condition)
