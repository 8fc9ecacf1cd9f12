"""The proxy that stands for the network, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gamebus.verify.link import Way
from gamebus.verify.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """A peer behind the proxy: hands over its side of each connection."""

    def __init__(self) -> None:
        self.port = 0
        self._arrived: asyncio.Queue[Streams] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._arrived.put_nowait((reader, writer))

    async def connection(self) -> Streams:
        return await self._arrived.get()

    @property
    def waiting(self) -> int:
        return self._arrived.qsize()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await close(*self._writers)


async def close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Wire:
    """A client, a proxy and a server."""

    def __init__(self, proxy: Proxy, server: Server) -> None:
        self.proxy = proxy
        self.server = server
        self.clients: list[asyncio.StreamWriter] = []

    async def dial(self) -> Streams:
        streams = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.clients.append(streams[1])
        return streams

    async def hear(self) -> bytes:
        """What a new connection says to its end; the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        try:
            return await reader.read()
        finally:
            await close(writer)

    async def connect(self) -> tuple[Streams, Streams]:
        """A connection that carries bytes: the client's end and the server's."""
        client = await self.dial()
        server = await self.server.connection()
        assert await carry(client, server, b"hello") == b"hello"
        assert await carry(server, client, b"welcome") == b"welcome"
        return client, server


async def carry(source: Streams, sink: Streams, data: bytes) -> bytes:
    source[1].write(data)
    return await sink[0].readexactly(len(data))


