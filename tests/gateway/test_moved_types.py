"""Sessions whose type has another class than they were told: over real sockets, with the bus in the test's hands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from gamebus.catalog import DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.errors import DeliveryError, OutcomeUnknown, PublishFailed
from gamebus.gateway.session_driver import MAX_IN_FLIGHT
from gamebus.generations import Log, Step, overlay
from gamebus.migration.plan import begin
from tests.gateway.server_kit import Client, Harness, serving, token

BASE = parse_catalog("""
[types.step]
delivery = "at-most-once"
topic = "g.step"
rationale = "the next one comes soon"
per_second = 5000
[types.loot]
delivery = "at-least-once"
topic = "g.loot"
""")


def switch(harness: Harness, name: str, to: DeliveryClass) -> None:
    """What the gateway does at a switch."""
    rationale = "it respawns anyway" if to is DeliveryClass.AT_MOST_ONCE else None
    log = Log().take(begin(BASE, Log(), name, to, rationale=rationale, now_ms=1))
    log = log.take(log.next(log.migrations[name], Step.SWITCH, now_ms=2))
    harness.catalog = overlay(BASE, log)
    harness.server.follow(harness.catalog)
    if to is DeliveryClass.AT_LEAST_ONCE:
        harness.realtime.moved.add(name)
    else:
        harness.durable.refuse_with = PublishFailed("unavailable", "topic g.loot takes no more events", retry_ms=1000)


@contextlib.asynccontextmanager
async def playing(harness: Harness, sub: str = "ann") -> AsyncIterator[tuple[Client, str, dict[str, str]]]:
    """A client in a room, its session and the types that it was told."""
    async with harness.connect() as websocket:
        client = Client(websocket)
        await client.send("hello", token(sub))
        _, session, _, info = await client.receive()
        await client.send("join", "hall")
        await client.receive()
        yield client, session, info["types"]


async def taken(client: Client) -> None:
    """Return when everything sent before was taken; there was no answer to it."""
    await client.send("ping", "mark")
    assert (await client.receive())[:2] == ["pong", "mark"]


class TestToAtLeastOnce:
    async def test_an_old_session_goes_on_without_ids(self) -> None:
        """Its events go where the type is now, each under an id of its own; no `ack` is sent, as none was promised."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, session, types):
            assert types["step"] == "at-most-once"
            await client.send("pub", "step", "hall", 1)
            await taken(client)
            switch(harness, "step", DeliveryClass.AT_LEAST_ONCE)
            await client.send("pub", "step", "hall", 2)
            await client.send("batch", [["step", "hall", 3], ["position", "hall", [1, 0, 0, 0]]])
            await taken(client)
            for _ in range(2):
                harness.durable.written(harness.durable.waiting.get_nowait())
            await taken(client)

        assert harness.realtime.published == [("step", "hall", "ann", 1), ("position", "hall", "ann", [1, 0, 0, 0])]
        found = [(topic, record.publisher, record.id, record.data) for topic, record in harness.durable.published]
        topic = "g.step.at-least-once"
        assert found == [(topic, "ann", f"{session}.1", 2), (topic, "ann", f"{session}.2", 3)]

    async def test_a_new_session_needs_ids(self) -> None:
        """`welcome` says so."""
        async with serving(catalog=BASE) as harness:
            switch(harness, "step", DeliveryClass.AT_LEAST_ONCE)
            async with playing(harness) as (client, _, types):
                assert types["step"] == "at-least-once"
                await client.send("pub", "step", "hall", 1)
                assert (await client.receive())[:2] == ["error", "bad_request"]
                await client.send("pub", "step", "hall", 1, "id")
                await taken(client)
                harness.durable.written(harness.durable.waiting.get_nowait())
                assert (await client.receive())[:2] == ["ack", "id"]

    async def test_a_refusal_is_an_error(self) -> None:
        """What is refused at once: code and what it was about."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, _, _types):
            switch(harness, "step", DeliveryClass.AT_LEAST_ONCE)
            harness.durable.refuse_with = PublishFailed("overloaded", "full", retry_ms=1000)
            await client.send("pub", "step", "hall", 1)

            about = {"op": "pub", "type": "step", "room": "hall"}
            assert await client.receive() == ["error", "overloaded", "full", about]

    @pytest.mark.parametrize(
        ("outcome", "code"),
        [
            (PublishFailed("unavailable", "no broker", retry_ms=500), "unavailable"),
            (OutcomeUnknown("lost sight of it"), "unknown_outcome"),
        ],
    )
    async def test_so_is_a_failure(self, outcome: DeliveryError, code: str) -> None:
        """What fails later, or may have."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, _, _types):
            switch(harness, "step", DeliveryClass.AT_LEAST_ONCE)
            await client.send("pub", "step", "hall", 1)
            (await harness.durable.waiting.get()).set_exception(outcome)

            assert (await client.receive())[:3] == ["error", code, str(outcome)]

    async def test_it_is_held_back_like_any_durable_publisher(self) -> None:
        """Nothing is unbounded: with too many undecided events the gateway reads no more until half are."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, _, _types):
            switch(harness, "step", DeliveryClass.AT_LEAST_ONCE)
            for number in range(MAX_IN_FLIGHT + 1):
                await client.send("pub", "step", "hall", number)
            waiting = [await harness.durable.waiting.get() for _ in range(MAX_IN_FLIGHT)]
            for outcome in waiting:
                harness.durable.written(outcome)
            harness.durable.written(await harness.durable.waiting.get())
            await taken(client)

        assert [record.data for _, record in harness.durable.published] == list(range(MAX_IN_FLIGHT + 1))


class TestToAtMostOnce:
    async def test_an_old_session_is_sent_to_learn_the_class(self) -> None:
        """What was accepted before is acked first; then `nack unavailable`, `bye` and 4000."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, _, _types):
            await client.send("pub", "loot", "hall", 1, "before")
            await taken(client)
            switch(harness, "loot", DeliveryClass.AT_MOST_ONCE)
            await client.send("pub", "loot", "hall", 2, "after")
            assert (await client.receive())[:3] == ["nack", "after", "unavailable"]
            harness.durable.written(harness.durable.waiting.get_nowait())
            code, received = await client.closed()

        assert code == 4000
        assert [message[:2] for message in received] == [["ack", "before"], ["bye", 4000]]
        assert "loot has another delivery class now" in received[1][2]

    async def test_other_refusals_send_nobody_away(self) -> None:
        """A type that stays where it is may be refused for other reasons."""
        async with serving(catalog=BASE) as harness, playing(harness) as (client, _, _types):
            switch(harness, "loot", DeliveryClass.AT_MOST_ONCE)
            await client.send("pub", "chat", "hall", {"text": "hi"}, "id")
            assert (await client.receive())[:3] == ["nack", "id", "unavailable"]
            await taken(client)
