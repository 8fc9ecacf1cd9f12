"""The line to one broker that carries at-most-once records: dialled, written to, given up, dialled again.

A request is handed to the transport once; nothing here can hand it over again. A connection ends when the broker closes it,
when it takes no bytes for `stall_timeout_ms`, or when it takes bytes but answers nothing for several times as long: a question
rides behind the records now and then, since acks=0 itself has no answers (Kafka answers the requests of a connection in order,
so the answer also says that what was written before was handled). A connection that hangs is aborted together with what the
kernel still holds: late positions help nobody.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from gamebus.errors import ConfigurationError

WRITE_LIMIT_BYTES: Final = 262_144
"""Bytes in the transport past which a broker gets no further request; what waits with us can still expire."""

_SEND_BUFFER_BYTES: Final = 262_144  # kernel buffers are hidden staleness: 256 KB, not the autotuned megabytes
_UNACKED_TIMEOUT_MS: Final = 2_000  # TCP_USER_TIMEOUT: a path that eats packets ends the connection by then
_DIAL_TIMEOUT_S: Final = 2.0
_REQUEST_TIMEOUT_MS: Final = 3_600_000
_STALL_CHECKS: Final = 4  # in a row, so that a blocked event loop of ours is not taken for a blocked broker
_SILENCE_STALLS: Final = (
    5  # a broker that is merely slow (cold, collecting garbage) must not lose what it has been given
)
_MIN_BACKOFF_S: Final = 0.05
_MAX_BACKOFF_S: Final = 1.0
# Versions of Produce that share the layout which `encode_produce` writes; Kafka 4 takes 3 and newer, 9 is another layout.
_PRODUCE_VERSIONS: Final = range(3, 9)
_REQUEST_HEAD: Final = struct.Struct(">hhih")
_PRODUCE_HEAD: Final = struct.Struct(">hhi")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_TWO_INT32: Final = struct.Struct(">ii")
_ABORT: Final = struct.pack("ii", 1, 0)  # SO_LINGER 0: closing discards the kernel's send buffer and resets

# A peer may answer anything: what its nonsense raises inside aiokafka's parser means the same as a refused connection.
DIAL_ERRORS: Final = (OSError, TimeoutError, KafkaError, ConfigurationError, ValueError, AssertionError, struct.error)

OnClose = Callable[[AIOKafkaConnection, CloseReason | None], None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Address of a broker as the cluster advertises it."""

    node_id: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProducedBatch:
    """A record batch and where it goes."""

    topic: str
    partition: int
    payload: bytes | bytearray


def encode_produce(version: int, client_id: str, batches: Iterable[ProducedBatch]) -> bytes:
    """One Produce request with acks=0, length prefix included (Kafka protocol, Produce v3..v8)."""
    topics: dict[str, list[ProducedBatch]] = {}
    for batch in batches:
        topics.setdefault(batch.topic, []).append(batch)
    client = client_id.encode()
    # Correlation 0 throughout: at acks=0 nothing answers. No transaction, acks 0, and a timeout that acks=0 does not use.
    parts: list[bytes | bytearray] = [
        b"",
        _REQUEST_HEAD.pack(ProduceRequest.API_KEY, version, 0, len(client)),
        client,
        _PRODUCE_HEAD.pack(-1, 0, 1000),
        _INT32.pack(len(topics)),
    ]
    for topic, of_topic in topics.items():
        name = topic.encode()
        parts += (_INT16.pack(len(name)), name, _INT32.pack(len(of_topic)))
        for batch in of_topic:
            parts += (_TWO_INT32.pack(batch.partition, len(batch.payload)), batch.payload)
    parts[0] = _INT32.pack(sum(map(len, parts)))
    return b"".join(parts)