async def settle(wire: Wire) -> None:
    """Let what can move move: bytes through another proxy need as many steps."""
    other = Proxy(target_port=wire.server.port)
    other.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", other.port)
    server = await wire.server.connection()
    for _ in range(5):
        await carry((reader, writer), server, b"tick")
        await carry(server, (reader, writer), b"tock")
    await close(writer)
    await other.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A link that passes."""
    server = Server()
    await server.start()
    proxy = Proxy(target_port=server.port)
    proxy.start()
    wire = Wire(proxy, server)
    yield wire
    await close(*wire.clients)
    await proxy.close()
    await server.stop()
    statistics = proxy.statistics()
    assert (statistics.connections, statistics.half_open, statistics.buffered_bytes) == (0, 0, 0)


class TestPass:
    async def test_carries_everything_in_order(self, wire: Wire) -> None:
        """A proxy that does nothing changes nothing, whatever the sizes."""
        client, server = await wire.connect()
        data = bytes(range(256)) * 20_000

        for source, sink in ((client, server), (server, client)):
            assert await carry(source, sink, data) == data
        assert wire.proxy.passing
        assert wire.proxy.statistics().to_broker_bytes == len(data) + len(b"hello")
        assert wire.proxy.statistics().to_client_bytes == len(data) + len(b"welcome")

    async def test_hands_on_the_end_of_one_direction(self, wire: Wire) -> None:
        """An end that has said everything can still hear the answer."""
        client, server = await wire.connect()

        client[1].write_eof()

        assert await server[0].read() == b""
        assert await carry(server, client, b"answer") == b"answer"
        server[1].close()
        assert await client[0].read() == b""

    @pytest.mark.parametrize("of_client", [True, False])
    async def test_hands_on_a_reset(self, wire: Wire, of_client: bool) -> None:
        """A peer that dies is missed at the other end at once."""
        client, server = await wire.connect()
        died, left = (client, server) if of_client else (server, client)
        # What stands unread when a socket is closed makes the kernel reset it.
        died[1].transport.pause_reading()  # type: ignore[attr-defined]
        left[1].write(b"unread")
        await settle(wire)

        died[1].transport.abort()

        with contextlib.suppress(ConnectionResetError):
            assert await left[0].read() == b""

    async def test_a_dead_broker_ends_new_connections(self, wire: Wire) -> None:
        """Who connects to a broker that is gone learns it from the connection."""
        wire.proxy.target_port = 1

        with pytest.raises(ConnectionResetError):
            await wire.hear()
        assert wire.proxy.statistics().refused == 1

    async def test_is_bounded(self, wire: Wire) -> None:
        """A receiver that takes nothing stops the sender: the proxy holds one chunk, the kernels little."""
        client, server = await wire.connect()
        server[1].transport.pause_reading()  # type: ignore[attr-defined]

        client[1].write(bytes(50_000_000))
        await settle(wire)

        assert client[1].transport.get_write_buffer_size() > 30_000_000
        assert wire.proxy.statistics().buffered_bytes <= 65_536

    async def test_has_a_last_connection(self, wire: Wire) -> None:
        """Past its bound the proxy turns connections away and says so."""
        full = Proxy(target_port=wire.server.port, max_connections=1)
        full.start()
        _, first = await asyncio.open_connection("127.0.0.1", full.port)
        await wire.server.connection()

        with pytest.raises(ConnectionResetError):
            await Wire(full, wire.server).hear()
        assert full.statistics().refused == 1
        await close(first)
        await full.close()


class TestPartition:
    @pytest.mark.parametrize("way", list(Way))
    async def test_holds_one_way_only(self, wire: Wire, way: Way) -> None:
        """In a one-way partition the other way still works; what was held arrives late, whole and in order."""
        client, server = await wire.connect()
        source, sink = (client, server) if way is Way.TO_BROKER else (server, client)
        wire.proxy.partition(way)

        source[1].write(b"held, ")
        assert await carry(sink, source, b"passes") == b"passes"
        await settle(wire)
        assert not wire.proxy.passing
        assert not sink[0]._buffer  # type: ignore[attr-defined]

        await wire.proxy.restore()
        assert await carry(source, sink, b"late") == b"held"
        assert await sink[0].readexactly(6) == b", late"
        assert wire.proxy.passing

    async def test_what_a_sender_gave_up_never_arrives(self, wire: Wire) -> None:
        """As its kernel would: bytes that were never acknowledged are not delivered after the sender's reset."""
        client, server = await wire.connect()
        wire.proxy.partition()
        client[1].write(b"old position")
        await settle(wire)

        sock = client[1].get_extra_info("socket")
        sock.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER: on, 0 s
        client[1].transport.abort()
        await settle(wire)
        assert not server[0].at_eof(), "a partition hides the reset too"

        await wire.proxy.restore()
        with pytest.raises(ConnectionResetError):
            await server[0].readexactly(1)

    async def test_lost_bytes_reset_the_connection_at_the_end(self, wire: Wire) -> None:
        """TCP never delivers a stream with a hole: a connection that lost bytes cannot go on."""
        client, server = await wire.connect()
        (other, other_server) = await wire.connect()
        wire.proxy.partition(lose=True)
        client[1].write(b"lost")
        await settle(wire)
        assert wire.proxy.statistics().dropped_bytes == len(b"lost")

        await wire.proxy.restore()

        for reader, _ in (client, server):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        assert await carry(other, other_server, b"nothing lost here") == b"nothing lost here"
        assert wire.proxy.statistics().resets == 1

    async def test_new_connections_get_no_answer(self, wire: Wire) -> None:
        """A black hole: the broker never hears of a new connection until the link is back."""
        wire.proxy.partition()
        client = await wire.dial()
        client[1].write(b"anybody?")
        await settle(wire)
        assert wire.server.waiting == 0

        await wire.proxy.restore()

        server = await wire.server.connection()
        assert await server[0].readexactly(8) == b"anybody?"

    async def test_new_connections_are_refused_when_asked(self, wire: Wire) -> None:
        """Refused by the kernel, as by a host without the service; the port stays the proxy's and serves again."""
        wire.proxy.partition(refuse=True)
        with pytest.raises(ConnectionRefusedError):
            await wire.dial()

        await wire.proxy.restore()

        await wire.connect()


