"""Connecting and reconnecting, against a real websocket server that plays scripted conversations."""

from __future__ import annotations

import pytest

from gamebus_client import (
    Closed,
    ConnectError,
    ConnectionLost,
    Disconnected,
    Error,
    Event,
    GameClient,
    HandshakeRefused,
    Joined,
    Left,
    Reconnected,
    Reconnecting,
)
from tests.clients.python.driving import NoJitter, client, next_of
from tests.clients.scripted_gateway import Peer, ScriptedGateway, until_closed


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
            async with GameClient(url, "token", connect_timeout_s=0.2, rng=NoJitter()):
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
