"""The client against a real websocket server that plays scripted conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

import pytest

from gamebus_client import (
    Ack,
    Closed,
    ConnectError,
    ConnectionLost,
    Disconnected,
    Error,
    Event,
    GameClient,
    HandshakeRefused,
    InvalidMessage,
    Joined,
    Left,
    Message,
    OutboxFull,
    OutcomeUnknown,
    Presence,
    PublishFailed,
    PublishRejected,
    Reconnected,
    Reconnecting,
    RequestRefused,
    RequestTimedOut,
    Tick,
)
from tests.clients.scripted_gateway import PATIENCE_S, SERVER_MS, Peer, ScriptedGateway, until_closed

M = TypeVar("M", bound=Message)


class FirstAttemptAtOnce(Random):
    """No jitter: reconnects follow at once, so tests wait for events and not for the clock."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


def client(gateway: ScriptedGateway, token: Any = "token", **options: Any) -> GameClient:
    return GameClient(gateway.url, token, rng=FirstAttemptAtOnce(), **options)


async def next_of(game: GameClient, kind: type[M], check: Callable[[M], bool] = lambda _: True) -> M:
    """The next message of a kind; others before it are passed over."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in game:
            if isinstance(message, kind) and check(message):
                return message
    raise AssertionError(f"no {kind.__name__} came")


class TestConnecting:
    @pytest.mark.parametrize("encoding", ["msgpack", "json"])
    async def test_says_hello_and_learns_who_it_is(self, encoding: str) -> None:
        """The first message is hello with the token; the welcome names player and session, in both encodings."""

        async def script(peer: Peer) -> None:
            hello = await peer.welcome(player="alice")
            assert hello[1] == "token"
            assert hello[2]["client"].startswith("gamebus-client/")
            assert "resume" not in hello[2]
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway, encoding=encoding) as game:
            assert (game.player, game.session, game.connected) == ("alice", "session-1", True)

    async def test_adds_the_path(self) -> None:
        """A URL without a path means the gateway's only path."""

        async def script(peer: Peer) -> None:
            assert peer.connection.request is not None
            assert peer.connection.request.path == "/v1"
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, GameClient(gateway.url.removesuffix("/v1"), "token"):
            pass

    def test_refuses_a_url_that_is_no_websocket(self) -> None:
        """A wrong URL is named before anything is dialled."""
        with pytest.raises(ValueError, match="http://localhost"):
            GameClient("http://localhost", "token")

    @pytest.mark.parametrize("status", [400, 403, 404, 426])
    async def test_a_refused_handshake_is_terminal(self, status: int) -> None:
        """HTTP refusals that another attempt cannot mend end at once with their status."""
        async with ScriptedGateway(refusals=[(status, {})]) as gateway:
            with pytest.raises(HandshakeRefused, match=f"HTTP {status}") as caught:
                async with client(gateway):
                    pass
            assert caught.value.status == status
            assert gateway.handshakes == 1

    async def test_a_full_gateway_is_tried_again(self) -> None:
        """HTTP 503 means later: the client comes back after Retry-After."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await until_closed(peer)

        refusals = [(503, {"Retry-After": "0"})] * 2
        async with ScriptedGateway(script, refusals=refusals) as gateway, client(gateway):
            assert gateway.handshakes == 3

    async def test_gives_up_when_nobody_listens(self) -> None:
        """Entering ends with an error that chains the reason, not with an endless wait."""
        async with ScriptedGateway() as gateway:
            url = gateway.url
        with pytest.raises(ConnectError, match="within") as caught:
            async with GameClient(url, "token", connect_timeout_s=0.2, rng=FirstAttemptAtOnce()):
                pass
        assert isinstance(caught.value.__cause__, ConnectError)

    @pytest.mark.parametrize("code", [4500, 4501, 4502, 4503, 4504])
    async def test_a_terminal_code_before_welcome_is_raised(self, code: int) -> None:
        """A bad token is an error of entering, with the gateway's code and words."""

        async def script(peer: Peer) -> None:
            await peer.recv()
            await peer.bye(code, reconnect_ms=None)

        async with ScriptedGateway(script) as gateway:
            with pytest.raises(Disconnected, match="because") as caught:
                async with client(gateway):
                    pass
        assert caught.value.code == code

    async def test_a_token_function_is_asked_before_every_connection(self) -> None:
        """After 4010 the client comes back with a fresh token."""
        tokens = iter(["old", "new"])

        async def expired(peer: Peer) -> None:
            assert (await peer.recv())[1] == "old"
            await peer.bye(4010, reconnect_ms=0)

        async def script(peer: Peer) -> None:
            assert (await peer.welcome())[1] == "new"
            await until_closed(peer)

        async def provider() -> str:
            return next(tokens)

        async with ScriptedGateway(expired, script) as gateway, client(gateway, provider):
            pass

    async def test_an_expired_fixed_token_is_terminal(self) -> None:
        """Without a token function 4010 would repeat for ever; the error says what to do."""

        async def script(peer: Peer) -> None:
            await peer.recv()
            await peer.bye(4010, reconnect_ms=0)

        async with ScriptedGateway(script) as gateway:
            with pytest.raises(Disconnected, match="give a function as token"):
                async with client(gateway):
                    pass

    async def test_what_the_token_function_raises_comes_out(self) -> None:
        """A bug in the program's own function is not swallowed."""

        def provider() -> str:
            raise KeyError("no such account")

        async with ScriptedGateway() as gateway:
            with pytest.raises(KeyError, match="no such account"):
                async with client(gateway, provider):
                    pass


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


