"""The websocket driver, over real sockets with the real `websockets` client and with raw ones."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import time
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Origin

from gamebus.catalog import Role
from gamebus.delivery.durable_publisher import Written
from gamebus.errors import OutcomeUnknown, PublishFailed
from gamebus.gateway.session_driver import MAX_IN_FLIGHT
from tests.gateway.server_kit import JSON, MSGPACK, Client, Harness, serving, token


def request(path: str = "/v1", **changes: str | None) -> bytes:
    """An opening handshake; None removes a header."""
    headers: dict[str, str | None] = {
        "Host": "test",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


async def status(harness: Harness, data: bytes) -> tuple[int, bytes]:
    """Send bytes, return HTTP status and the whole answer, which must end."""
    reader, writer = await harness.raw(data)
    answer = await reader.readuntil(b"\r\n\r\n")
    code = int(answer.split(b" ")[1])
    if code != 101:
        answer += await reader.read()
    writer.close()
    return code, answer


def client_frame(payload: str | bytes, *, fin: bool = True, opcode: Opcode | None = None) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(opcode or (Opcode.TEXT if isinstance(payload, str) else Opcode.BINARY), data, fin).serialize(mask=True)


class TestHandshake:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (request(), 101),
            (request("/v1?a=b"), 101),
            (request("/v1/"), 404),
            (request("/"), 404),
            (request("/V1"), 404),
            (request("/v2", Upgrade=None), 404),
            (request(Upgrade=None), 426),
            (request(Connection=None), 426),
            (request(Sec_WebSocket_Key=None), 400),
            (request(Sec_WebSocket_Key="short"), 400),
            (request(Sec_WebSocket_Version="8"), 400),
            (request(Sec_WebSocket_Protocol="chat, gamebus.v2.json"), 400),
            (request(Sec_WebSocket_Protocol="chat, gamebus.v1.json"), 101),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n\r\n", 400),
            (b"GET /v1 HTTP/2.0\r\n\r\n", 400),
            (b"GET /v1 HTTP/1.1\r\nbroken header\r\n\r\n", 400),
        ],
    )
    async def test_each_request_gets_its_status(self, data: bytes, expected: int) -> None:
        """The statuses of the wire protocol, and an answer (not a cut) to what is no HTTP at all."""
        async with serving() as harness:
            assert (await status(harness, data))[0] == expected

    async def test_another_version_learns_ours(self) -> None:
        """RFC 6455, section 4.4."""
        async with serving() as harness:
            assert b"Sec-WebSocket-Version: 13" in (await status(harness, request(Sec_WebSocket_Version="8")))[1]

    async def test_without_subprotocol_json_is_spoken_and_none_is_named(self) -> None:
        """Any websocket tool can talk by hand; a client must not get a subprotocol that it did not offer (RFC 6455, 4.1)."""
        async with serving() as harness, harness.connect(None) as websocket:
            assert websocket.subprotocol is None
            client = Client(websocket)
            await client.send("hello", token())
            assert (await client.receive())[0] == "welcome"

    async def test_the_clients_first_known_subprotocol_is_taken(self) -> None:
        """A client that offers several says which it likes best."""
        async with serving() as harness:
            for offered in ([JSON, MSGPACK], [MSGPACK, JSON]):
                async with harness.connect(None, additional_headers={}) as plain:
                    assert plain.subprotocol is None
                answer = (await status(harness, request(Sec_WebSocket_Protocol=", ".join(offered))))[1]
                assert f"Sec-WebSocket-Protocol: {offered[0]}\r\n".encode() in answer

    async def test_compression_is_never_agreed(self) -> None:
        """A frame is shared by all receivers, so it cannot be compressed for one."""
        async with serving() as harness:
            answer = (await status(harness, request(Sec_WebSocket_Extensions="permessage-deflate")))[1]
            assert b"Sec-WebSocket-Extensions" not in answer

    async def test_origins_are_checked_where_they_are_listed(self) -> None:
        """A foreign page cannot use a player's browser; a native client sends no Origin and is let in."""
        async with serving(origins=("https://game.example",)) as harness:
            async with harness.connect(origin=Origin("https://game.example")):
                pass
            async with harness.connect():
                pass
            with pytest.raises(InvalidStatus) as caught:
                await harness.connect(origin=Origin("https://evil.example"))
            assert caught.value.response.status_code == 403

    async def test_a_full_gateway_says_when_to_come_back(self) -> None:
        """503 with Retry-After; a place that becomes free is given again."""
        async with serving(max_connections=1) as harness:
            async with harness.client():
                with pytest.raises(InvalidStatus) as caught:
                    await harness.connect()
                assert caught.value.response.status_code == 503
                assert int(caught.value.response.headers["Retry-After"]) > 0
            await _until(lambda: harness.server.statistics().sockets == 0)
            async with harness.client():
                pass

    async def test_sockets_without_a_token_do_not_keep_players_out(self) -> None:
        """A full gateway closes (4003) the oldest connection that has been silent for a second."""
        async with serving(max_connections=1) as harness, harness.connect() as silent:
            statuses = set()
            async with asyncio.timeout(10):
                while silent.close_code is None:
                    try:
                        async with harness.client():
                            break
                    except InvalidStatus as error:
                        statuses.add(error.response.status_code)
            code, received = await Client(silent).closed()
            assert statuses <= {503}
            assert code == 4003
            assert received[-1][:2] == ["bye", 4003]
            assert received[-1][3] > 0

    async def test_a_slow_handshake_is_cut(self) -> None:
        """A socket that never finishes its request costs nothing for long."""
        async with serving(hello_timeout_ms=200) as harness:
            reader, writer = await harness.raw(request()[:-2])
            assert await reader.read() == b""
            writer.close()
            assert harness.server.statistics().cut_total == 1

    async def test_a_request_may_come_in_pieces_with_hello_behind_it(self) -> None:
        """TCP keeps no boundaries, and nothing that was sent is lost."""
        async with serving() as harness:
            data = request() + client_frame(f'["hello", "{token()}"]')
            reader, writer = await harness.raw()
            for at in range(0, len(data), 7):
                writer.write(data[at : at + 7])
                await writer.drain()
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert b'["welcome"' in await reader.readuntil(b'welcome"')
            writer.close()


