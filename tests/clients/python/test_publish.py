"""Durable events, against a real websocket server that plays scripted conversations."""

from __future__ import annotations

import asyncio

import pytest

from gamebus_client import (
    Ack,
    Disconnected,
    InvalidMessage,
    OutboxFull,
    OutcomeUnknown,
    PublishFailed,
    PublishRejected,
)
from tests.clients.python.driving import client
from tests.clients.scripted_gateway import Peer, ScriptedGateway, until_closed


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