class TestDurable:
    async def test_publish_awaits_its_ack(self) -> None:
        """chat, kill and death return the gateway's ack, and what they send is what the protocol says."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            for expected in (
                ["pub", "chat", "r", {"text": "hi"}, "a"],
                [
                    "pub",
                    "kill",
                    "r",
                    {
                        "killer": "k",
                        "victim": "v",
                        "weapon": "axe",
                        "at_ms": 5,
                        "x": 1,
                        "y": 2,
                        "z": 3,
                        "assists": ["b"],
                    },
                    "b",
                ],
                ["pub", "death", "r", {"victim": "v", "cause": "axe", "at_ms": 5}, "c"],
                ["pub", "score", "r", [1], "d", "bob"],
            ):
                assert await peer.recv() == expected
                await peer.send("ack", expected[4], f"cursor-{expected[4]}")
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            assert await game.chat("r", "hi", id="a") == Ack("a", "cursor-a")
            await game.kill("r", killer="k", victim="v", weapon="axe", at_ms=5, place=(1, 2, 3), assists=["b"], id="b")
            await game.death("r", victim="v", cause="axe", at_ms=5, id="c")
            await game.publish("r", "score", [1], id="d", player="bob")
            assert game.statistics().acked == 4

    async def test_a_final_nack_raises(self) -> None:
        """`retry_ms` null: refused for good, with the gateway's code."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await peer.send("nack", "a", "bad_data", "chat.text is a string", None)
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(PublishRejected, match=r"chat\.text") as caught:
                await game.chat("r", "x", id="a")
            assert (caught.value.code, caught.value.id) == ("bad_data", "a")

    async def test_a_nack_that_passes_is_tried_again_under_the_same_id(self) -> None:
        """`retry_ms`: the same event goes out again, and the caller only sees the ack."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            first = await peer.recv()
            await peer.send("nack", "a", "unavailable", "no broker", 1)
            assert await peer.recv() == first
            await peer.send("nack", "a", "unknown_outcome", "lost sight of it", 1)
            assert await peer.recv() == first
            await peer.send("ack", "a", "c1")
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            assert await game.chat("r", "hi", id="a") == Ack("a", "c1", attempts=3)

    async def test_surely_unwritten_at_the_deadline_is_failed(self) -> None:
        """A nack whose retry lies past the deadline ends as failed: publishing again cannot double it."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await peer.send("nack", "a", "unavailable", "no broker", 60_000)
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(PublishFailed, match="no broker"):
                await game.chat("r", "hi", id="a")

    async def test_silence_is_an_unknown_outcome(self) -> None:
        """An event that was sent and never answered may have been written."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(OutcomeUnknown):
                await game.publish("r", "chat", {"text": "hi"}, timeout_s=0.05)

    async def test_unacknowledged_events_are_sent_again_in_order(self) -> None:
        """After a reconnect the same ids follow in the same order, once the room is joined again."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r", cursor="c0")
            for text in "abc":
                assert await peer.recv() == ["pub", "chat", "r", {"text": text}, text]
            await peer.send("ack", "a", "c1")
            peer.cut()

        async def second(peer: Peer) -> None:
            hello = await peer.welcome()
            assert hello[2]["resume"] == {"r": "c0"}
            await peer.joined("r", cursor="c0", recovered=True)
            assert await peer.recv() == ["pub", "chat", "r", {"text": "b"}, "b"]
            assert await peer.recv() == ["pub", "chat", "r", {"text": "c"}, "c"]
            await peer.send("ack", "b", "c2")
            await peer.send("ack", "c", "c3")
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await game.join("r")
            acks = await asyncio.gather(*(game.chat("r", text, id=text) for text in "abc"))
            assert [ack.cursor for ack in acks] == ["c1", "c2", "c3"]
            assert game.statistics().reconnects == 1

    async def test_the_outbox_is_bounded(self) -> None:
        """Past the bound new events are refused and the ones taken are kept."""
        full = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await peer.recv()
            await full.wait()
            await peer.send("ack", "a", "c1")
            await peer.send("ack", "b", "c2")
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway, outbox_events=2) as game:
            async with asyncio.TaskGroup() as tasks:
                kept = [tasks.create_task(game.chat("r", "hi", id=name)) for name in "ab"]
                await asyncio.sleep(0)
                with pytest.raises(OutboxFull):
                    await game.chat("r", "hi", id="c")
                full.set()
            assert [task.result().id for task in kept] == ["a", "b"]

    async def test_what_cannot_be_encoded_is_refused_at_once(self) -> None:
        """Values that no frame can carry raise at the call, not on the connection."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(InvalidMessage, match="cannot be sent"):
                await game.publish("r", "chat", {"text": object()})
            with pytest.raises(InvalidMessage, match="cannot be sent"):
                await game.chat("r", "\ud800")

    async def test_leaving_ends_what_waits(self) -> None:
        """Closing the client never leaves a publish hanging, and tells what is known of it."""
        sent = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            sent.set()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway:
            async with client(gateway) as game:
                waiting = asyncio.create_task(game.chat("r", "hi"))
                await sent.wait()
            with pytest.raises(OutcomeUnknown):
                await waiting
            with pytest.raises(Disconnected):
                await game.chat("r", "hi")


class TestReconnecting:
    @pytest.mark.parametrize("code", [4000, 4001, 4002, 4003, 4004, 1001, 1011, 1012, None])
    async def test_comes_back_with_its_rooms(self, code: int | None) -> None:
        """Codes 4000-4499 and transport losses: reconnect and resume from the last event that was delivered."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r", cursor="c0")
            await peer.event("r", "c1")
            if code is None:
                peer.cut()
            elif code < 4000:
                await peer.connection.close(code)
            else:
                await peer.bye(code, reconnect_ms=0)

        async def second(peer: Peer) -> None:
            assert (await peer.welcome())[2]["resume"] == {"r": "c1"}
            await peer.joined("r", cursor="c1", recovered=True)
            await peer.event("r", "c2")
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await game.join("r")
            assert (await next_of(game, Event)).cursor == "c1"
            assert (await next_of(game, Reconnecting)).code == (1006 if code is None else code)
            assert (await next_of(game, Joined)).recovered is True
            assert (await next_of(game, Event)).cursor == "c2"

    async def test_the_gateways_pause_is_kept(self) -> None:
        """`reconnect_ms` of the bye is the least delay, also when the close frame itself is lost."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.send("bye", 4000, "restarting", 40)
            peer.connection.transport.write_eof()

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            message = await next_of(game, Reconnecting)
            assert message == Reconnecting(1, 0.04, 4000, "restarting")
            await next_of(game, Reconnected)

    async def test_a_terminal_code_ends_the_iteration(self) -> None:
        """4500-4999: `Closed` is the last message, waiting calls fail, and nothing is dialled again."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            await peer.bye(4501, reconnect_ms=None)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            with pytest.raises(Disconnected, match="4501"):
                await game.ping()
            assert [message async for message in game] == [Closed(4501, "because")]
            assert game.closed == Closed(4501, "because")
            assert gateway.handshakes == 1

    async def test_events_that_a_resume_repeats_are_dropped(self) -> None:
        """The program sees an event once, also when a resume brings it again."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r", cursor="c0")
            await peer.event("r", "c1")
            await peer.event("r", "c2")
            peer.cut()

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await peer.joined("r", cursor="c2", recovered=True)
            await peer.event("r", "c2")
            await peer.event("r", "c3")
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await game.join("r")
            assert [(await next_of(game, Event)).cursor for _ in range(3)] == ["c1", "c2", "c3"]
            assert game.statistics().duplicates_dropped == 1

    async def test_a_failed_recovery_is_told(self) -> None:
        """`recovered` false: events are lost to this client, and it goes on from the room's head."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r", cursor="c0")
            peer.cut()

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await peer.joined("r", cursor="c90", recovered=False)
            peer.cut()

        async def third(peer: Peer) -> None:
            assert (await peer.welcome())[2]["resume"] == {"r": "c90"}
            await until_closed(peer)

        async with ScriptedGateway(first, second, third) as gateway, client(gateway) as game:
            await game.join("r")
            assert (await next_of(game, Joined, lambda joined: joined.recovered is not None)).recovered is False
            await next_of(game, Reconnected)

    async def test_a_room_refused_on_resume_is_told(self) -> None:
        """A token that no longer allows a room: an error and `Left`, and the other rooms stay."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r")
            await peer.admit("s")
            peer.cut()

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await peer.send("error", "forbidden", "not any more", {"op": "hello", "room": "r"})
            await peer.joined("s", recovered=True)
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            await game.join("r")
            await game.join("s")
            assert (await next_of(game, Error)).room == "r"
            assert await next_of(game, Left) == Left("r")
            assert (await next_of(game, Joined)).room == "s"

    @pytest.mark.parametrize("garbage", [b"\xc1", b"\x93\xa4tick", b"\x01", "[]", b"\x91\xa4tick", b"\x90"])
    async def test_garbage_costs_one_connection(self, garbage: bytes | str) -> None:
        """A frame that is not a message closes the connection with 1002; the client comes back."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.raw(garbage)
            assert await peer.closed() == 1002

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            assert (await next_of(game, Reconnecting)).code == 1002
            await next_of(game, Reconnected)

    async def test_a_ping_does_not_outlive_its_connection(self) -> None:
        """A round trip over two connections would measure nothing."""

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.recv()
            peer.cut()

        async def second(peer: Peer) -> None:
            await peer.welcome()
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway) as game:
            with pytest.raises(ConnectionLost):
                await game.ping()
            await next_of(game, Reconnected)
            assert await game.ping() > 0