class TestClosing:
    async def test_the_peer_may_close(self) -> None:
        """The close handshake is completed with the peer's code, and the player leaves."""
        async with serving() as harness:
            async with harness.client() as client:
                await client.websocket.close(1000, "done")
                assert client.websocket.close_code == 1000
            await _until(lambda: harness.hub.dropped == [("alice", False)])

    async def test_a_violation_gets_bye_and_the_close_frame(self) -> None:
        """`bye` is the last message and carries the code of the close frame."""
        async with serving() as harness, harness.client() as client:
            await client.send()
            code, received = await client.closed()
            assert code == 4500
            assert received[-1][:2] == ["bye", 4500]
            assert received[-1][3] is None
            assert client.websocket.close_reason == received[-1][2]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (client_frame(b"\xff", opcode=Opcode.TEXT), 1007),
            (client_frame("x" * 70_000), 1009),
            (b"\x82\xff" + struct.pack("!Q", 1 << 50), 1009),
            (client_frame("x" * 40_000, fin=False) + client_frame(b"x" * 40_000, opcode=Opcode.CONT), 1009),
            (client_frame("[" * 10), 4500),
            (client_frame(b"\x90"), 4500),
        ],
        ids=["utf-8", "large", "huge", "fragments", "not json", "wrong kind"],
    )
    async def test_a_broken_message_gets_its_code(self, data: bytes, code: int) -> None:
        """RFC 6455's codes for its own rules, 4500 for those of the wire protocol; the code arrives however much was sent behind."""
        async with serving(close_timeout_ms=300) as harness:
            reader, writer = await harness.raw(request())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            answer = await reader.read()
            assert struct.pack("!H", code) in answer
            writer.close()

    async def test_hello_is_due(self) -> None:
        """4504 when no hello comes in time."""
        async with serving(hello_timeout_ms=200) as harness, harness.connect() as websocket:
            code, received = await Client(websocket).closed()
            assert (code, received[-1][:2]) == (4504, ["bye", 4504])

    async def test_an_expired_token_ends_the_connection(self) -> None:
        """4010 when the token's time and its leeway are over, with a hint to come back at once."""
        async with serving() as harness, harness.client(ttl_s=-4) as client:
            code, received = await client.closed()
            assert code == 4010
            assert received[-1][3] is not None

    async def test_a_peer_that_answers_no_ping_is_closed(self) -> None:
        """4002 after the silence; the player leaves at once, not when the socket has been cut."""
        async with serving(ping_interval_ms=200, ping_timeout_ms=200, close_timeout_ms=60_000) as harness:
            reader, writer = await harness.raw(request() + client_frame(f'["hello", "{token()}"]'))
            answer = await reader.readuntil(struct.pack("!H", 4002))
            assert b"\x89\x00" in answer
            assert b'["bye",4002,' in answer
            assert harness.hub.dropped == [("alice", False)]
            writer.close()

    async def test_pings_keep_a_quiet_client_open(self) -> None:
        """A client that only answers pings stays."""
        async with serving(ping_interval_ms=100, ping_timeout_ms=100) as harness, harness.client() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.websocket.recv()
            await client.send("ping", 1)
            assert (await client.receive())[0] == "pong"

    async def test_who_answers_a_ping_has_a_round_trip(self) -> None:
        """Measured by the gateway; the client does nothing for it but what every library does."""
        async with serving(ping_interval_ms=100) as harness, harness.client() as client:
            await client.send("join", "arena")
            await client.receive()
            (driver,) = harness.hub.drivers
            await _until(lambda: driver.rtt_ms is not None)

    async def test_a_peer_that_ignores_the_close_frame_is_cut(self) -> None:
        """The close timeout bounds how long a socket is kept for a peer that does not close."""
        async with serving(close_timeout_ms=300) as harness:
            reader, writer = await harness.raw(request() + client_frame("nonsense"))
            await reader.readuntil(struct.pack("!H", 4500))
            await _until(lambda: harness.server.statistics().sockets == 0)
            assert harness.server.statistics().cut_total == 1
            writer.transport.abort()

    async def test_end_of_stream_without_a_close_frame_is_the_end(self) -> None:
        """A half-closed socket (RFC 6455: 1006) is closed from this side as well."""
        async with serving() as harness:
            reader, writer = await harness.raw(request() + client_frame(f'["hello", "{token()}"]'))
            await reader.readuntil(b'"types"')
            writer.write_eof()
            await reader.read()
            writer.close()
            assert harness.hub.dropped == [("alice", False)]
            await _until(lambda: harness.server.statistics().sockets == 0)

    async def test_a_reason_never_splits_a_character(self) -> None:
        """A close frame has 123 bytes for its reason (RFC 6455, section 5.5)."""
        from gamebus.gateway.connection import _reason

        assert _reason("é" * 100) == "é" * 61