def backoff_s(failures: int) -> float:
    """Wait after so many failures in a row: exponential, at most a second, jittered so that a fleet does not return as one."""
    longest = min(_MAX_BACKOFF_S, _MIN_BACKOFF_S * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


async def dial(host: str, port: int, *, client_id: str, on_close: OnClose | None = None) -> AIOKafkaConnection:
    """Connect and exchange versions, within a deadline."""
    async with asyncio.timeout(_DIAL_TIMEOUT_S):
        connection: AIOKafkaConnection = await create_conn(
            host,
            port,
            client_id=client_id,
            # A bound above every deadline of ours.
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            # aiokafka counts only responses as activity: it would close a busy acks=0 connection as idle.
            max_idle_ms=None,
            on_close=on_close,
        )
    return connection


class RealtimeConnection:
    """One broker's line. Not shared with durable traffic, nor with other brokers' lines: one that hangs stops no other.

    Args:
        max_in_flight: requests whose bytes the kernel has not taken yet, past which the line is not writable.
        stall_timeout_s: a connection that takes no bytes for so long is aborted.
        on_ready: called when a connection stands.
        on_lost: called when it ended or could not be made; the leader may have moved.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        max_in_flight: int,
        stall_timeout_s: float,
        on_ready: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.broker = broker
        self._client_id = client_id
        self._max_in_flight = max_in_flight
        self._stall_timeout_s = stall_timeout_s
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._connection: AIOKafkaConnection | None = None
        self._transport: Any = None  # asyncio's or uvloop's; None when not connected
        self._version = 0
        # Where each request ends in the byte stream of this connection, for counting those the kernel has not taken.
        self._ends: deque[int] = deque()
        self._stream_bytes = 0
        self.confirmed = True
        """False from the loss of a connection until the cluster was asked again who leads: at acks=0 a broker that does not
        lead a partition (any more) says so by closing, and would close the next connection too."""

        self.connects = 0
        self.requests = 0
        self.written_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def writable(self) -> bool:
        """Whether a request may be written now."""
        if not self.confirmed or not self.connected or self.buffered_bytes >= WRITE_LIMIT_BYTES:
            return False
        return self.in_flight < self._max_in_flight

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def in_flight(self) -> int:
        """Requests whose last byte the kernel has not taken yet."""
        taken = self._stream_bytes - self.buffered_bytes
        while self._ends and self._ends[0] <= taken:
            self._ends.popleft()
        return len(self._ends)

    def write(self, batches: Sequence[ProducedBatch]) -> None:
        """Hand one produce request to the transport, once. Only when :attr:`writable`."""
        frame = encode_produce(self._version, self._client_id, batches)
        self._transport.write(frame)
        self._stream_bytes += len(frame)
        self._ends.append(self._stream_bytes)
        self.requests += 1
        self.written_bytes += len(frame)

    async def ask(self, request: Any, *, timeout_s: float) -> Any:
        """Send a request that is answered, behind everything written so far.

        Raises:
            KafkaError, TimeoutError: no connection, or no answer in time.
        """
        # A closed transport, too: uvloop's would raise what nobody expects (closed_transport.py).
        if self._connection is None or not self.connected:
            raise KafkaError(f"no connection to {self.broker.host}:{self.broker.port}")
        async with asyncio.timeout(timeout_s):
            return await self._connection.send(request)

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            closed = asyncio.Event()
            try:
                self._adopt(
                    await dial(
                        self.broker.host,
                        self.broker.port,
                        client_id=self._client_id,
                        on_close=partial(_set, closed),
                    )
                )
            except DIAL_ERRORS as error:
                self._report_failure(failures, error)
            else:
                try:
                    reason = await self._watch(closed)
                finally:
                    self._abort()
                log.warning("connection.lost", broker=self.broker.node_id, reason=reason)
            self.confirmed = False
            self._on_lost()
            # A connection that lived for a while, or an attempt that ran into its deadline, has paused enough already.
            lasted_s = loop.time() - began
            failures = 0 if lasted_s > _MAX_BACKOFF_S else failures + 1
            await asyncio.sleep(max(0.0, backoff_s(failures) - lasted_s))

    def _adopt(self, connection: AIOKafkaConnection) -> None:
        try:
            self._version = _produce_version(connection)
            writer = connection._writer  # noqa: SLF001 - guarded by tests/integration/test_aiokafka_contract.py
            assert writer is not None, "a dialled connection has a writer"
            transport = writer.transport
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKED_TIMEOUT_MS)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._transport = transport
        self._ends.clear()
        self._stream_bytes = 0
        self.connects += 1
        log.info("connection.opened", broker=self.broker.node_id, host=self.broker.host, port=self.broker.port)
        self._on_ready()

    async def _watch(self, closed: asyncio.Event) -> str:
        """Wait for the end of the connection; returns why it ended."""
        ends = [
            asyncio.create_task(end) for end in (_until_closed(closed), self._until_stalled(), self._until_silent())
        ]
        try:
            done, _pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _until_stalled(self) -> str:
        checks = taken = 0
        while checks < _STALL_CHECKS:
            await asyncio.sleep(self._stall_timeout_s / _STALL_CHECKS)
            before, taken = taken, self._stream_bytes - self.buffered_bytes
            checks = checks + 1 if self.buffered_bytes and taken == before else 0
        return "stalled"

    async def _until_silent(self) -> str:
        # No topics: the shortest request that brokers of every version answer.
        question = MetadataRequest([], allow_auto_topic_creation=False)
        while True:
            try:
                await self.ask(question, timeout_s=self._stall_timeout_s * _SILENCE_STALLS)
            except TimeoutError:
                return "silent"
            except DIAL_ERRORS as error:
                return str(error)
            await asyncio.sleep(self._stall_timeout_s)

    def _abort(self) -> None:
        connection, transport = self._connection, self._transport
        self._connection = self._transport = None
        if connection is None:
            return
        if not transport.is_closing():
            with suppress(OSError):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        # First the transport: the connection's own close would wait for the write buffer to drain. When that close came first, the broker
        # may have taken everything since, and asyncio's transport, which has ended, raises AttributeError (its `_force_close` looks at
        # `_conn_lost`, which a close with bytes left to write does not set; seen with CPython 3.11).
        with suppress(AttributeError):
            transport.abort()
        connection.close()

    def _report_failure(self, failures: int, error: Exception) -> None:
        if failures == 0:  # the first of a row; the metrics count the others
            log.warning(
                "connection.failed",
                broker=self.broker.node_id,
                host=self.broker.host,
                port=self.broker.port,
                error=str(error) or type(error).__name__,
            )


async def _until_closed(closed: asyncio.Event) -> str:
    await closed.wait()
    return "closed by the broker"


def _set(closed: asyncio.Event, _connection: AIOKafkaConnection, _reason: CloseReason | None) -> None:
    closed.set()


def _produce_version(connection: AIOKafkaConnection) -> int:
    lowest: int
    highest: int
    lowest, highest = connection._versions.get(ProduceRequest.API_KEY, (0, 0))  # noqa: SLF001 - as above
    version = min(highest, _PRODUCE_VERSIONS[-1])
    if version < lowest or version not in _PRODUCE_VERSIONS:
        raise ConfigurationError(
            f"the broker takes Produce v{lowest}..v{highest}, gamebus writes v{_PRODUCE_VERSIONS[0]}.."
            f"v{_PRODUCE_VERSIONS[-1]}: use Kafka 2.1 .. 4.x"
        )
    return version
