"""A client that asks where its room belongs."""

from __future__ import annotations

import json
import socket

import pytest

from gamebus_client import Reconnected
from gamebus_client.placement import place_url
from tests.clients.python.driving import client, next_of
from tests.clients.scripted_gateway import Peer, ScriptedGateway, until_closed


async def accept(peer: Peer) -> None:
    await peer.welcome()
    await until_closed(peer)


async def accept_and_cut(peer: Peer) -> None:
    await peer.welcome()
    peer.cut()


def named(url: str) -> tuple[int, str]:
    return 200, json.dumps({"room": "arena:1", "gateway": url})


class TestPlacement:
    async def test_connects_to_the_gateway_that_is_named(self) -> None:
        """The room's gateway is asked for before each connection, reconnects included, at the given address."""
        async with ScriptedGateway(accept_and_cut, accept) as other:
            async with ScriptedGateway(places=[named(other.url)] * 2) as given:
                async with client(given, place="arena:1") as game:
                    await next_of(game, Reconnected)
                assert given.asked == ["/place?room=arena%3A1"] * 2

    @pytest.mark.parametrize(
        "answer",
        [
            (503, "{}"),
            (404, ""),
            (200, "no json"),
            (200, "[]"),
            (200, '{"gateway": 7}'),
            (200, '{"gateway": "http://127.0.0.1/"}'),
        ],
    )
    async def test_an_answer_that_names_nobody_means_the_given_gateway(self, answer: tuple[int, str]) -> None:
        """Older gateways, faults and nonsense cost nothing but the question."""
        async with ScriptedGateway(accept, places=[answer]) as given, client(given, place="r"):
            assert len(given.asked) == 1

    async def test_a_named_gateway_that_cannot_be_reached_is_left(self) -> None:
        """The attempt after a failed one goes to the given address without asking."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            dead = f"ws://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with ScriptedGateway(accept, places=[named(dead)]) as given, client(given, place="r"):
            assert len(given.asked) == 1

    async def test_a_named_gateway_that_refuses_for_good_is_left_too(self) -> None:
        """A wrong advertised address (404) does not end the client: the given one is right."""
        async with ScriptedGateway(refusals=[(404, {})]) as wrong:
            async with ScriptedGateway(accept, places=[named(wrong.url)]) as given, client(given, place="r"):
                assert wrong.handshakes == 1

    async def test_without_a_place_nobody_is_asked(self) -> None:
        """The hint is followed by who wants to."""
        async with ScriptedGateway(accept) as given, client(given):
            assert given.asked == []

    def test_the_question_goes_where_the_gateway_is(self) -> None:
        """Same host, same security, beside the path of the websocket."""
        assert place_url("wss://game.example/eu/v1?x=y", "a/b") == "https://game.example/eu/place?room=a%2Fb"
        assert place_url("ws://[::1]:8000/v1", "r") == "http://[::1]:8000/place?room=r"