class TestBackPressure:
    async def test_a_slow_reader_is_cut_off_and_told(self) -> None:
        """4001 when what waits passes the bound, followed by a cut when the socket takes nothing (seen as 1006)."""
        async with serving(outbox_bytes=65_536, close_timeout_ms=500) as harness:
            reader, writer = await harness.raw(
                request() + client_frame(f'["hello", "{token()}"]') + client_frame('["join", "r"]')
            )
            await reader.readuntil(b"tick_hz")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            outbox = harness.hub.drivers[0].outbox
            while not outbox.statistics().overflowed:
                outbox.send(b"\x81\x7e\x10\x00" + b"x" * 4096)
                await asyncio.sleep(0)
            await _until(lambda: harness.server.statistics().sockets == 0)
            assert harness.server.statistics().closed_total == {"4001": 1}
            assert harness.server.statistics().cut_total == 1
            writer.transport.abort()

    async def test_a_slow_reader_that_wakes_up_sees_why(self) -> None:
        """What passed the socket, then `bye` and 4001."""
        async with serving(outbox_bytes=65_536) as harness:
            reader, writer = await harness.raw(
                request() + client_frame(f'["hello", "{token()}"]') + client_frame('["join", "r"]')
            )
            await reader.readuntil(b"tick_hz")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            outbox = harness.hub.drivers[0].outbox
            while not outbox.statistics().overflowed:
                outbox.send(b"\x81\x7e\x10\x00" + b"x" * 4096)
                await asyncio.sleep(0)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            data = b""
            while struct.pack("!H", 4001) not in data[-200:]:
                data += await reader.read(65_536)
            assert b'["bye",4001,' in data
            writer.close()

    async def test_pings_of_a_peer_that_does_not_read_cost_one_pong(self) -> None:
        """RFC 6455, section 5.5.3: only the newest ping needs an answer, so a flood of them cannot fill memory."""
        async with serving() as harness:
            reader, writer = await harness.raw(
                request() + client_frame(f'["hello", "{token()}"]') + client_frame('["join", "r"]')
            )
            await reader.readuntil(b"tick_hz")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            driver = harness.hub.drivers[0]
            while driver.outbox.writable:
                driver.outbox.write(b"\x81\x7e\x10\x00" + b"x" * 4096)
                await asyncio.sleep(0)
            connection: Any = driver._line
            before = connection._transport.get_write_buffer_size()
            for number in range(1000):
                writer.write(client_frame(b"%d" % number, opcode=Opcode.PING))
                await writer.drain()
            await _until(lambda: connection._pong is not None and connection._pong[2:] == b"999")
            assert connection._transport.get_write_buffer_size() <= before
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            data = b""
            while not data.endswith(b"\x8a\x03999"):
                data += await reader.read(65_536)
            assert data.count(b"\x8a\x03") == 1
            writer.close()

    async def test_a_flood_of_durable_publishes_is_read_as_fast_as_it_is_answered(self) -> None:
        """Kafka's pace reaches the publisher through TCP; every publish is answered in the end."""
        # More than one read of the loop takes, and less than the burst of the type.
        count, room = 1900, "r" * 128
        async with serving() as harness, harness.client("server", role=Role.SERVER) as client:
            data = {"victim": "b" * 64, "cause": "c" * 64, "at_ms": 0}
            ids = [f"{number:064}" for number in range(count)]

            async def flood() -> None:
                for id_ in ids:
                    await client.send("pub", "death", room, data, id_)

            flooding = asyncio.create_task(flood())
            outcomes = [await harness.durable.waiting.get() for _ in range(MAX_IN_FLIGHT)]
            connection: Any = next(iter(harness.server._places))
            await _until(lambda: not connection._transport.is_reading())
            assert harness.durable.waiting.qsize() + len(outcomes) < count
            acked: list[str] = []
            while len(acked) < count:
                for outcome in outcomes:
                    harness.durable.written(outcome)
                outcomes = []
                message = await client.receive()
                if message[0] == "ack":
                    acked.append(message[1])
                while not harness.durable.waiting.empty():
                    outcomes.append(harness.durable.waiting.get_nowait())
            await flooding
            assert acked == ids