class TestSlowProgram:
    async def test_ticks_are_merged_and_events_wait(self) -> None:
        """A program that looks away finds one tick per room with everybody's newest position, and every event."""

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r")
            await peer.send("tick", "r", SERVER_MS, [["a", [1, 1.0, 1.0, 1.0]], ["b", [1, 5.0, 5.0, 5.0]]])
            await peer.event("r", "c1")
            await peer.send("tick", "r", SERVER_MS + 50, [["a", [2, 2.0, 2.0, 2.0]]])
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway) as game:
            await game.join("r")
            await game.ping()
            await next_of(game, Joined)
            assert await next_of(game, Tick) == Tick("r", SERVER_MS + 50, {"a": [2, 2, 2, 2], "b": [1, 5, 5, 5]})
            assert (await next_of(game, Event)).cursor == "c1"
            assert game.statistics().ticks_merged == 1

    async def test_past_the_bound_it_resumes_later_and_misses_nothing(self) -> None:
        """Events are never dropped: the connection is closed, and resumed from the last event that was kept."""
        overflowed = asyncio.Event()

        async def first(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r", cursor="c0")
            for number in range(1, 6):
                await peer.event("r", f"c{number}")
            assert await peer.closed() == 1013
            overflowed.set()

        async def second(peer: Peer) -> None:
            # Joined and three events fitted in.
            assert (await peer.welcome())[2]["resume"] == {"r": "c3"}
            await peer.joined("r", cursor="c3", recovered=True)
            await peer.event("r", "c4")
            await peer.event("r", "c5")
            await until_closed(peer)

        async with ScriptedGateway(first, second) as gateway, client(gateway, inbox_messages=4) as game:
            await game.join("r")
            await overflowed.wait()
            assert [(await next_of(game, Event)).cursor for _ in range(5)] == ["c1", "c2", "c3", "c4", "c5"]


async def enter_and_ping(game: GameClient) -> None:
    async with game:
        with suppress(Disconnected):
            await game.ping()


class TestHandler:
    async def test_gets_every_message_in_order(self) -> None:
        """A handler is called in the read loop, in place of iteration."""
        seen: list[Message] = []

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.admit("r")
            await peer.event("r", "c1")
            await peer.pong()
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway, client(gateway, handler=seen.append) as game:
            await game.join("r")
            await game.ping()
        assert [type(message) for message in seen] == [Joined, Event, Closed]

    async def test_its_exception_ends_the_client(self) -> None:
        """A bug in the handler is raised where the client was entered."""

        def handler(message: Message) -> None:
            raise LookupError("bug")

        async def script(peer: Peer) -> None:
            await peer.welcome()
            await peer.event("r", "c1")
            await until_closed(peer)

        async with ScriptedGateway(script) as gateway:
            game = client(gateway, handler=handler)
            with pytest.raises(LookupError, match="bug"):
                await enter_and_ping(game)


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