class TestSlow:
    async def test_a_slow_link_loses_nothing(self, wire: Wire) -> None:
        """Latency and a narrow link change when bytes arrive, not which."""
        client, server = await wire.connect()
        wire.proxy.slow(latency_ms=5, bandwidth_bytes_per_s=2_000_000)
        data = bytes(range(256)) * 1_000

        assert not wire.proxy.passing
        assert await carry(client, server, data) == data
        assert await carry(server, client, data) == data

    async def test_what_waits_is_let_go_at_once(self, wire: Wire) -> None:
        """Healing does not wait for what was slow: these bytes would take an hour."""
        client, server = await wire.connect()
        wire.proxy.slow(latency_ms=3_600_000, bandwidth_bytes_per_s=1)
        client[1].write(b"hurry")
        await settle(wire)
        wire.proxy.slow(bandwidth_bytes_per_s=0.001)
        await settle(wire)

        await wire.proxy.restore()

        assert await server[0].readexactly(5) == b"hurry"

    async def test_a_bandwidth_of_nothing_is_refused(self, wire: Wire) -> None:
        """The error says what to use instead."""
        with pytest.raises(ValueError, match=r"partition\(\)"):
            wire.proxy.slow(bandwidth_bytes_per_s=0)


class TestReset:
    async def test_resets_both_ends(self, wire: Wire) -> None:
        """Every connection ends, for both sides, and new ones are served."""
        both = [await wire.connect(), await wire.connect()]

        assert await wire.proxy.reset() == 2

        for end in (end for ends in both for end in ends):
            with pytest.raises(ConnectionResetError):
                await end[0].readexactly(1)
        await wire.connect()

    @pytest.mark.parametrize("way", list(Way))
    async def test_cuts_a_chunk_in_the_middle(self, wire: Wire, way: Way) -> None:
        """The receiver gets no more than a part, and both ends learn that the connection is gone."""
        client, server = await wire.connect()
        source, sink = (client, server) if way is Way.TO_BROKER else (server, client)

        assert wire.proxy.reset_mid_chunk(way) == 1
        assert await carry(sink, source, b"the other way passes") == b"the other way passes"
        source[1].write(b"batch" * 100)

        # Linux throws away what the receiver has not read yet, sometimes.
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await sink[0].readexactly(500)
        with pytest.raises(ConnectionResetError):
            await source[0].readexactly(1)
        assert wire.proxy.statistics().resets == 1

    async def test_an_armed_cut_is_taken_back(self, wire: Wire) -> None:
        """A connection that was idle all the time is not cut later."""
        client, server = await wire.connect()
        wire.proxy.reset_mid_chunk(Way.TO_BROKER)

        await wire.proxy.restore()

        assert await carry(client, server, b"whole") == b"whole"


class TestHalfOpen:
    @pytest.mark.parametrize("forget", list(Way))
    async def test_one_end_knows_nothing(self, wire: Wire, forget: Way) -> None:
        """One end is reset; the other one's connection stands, without an answer, until the link is restored."""
        client, server = await wire.connect()
        gone, left = (client, server) if forget is Way.TO_CLIENT else (server, client)

        assert await wire.proxy.half_open(forget) == 1

        with pytest.raises(ConnectionResetError):
            await gone[0].readexactly(1)
        left[1].write(b"still there?")
        await settle(wire)
        assert not left[0].at_eof()
        assert left[0].exception() is None
        assert (wire.proxy.statistics().half_open, wire.proxy.passing) == (1, False)

        await wire.proxy.restore()
        with pytest.raises(ConnectionResetError):
            await left[0].readexactly(1)
        assert wire.proxy.passing


class TestClose:
    async def test_a_port_is_free_again(self, wire: Wire) -> None:
        """Nothing listens where a closed proxy was, in any state of its link."""
        proxy = Proxy(target_port=wire.server.port)
        proxy.start()
        port = proxy.port
        proxy.partition(refuse=True)
        await proxy.close()

        again = Proxy(port=port, target_port=wire.server.port)
        again.start()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await wire.server.connection()
        await close(writer)
        await again.close()