class TestPublishing:
    async def test_positions_reach_the_publisher(self) -> None:
        """In both encodings, alone and in a batch."""
        async with serving() as harness:
            for sub, subprotocol in (("alice", JSON), ("bob", MSGPACK)):
                async with harness.client(sub, subprotocol=subprotocol) as client:
                    await client.send("join", "r")
                    await client.send("pub", "position", "r", [1, 0.5, 1, 2])
                    await client.send("batch", [["position", "r", [2, 0.5, 1, 2]], ["heartbeat", "r", [1, 7]]])
                    await client.send("ping", "p")
                    while (await client.receive())[0] != "pong":
                        pass
                assert harness.realtime.published == [
                    ("position", "r", sub, [1, 0.5, 1, 2]),
                    ("position", "r", sub, [2, 0.5, 1, 2]),
                    ("heartbeat", "r", sub, [1, 7]),
                ]
                harness.realtime.published.clear()

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (Written("gamebus.chat", 3, 17, 0), ["ack", "id", "gamebus.chat@17"]),
            (PublishFailed("unavailable", "no broker", retry_ms=500), ["nack", "id", "unavailable", "no broker", 500]),
            (OutcomeUnknown("lost sight of it"), ["nack", "id", "unknown_outcome", "lost sight of it", 1000]),
        ],
        ids=["written", "failed", "unknown"],
    )
    async def test_each_outcome_has_its_answer(self, outcome: Any, expected: list[Any]) -> None:
        """Unknown is never reported as failed."""
        async with serving() as harness, harness.client() as client:
            await client.send("join", "r")
            await client.send("pub", "chat", "r", {"text": "hi"}, "id")
            future = await harness.durable.waiting.get()
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
            assert (await client.receive())[0] == "joined"
            assert await client.receive() == expected

    async def test_a_full_outbox_of_kafka_is_overload(self) -> None:
        """What the publisher refuses at once is answered at once."""
        async with serving() as harness, harness.client() as client:
            harness.durable.refuse_with = PublishFailed("overloaded", "full", retry_ms=1000)
            await client.send("join", "r")
            await client.send("pub", "chat", "r", {"text": "hi"}, "id")
            assert (await client.receive())[0] == "joined"
            assert await client.receive() == ["nack", "id", "overloaded", "full", 1000]

    async def test_refusals_are_counted_by_their_code(self) -> None:
        """An operator sees a room that is flooded; what was taken and then answered is in another account."""
        async with serving() as harness, harness.client() as client:
            await client.send("leave")
            assert (await client.receive())[:2] == ["error", "bad_request"]
            for number in range(2):
                await client.send("pub", "chat", "nowhere", {"text": "hi"}, f"id-{number}")
                assert (await client.receive())[:3] == ["nack", f"id-{number}", "not_joined"]

            statistics = harness.server.statistics()
            assert statistics.errors_total == {"rate_limited": 0, "bad_request": 1, "not_joined": 2}
            assert statistics.answers_total == {"ack": 0, "unknown_outcome": 0}

    async def test_who_sends_too_much_is_known_by_name(self) -> None:
        """Refusals for too high a rate are counted for the connection, so an operator finds the player."""
        async with serving() as harness, harness.client() as client:
            await client.send("join", "r")
            for number in range(30):
                await client.send("ping", number)
            while (await client.receive())[:2] != ["error", "rate_limited"]:
                pass

            (driver,) = harness.hub.drivers
            assert driver.rate_limited > 0

    async def test_an_outcome_after_the_end_is_nobodys(self) -> None:
        """The publisher's answer for a client that is gone is dropped without a warning."""
        async with serving() as harness:
            async with harness.client() as client:
                await client.send("join", "r")
                await client.send("pub", "chat", "r", {"text": "hi"}, "id")
                future = await harness.durable.waiting.get()
            await _until(lambda: harness.server.statistics().sockets == 0)
            future.set_exception(OutcomeUnknown("too late"))
            await asyncio.sleep(0)


