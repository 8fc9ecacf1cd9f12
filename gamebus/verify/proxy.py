"""A TCP proxy in front of one broker, whose link can be changed while connections stand.

Guarantees: while the link passes, bytes go through unchanged, in order, and ends and resets are handed on; a fault meets the connections
that stand and those that come; :meth:`Proxy.restore` leaves a link that passes and no connection that lost bytes; :meth:`Proxy.close`
leaves no socket and no task.
Not guaranteed: that a client of a dead broker is refused (it is accepted, then reset), or the loss of single packets: this is TCP on
loopback, whose kernel acknowledges what the proxy has yet to read (at most 64 KB and a chunk per connection).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gamebus.verify.link import Arrivals, Flow, Link, Way
from gamebus.verify.proxied_connection import ProxiedConnection, abort

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 128
# Kernel buffers hide a stall from the sender: not the autotuned megabytes.
_KERNEL_BUFFER_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class ProxyStatistics:
    """Counts since the start, and what there is now.

    Attributes:
        connections: that stand now, with those that wait for their turn while the link holds arrivals.
        half_open: ends that stand now while their other end is forgotten.
        refused: turned away by the proxy, because the broker took none or there were too many.
        resets: connections that did not end in order.
        buffered_bytes: in the proxy now; bounded per connection.
    """

    connections: int
    half_open: int
    accepted: int
    refused: int
    resets: int
    to_broker_bytes: int
    to_client_bytes: int
    dropped_bytes: int
    buffered_bytes: int


class Proxy:
    """The link to one broker. Belongs to the event loop that starts it.

    Args:
        port: where clients connect; 0 is any.
        target_port: of the broker on this machine; may be set later, before the first client comes.
        max_connections: past it a new connection is reset at once, and counted.
    """

    def __init__(self, *, port: int = 0, target_port: int = 0, max_connections: int = 512) -> None:
        self.port = port
        self.target_port = target_port
        self._max_connections = max_connections
        self._link = Link()
        self._listener: socket.socket | None = None
        self._serving: dict[asyncio.Task[None], ProxiedConnection | None] = {}
        self._survivors: list[socket.socket] = []
        self._accepted = self._refused = self._resets = self._dropped_bytes = 0
        self._forwarded_bytes = dict.fromkeys(Way, 0)

    @property
    def passing(self) -> bool:
        """Whether the proxy is as if it were not there, and no connection hangs in it."""
        broken = any(connection is not None and connection.lost_bytes for connection in self._serving.values())
        return self._link.passing and not broken and not self._survivors

    def start(self) -> None:
        """Listen. From now on :attr:`port` is a real one, and stays this proxy's until it is closed."""
        self._bind()
        self._listen()

    async def close(self) -> None:
        """Reset everything and give the port up."""
        self._unlisten()
        await self.reset()

    async def restore(self) -> None:
        """Let everything pass again. What was held goes on; connections that lost bytes, and half connections, are reset."""
        self._change(Way, Flow.PASS, Arrivals.ACCEPT)
        self._link.slow(0.0, None)
        for connection in self._connections():
            for pipe in connection.pipes.values():
                pipe.cut = False
        self._drop_survivors()
        await self._end([task for task, one in self._serving.items() if one is not None and one.lost_bytes])

    def partition(self, *ways: Way, lose: bool = False, refuse: bool = False) -> None:
        """Let nothing through in these directions; connections stay open.

        Args:
            ways: none means both.
            lose: bytes are taken and lost (:attr:`Flow.DROP`), instead of waiting with the sender (:attr:`Flow.HOLD`).
            refuse: new connections are refused, instead of getting no answer.
        """
        flow, arrivals = Flow.DROP if lose else Flow.HOLD, Arrivals.REFUSE if refuse else Arrivals.HOLD
        self._change(ways or Way, flow, arrivals)

    def slow(self, *, latency_ms: float = 0.0, bandwidth_bytes_per_s: float | None = None) -> None:
        """Delay every byte by `latency_ms` one way, and bound the bytes of all connections together, one way, per second."""
        if bandwidth_bytes_per_s is not None and bandwidth_bytes_per_s <= 0:
            raise ValueError(f"a bandwidth of {bandwidth_bytes_per_s} bytes/s passes nothing: use partition()")
        self._link.slow(latency_ms / 1000, bandwidth_bytes_per_s)

    async def reset(self) -> int:
        """Reset both ends of all connections now; how many there were."""
        self._drop_survivors()
        return await self._end(list(self._serving))

    def reset_mid_chunk(self, way: Way) -> int:
        """Let the next chunk of each connection in this direction through by half, then reset both ends; how many connections wait
        for it. What is longer than a byte (a request, a batch, an answer) arrives in part."""
        for connection in self._connections():
            connection.pipes[way].cut = True
        return len(self._connections())

    async def half_open(self, forget: Way) -> int:
        """Forget one end of every connection: the end in the direction `forget` is reset, the other one is told nothing, is not read, and
        stands until :meth:`restore` or :meth:`reset`; how many there were."""
        tasks = []
        for task, connection in self._serving.items():
            if connection is not None:
                self._survivors.append(connection.forget(forget))
                tasks.append(task)
        return await self._end(tasks)

    def statistics(self) -> ProxyStatistics:
        """A snapshot."""
        pipes = [pipe for connection in self._connections() for pipe in connection.pipes.values()]
        forwarded = self._forwarded_bytes | {
            way: self._forwarded_bytes[way] + sum(pipe.forwarded_bytes for pipe in pipes if pipe.way is way)
            for way in Way
        }
        return ProxyStatistics(
            connections=len(self._serving),
            half_open=len(self._survivors),
            accepted=self._accepted,
            refused=self._refused,
            resets=self._resets,
            to_broker_bytes=forwarded[Way.TO_BROKER],
            to_client_bytes=forwarded[Way.TO_CLIENT],
            dropped_bytes=self._dropped_bytes + sum(pipe.dropped_bytes for pipe in pipes),
            buffered_bytes=sum(pipe.buffered_bytes for pipe in pipes),
        )

    def _connections(self) -> list[ProxiedConnection]:
        return [connection for connection in self._serving.values() if connection is not None]

    def _change(self, ways: Iterable[Way], flow: Flow, arrivals: Arrivals) -> None:
        before = self._link.arrivals
        self._link.restrict(ways, flow, arrivals)
        if (before is Arrivals.REFUSE) == (arrivals is Arrivals.REFUSE):
            return
        if arrivals is Arrivals.REFUSE:
            self._unlisten()
            # Bound and not listening: the kernel refuses connections, and nobody else takes the port.
            self._bind()
        else:
            self._listen()

    def _bind(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it; set later, the window would have been told already.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER_BYTES)
        try:
            listener.bind((_HOST, self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener

    def _listen(self) -> None:
        assert self._listener is not None, "bound before it listens"
        self._listener.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None, "called while it listens"
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again already
            return
        client.settimeout(0)
        if len(self._serving) + len(self._survivors) >= self._max_connections:
            self._refused += 1
            abort(client)
            return
        self._accepted += 1
        task = asyncio.create_task(self._serve(client), name=f"proxy-{self.port}")
        self._serving[task] = None
        # A task that is cancelled before its first step never reaches its own `finally`.
        task.add_done_callback(lambda _: client.close() if client not in self._survivors else None)
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._serving.pop(task, None)

    async def _serve(self, client: socket.socket) -> None:
        try:
            await self._link.until_accepting()
            broker = await self._connect()
        except BaseException as error:
            abort(client)
            if isinstance(error, OSError):
                self._refused += 1
                return
            raise
        for sock in (client, broker):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES)
        connection = ProxiedConnection(self._link, client, broker)
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = connection
        in_order = False
        try:
            in_order = await connection.run()
        finally:
            self._resets += not in_order
            for way, pipe in connection.pipes.items():
                self._forwarded_bytes[way] += pipe.forwarded_bytes
                self._dropped_bytes += pipe.dropped_bytes
            self._serving[task] = None  # counted above, and not again until the task is gone

    async def _connect(self) -> socket.socket:
        broker = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        broker.settimeout(0)
        broker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(broker, (_HOST, self.target_port))
        except BaseException:
            broker.close()
            raise
        return broker

    async def _end(self, tasks: list[asyncio.Task[None]]) -> int:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    def _drop_survivors(self) -> None:
        while self._survivors:
            abort(self._survivors.pop())
