"""What a program asks of its client, against a real websocket server that plays scripted conversations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gamebus_client import (
    Closed,
    Error,
    InvalidMessage,
    Joined,
    Left,
    Presence,
    Reconnected,
    Reconnecting,
    RequestRefused,
    RequestTimedOut,
    Tick,
)
from tests.clients.python.driving import client, next_of
from tests.clients.scripted_gateway import SERVER_MS, Peer, ScriptedGateway, until_closed


class TestRooms:
    async def test_join_and_leave(self) -> None:
        """join returns the room's state, leave returns when the gateway has answered."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            assert await peer.recv() == ["join", "r"]
            await peer.send(
                "joined",
                "r",
                {
                    "cursor": "c7",
                    "players": ["alice", "bob"],
                    "positions": [["bob", [3, 1.0, 2.0, 3.0]]],
                    "tick_hz": 20,
                    "recovered": None,
                    "later": "a newer gateway may say more",
                },
                "extra",
            )
            assert await peer.recv() == ["leave", "r"]
            await peer.send("left", "r")
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            joined = await game.join("r")
            assert joined == Joined("r", "c7", ("alice", "bob"), {"bob": [3, 1.0, 2.0, 3.0]}, 20.0, None)
            await game.leave("r")
            assert await next_of(game, Left) == Left("r")

    async def test_a_refused_join_raises_and_is_not_repeated(self) -> None:
        """A forbidden room is the caller's error, and a reconnect does not ask for it again."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await peer.send("error", "forbidden", "not your room", {"op": "join", "room": "r"})
            await peer.bye(4000, reconnect_ms=0)

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            with pytest.raises(RequestRefused, match="not your room") as caught:
                await game.join("r")
            assert caught.value.code == "forbidden"
            await next_of(game, Reconnected)
            await game.ping()

    async def test_an_unanswered_join_times_out(self) -> None:
        """Refusals are rate limited by the gateway, so silence must end too; the room is then left."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            assert await peer.recv() == ["join", "r"]
            assert await peer.recv() == ["leave", "r"]
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(RequestTimedOut):
                await game.join("r", timeout_s=0.05)

    async def test_a_room_taken_away_is_not_joined_again(self) -> None:
        """`left` without a request (a refreshed token) is told, and the reconnect respects it."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r")
            await peer.send("left", "r")
            peer.cut()

        async def second(peer: Peer) -> None:
            assert "resume" not in (await peer.welcome())[2]
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await game.join("r")
            assert await next_of(game, Left) == Left("r")
            await next_of(game, Reconnected)


class TestRealtime:
    async def test_positions_have_a_rising_sequence(self) -> None:
        """The client owns seq: it rises over rooms, heartbeats and connections, so no position is taken for stale."""
        frames: list[list[Any]] = []

        async def script(peer: Peer) -> None:
            await peer.welcome()
            frames.extend([await peer.recv() for _ in range(4)])
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            assert game.move("r", 1, 2, 3)
            assert game.move("s", 1, 2, 3, velocity=(4, 5, 6))
            assert game.heartbeat("r")
            assert game.move("r", 1, 2, 3, velocity=(4, 5, 6), heading=7, player="bob")
            await game.ping()
        assert frames[0] == ["pub", "position", "r", [1, 1, 2, 3]]
        assert frames[1] == ["pub", "position", "s", [2, 1, 2, 3, 4, 5, 6]]
        assert frames[2][:3] == ["pub", "heartbeat", "r"]
        assert frames[2][3][0] == 3
        assert frames[3] == ["pub", "position", "r", [4, 1, 2, 3, 4, 5, 6, 7], None, "bob"]

    async def test_drops_while_it_cannot_send(self) -> None:
        """Realtime never waits: without a connection it is dropped, counted and reported as False."""
        again = asyncio.Event()

        async def first(peer: Peer) -> None:
            await peer.welcome()
            peer.cut()

        async def second(peer: Peer) -> None:
            await again.wait()
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await next_of(game, Reconnecting)
            assert game.move("r", 1, 2, 3) is False
            assert game.statistics().realtime_dropped == {"not_connected": 1}
            again.set()
            await next_of(game, Reconnected)
            assert game.move("r", 1, 2, 3) is True

    async def test_drops_while_the_socket_is_congested(self) -> None:
        """A gateway that does not read costs positions, not memory."""
        read = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.welcome()
            peer.connection.transport.pause_reading()
            await read.wait()
            peer.connection.transport.resume_reading()
            async for _ in peer.connection:
                pass

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            data = ["x" * 60_000]
            for _ in range(1000):
                if not game.send("r", "blob", data):
                    break
            else:
                pytest.fail("a peer that does not read never stopped the client from writing")
            assert game.statistics().realtime_dropped == {"backpressure": 1}
            read.set()

    async def test_batches_are_cut_to_the_gateways_limits(self) -> None:
        """A batch holds at most `limits.batch` publishes, and its frame at most `limits.frame_bytes`."""
        frames: list[list[Any]] = []

        async def script(peer: Peer) -> None:
            await peer.welcome(limits={"batch": 3, "frame_bytes": 200})
            frames.extend([await peer.recv() for _ in range(3)])
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            events = [("r", "position", [seq, 1.0, 2.0, 3.0]) for seq in range(4)]
            assert game.send_batch(events[:2]) == 2
            assert game.send_batch([("r", "blob", "x" * 120), ("r", "blob", "y" * 120)]) == 2
            await game.ping()
            with pytest.raises(InvalidMessage, match="up to 200"):
                game.send("r", "blob", "x" * 500)
        assert frames[0] == ["batch", [["position", "r", [0, 1, 2, 3]], ["position", "r", [1, 1, 2, 3]]]]
        assert [len(frame[1]) for frame in frames[1:]] == [1, 1]

    async def test_tells_realtime_and_durable_apart(self) -> None:
        """The gateway's catalog says which call a type needs; the wrong one is an error and not a lost event."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(InvalidMessage, match="publish"):
                game.send("r", "chat", {"text": "hi"})
            with pytest.raises(InvalidMessage, match="send"):
                await game.publish("r", "position", [1, 2, 3, 4])

    async def test_ticks_presence_and_errors_are_yielded(self) -> None:
        """Everything that comes is a typed message; operations of a newer protocol are passed over."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.send("sparkle", 1)
            await peer.send("tick", "r", SERVER_MS, [["bob", [1, 2.0, 3.0, 4.0]], ["eve", None]])
            await peer.send("presence", "r", ["bob"], ["eve"])
            await peer.send("error", "rate_limited", "slowly", {"op": "pub", "type": "position", "room": "r"})
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            assert await next_of(game, Tick) == Tick("r", SERVER_MS, {"bob": [1, 2.0, 3.0, 4.0], "eve": None})
            assert await next_of(game, Presence) == Presence("r", ("bob",), ("eve",))
            assert await next_of(game, Error) == Error("rate_limited", "slowly", "pub", "position", "r", None)
            assert game.statistics().unknown_operations == 1


class TestToken:
    async def test_refresh(self) -> None:
        """A refreshed token is the one that the next connection says hello with; a refused one is not."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            assert await peer.recv() == ["token", "bad"]
            await peer.send("error", "bad_token", "no", {"op": "token"})
            assert await peer.recv() == ["token", "good"]
            await peer.send("token", SERVER_MS + 1000)
            await peer.bye(4010, reconnect_ms=0)

        async with ScriptedGateway(first) as gateway, client(gateway, "old") as game:
            with pytest.raises(RequestRefused, match="bad_token"):
                await game.refresh_token("bad")
            assert await game.refresh_token("good") == SERVER_MS + 1000
            assert (await next_of(game, Closed)).code == 4010

    async def test_a_token_function_is_asked_before_the_token_expires(self) -> None:
        """A long session needs no reconnect for its token."""
        refreshed = asyncio.Event()
        tokens = iter(["first", "second", "third"])

        async def script(peer: Peer) -> None:
            # Refreshed after four fifths of its life, but not more often than once a second.
            assert (await peer.welcome(expires_ms=SERVER_MS + 100))[1] == "first"
            assert await peer.recv() == ["token", "second"]
            await peer.send("token", SERVER_MS + 3_600_000)
            refreshed.set()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway, lambda: next(tokens)):
            await refreshed.wait()
        assert next(tokens) == "third"