class TestOperators:
    async def test_a_muted_player_s_chat_is_refused_and_nothing_else(self) -> None:
        """With a `nack` that is final; kills and positions of the player go on, and so does the chat of others."""
        async with serving() as harness, harness.client() as client, harness.client("bob") as other:
            harness.server._bus.mutes.add("alice", 2**53)
            for here in (client, other):
                await here.send("join", "r")
                assert (await here.receive())[0] == "joined"
            await client.send("pub", "chat", "r", {"text": "hi"}, "id")
            answer = await client.receive()
            assert (answer[0], answer[1], answer[2], answer[4]) == ("nack", "id", "forbidden", None)
            await other.send("pub", "chat", "r", {"text": "hi"}, "id")
            harness.durable.written(await harness.durable.waiting.get())
            assert (await other.receive())[0] == "ack"

    async def test_a_kicked_player_is_told_and_stays_away(self) -> None:
        """4503, without a time to come back."""
        async with serving() as harness, harness.client() as client:
            (driver,) = (driver for driver, _ in harness.server._silent.values())
            driver.remove()
            code, received = await client.closed()
            assert code == 4503
            assert received[-1][:2] == ["bye", 4503]
            assert received[-1][3] is None


class TestDrain:
    async def test_acks_come_before_goodbye(self) -> None:
        """A graceful close waits for what the client published, then says bye with a time to come back."""
        async with serving() as harness, harness.client() as client:
            await client.send("join", "r")
            await client.send("pub", "chat", "r", {"text": "hi"}, "id")
            future = await harness.durable.waiting.get()
            draining = asyncio.create_task(harness.server.drain())
            await _until(lambda: not harness.server.accepting)
            await client.send("pub", "chat", "r", {"text": "too late"}, "id2")
            await asyncio.sleep(0.05)
            harness.durable.written(future)
            code, received = await client.closed()
            assert [message[0] for message in received] == ["joined", "ack", "bye"]
            assert code == 4000
            assert received[-1][3] >= 1000
            await draining
            assert harness.durable.waiting.empty()

    async def test_an_answer_that_never_comes_does_not_hold_a_drain(self) -> None:
        """The close timeout bounds the wait for acks."""
        async with serving(close_timeout_ms=200) as harness, harness.client() as client:
            await client.send("join", "r")
            await client.send("pub", "chat", "r", {"text": "hi"}, "id")
            future = await harness.durable.waiting.get()
            await harness.server.drain()
            code, received = await client.closed()
            assert (code, received[-1][0]) == (4000, "bye")
            future.cancel()

    async def test_whoever_has_not_been_sent_away_plays_on(self) -> None:
        """Goodbyes go out no faster than other gateways let clients in; until its own comes a client is served."""
        async with serving(hello_per_second=0.01, hello_burst=2, drain_timeout_ms=600_000) as harness:
            async with harness.client() as one, harness.client("bob") as other:
                for client in (one, other):
                    await client.send("join", "r")
                    assert (await client.receive())[0] == "joined"
                draining = asyncio.create_task(harness.server.drain())
                leaving = [asyncio.create_task(client.closed()) for client in (one, other)]
                done, (staying,) = await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
                ((code, received),) = (task.result() for task in done)
                assert (code, received[-1][0]) == (4000, "bye")
                client = other if staying is leaving[1] else one
                await client.send("pub", "chat", "r", {"text": "hi"}, "id")
                harness.durable.written(await harness.durable.waiting.get())
                staying.cancel()
                draining.cancel()

    async def test_goodbyes_are_spread(self) -> None:
        """Clients of a gateway that restarts must not come back in one moment."""
        async with serving() as harness:
            clients = [await harness.connect() for _ in range(10)]
            for number, websocket in enumerate(clients):
                await Client(websocket).send("hello", token(f"p{number}"))
                await websocket.recv()
            await harness.server.drain()
            waits = {(await Client(websocket).closed())[1][-1][3] for websocket in clients}
            assert len(waits) > 5

    async def test_new_connections_are_refused_while_draining(self) -> None:
        """A gateway that stops takes nobody."""
        async with serving() as harness:
            await harness.server.drain()
            with pytest.raises(OSError):
                await harness.connect()

    async def test_a_peer_that_does_not_close_is_cut_at_the_deadline(self) -> None:
        """A drain ends."""
        async with serving(drain_timeout_ms=200) as harness:
            reader, writer = await harness.raw(request())
            await reader.readuntil(b"\r\n\r\n")
            await harness.server.drain()
            assert harness.server.statistics().sockets == 1, "the loop has not told yet"
            await _until(lambda: harness.server.statistics().sockets == 0)
            writer.close()


