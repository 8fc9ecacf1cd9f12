"""How messages reach the program, against a real websocket server that plays scripted conversations."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gamebus_client import (
    Closed,
    Disconnected,
    Event,
    GameClient,
    Joined,
    Message,
    Tick,
)
from tests.clients.python.driving import client, next_of
from tests.clients.scripted_gateway import SERVER_MS, Peer, ScriptedGateway, until_closed


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