class TestLost:
    async def test_time_that_was_due_before_a_connection_was_lost_is_nothing(self) -> None:
        """The sweeper may have found a ping to be due in the moment in which the peer vanished: nobody is pinged, or timed again."""
        async with serving() as harness:
            async with harness.client():
                (connection,) = harness.server._sockets
                # As a reset by the peer: lost without an end of the stream before it.
                connection.abort()
                await _until(lambda: harness.server.statistics().sockets == 0)
            connection.on_time(time.monotonic() + 3600)
            assert len(harness.server.timers) == 0


class TestAdmission:
    async def test_a_storm_is_told_when_to_come_back(self) -> None:
        """Past the rate a hello is answered by `bye` 4003, each with a moment of its own; those who are in stay."""
        async with serving(hello_burst=1, hello_per_second=0.1) as harness, harness.client() as inside:
            waits = []
            for number in range(3):
                async with harness.connect() as websocket:
                    client = Client(websocket)
                    await client.send("hello", token(f"p{number}"))
                    code, received = await client.closed()
                assert code == 4003
                waits.append(received[-1][3])
            assert waits == sorted(waits)
            assert waits[0] > 0
            await inside.send("ping", 1)
            assert (await inside.receive())[0] == "pong"
            statistics = harness.server.statistics()
            assert (statistics.admitted_total, statistics.deferred_total) == (1, 3)


class TestTakeover:
    async def test_the_newest_connection_of_a_player_wins(self) -> None:
        """4501 for the old one, which must not come back; nobody sees the player leave."""
        async with serving() as harness, harness.client() as old, harness.client() as new:
            code, received = await old.closed()
            assert (code, received[-1]) == (4501, ["bye", 4501, "the player connected elsewhere", None])
            assert harness.hub.dropped == [("alice", True)]
            await new.send("ping", 1)
            assert (await new.receive())[0] == "pong"

    @pytest.mark.parametrize("role", [Role.SERVER, Role.SPECTATOR])
    async def test_servers_and_spectators_may_be_many(self, role: Role) -> None:
        """One process of a studio may hold several connections under one name."""
        async with serving() as harness, harness.client("x", role=role) as one, harness.client("x", role=role):
            await one.send("ping", 1)
            assert (await one.receive())[0] == "pong"

    async def test_another_gateway_takes_over(self) -> None:
        """What is announced by another gateway closes the connection here, once it is known to be the newer one."""
        sessions = Announced()
        async with serving(sessions) as harness, harness.client() as client:
            session = await sessions.announced.get()
            assert session[0] == "alice"
            sessions.holds = session[1]
            sessions.heard.put_nowait(("alice", "another"))
            sessions.heard.put_nowait(("alice", session[1]))
            sessions.heard.put_nowait(("nobody", "another"))
            await client.send("ping", 1)
            assert (await client.receive())[0] == "pong", "this one was announced last"
            sessions.holds = "another"
            sessions.heard.put_nowait(("alice", "another"))
            assert (await client.closed())[0] == 4501

    async def test_a_takeover_that_nobody_heard_of_is_made_up_for(self) -> None:
        """Redis was away when the player came to another gateway: his older connection is closed once it shows there."""
        sessions = Announced()
        async with serving(sessions) as harness, harness.client() as client:
            _, session = await sessions.announced.get()
            sessions.holds = session
            await harness.players.missed("alice", session)
            await harness.players.missed("alice", "gone")
            await harness.players.missed("nobody", "gone")
            await client.send("ping", 1)
            assert (await client.receive())[0] == "pong", "it was announced last"
            sessions.holds = "another"
            await harness.players.missed("alice", session)
            assert (await client.closed())[0] == 4501


class Announced:
    """The takeover channel in the test's hands."""

    def __init__(self) -> None:
        self.announced: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.holds = ""

    async def announce(self, player: str, session: str) -> None:
        self.announced.put_nowait((player, session))

    async def holder(self, player: str) -> str | None:
        return self.holds

    async def listen(self) -> Any:
        while True:
            yield await self.heard.get()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what happens in the server has no event for a test
            await asyncio.sleep(0.01)
