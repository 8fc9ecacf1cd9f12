"""Two gateway processes, one room: what a client may expect wherever it is connected."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gamebus.catalog import Role, parse_catalog
from gamebus.delivery.topics import create_topics
from tests.integration.gateway_kit import JSON, MSGPACK, GatewayProcess, environment, player, running

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Pair:
    """Two gateways of one game."""

    one: GatewayProcess
    other: GatewayProcess
    settings: dict[str, str]


def _settings(kafka: str, redis: str) -> dict[str, str]:
    prefix = f"t{secrets.token_hex(4)}."
    asyncio.run(create_topics(kafka, parse_catalog(topic_prefix=prefix)))
    return environment(kafka=kafka, redis=redis, prefix=prefix)


@pytest.fixture(scope="module")
def pair(bootstrap_servers: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    settings = _settings(bootstrap_servers, redis_url)
    folder = tmp_path_factory.mktemp("gateways")
    with running(settings, folder) as one, running(settings, folder) as other:
        yield Pair(one, other, settings)


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(4)}"


def _name(of: str) -> str:
    """A player that no other test uses."""
    return f"{of}-{secrets.token_hex(4)}"


def _moved(message: list[Any], sub: str) -> bool:
    return any(name == sub and data is not None for name, data in message[3])


class TestOneRoom:
    async def test_a_room_is_one_across_gateways_and_formats(self, pair: Pair, room: str) -> None:
        """A JSON client on one gateway and a msgpack client on the other see each other come, move, talk and go."""
        ann, bob = _name("ann"), _name("bob")
        async with player(pair.one.url, ann, subprotocol=JSON, room=room) as first:
            async with player(pair.other.url, bob, subprotocol=MSGPACK, room=room) as second:
                await first.wait_for("presence", lambda message: bob in message[2])
                await first.send("pub", "position", room, [1, 1.5, 0.0, 2.5])
                await second.send("pub", "position", room, [1, 3.5, 0.0, 4.5])
                await second.wait_for("tick", lambda message: _moved(message, ann))
                await first.wait_for("tick", lambda message: _moved(message, bob))
                await first.send("pub", "chat", room, {"text": "from json"}, "1")
                await second.send("pub", "chat", room, {"text": "from msgpack"}, "1")
                for client in (first, second):
                    texts = [(await client.wait_for("event"))[5]["text"] for _ in range(2)]
                    assert sorted(texts) == ["from json", "from msgpack"]
                    await client.wait_for("ack")
            await first.wait_for("presence", lambda message: bob in message[3])

    async def test_players_of_the_other_gateway_are_named_at_the_join(self, pair: Pair, room: str) -> None:
        """`joined` names everybody who is here, whichever gateway they are on."""
        ann, bob = _name("ann"), _name("bob")
        async with player(pair.one.url, ann, room=room), player(pair.other.url, bob) as second:
            await second.send("join", room)
            joined = await second.wait_for("joined")

            assert set(joined[2]["players"]) >= {ann, bob}

    async def test_an_event_sent_again_on_the_other_gateway_is_delivered_once(self, pair: Pair, room: str) -> None:
        """A publisher that lost its gateway before the ack says it again elsewhere: acked again, delivered once."""
        ann, bob = _name("ann"), _name("bob")
        async with player(pair.one.url, bob, room=room) as watcher:
            async with player(pair.one.url, ann, room=room) as before:
                await before.send("pub", "chat", room, {"text": "once"}, "e-1")
                await before.wait_for("ack")
            async with player(pair.other.url, ann, room=room) as after:
                await after.send("pub", "chat", room, {"text": "once"}, "e-1")
                await after.wait_for("ack")
                # Behind it in the same topic and partition: when this has come, the second copy has passed.
                await after.send("pub", "chat", room, {"text": "next"}, "e-2")
                await watcher.wait_for("event", lambda message: message[6] == "e-2")
        assert [message[6] for message in watcher.of("event")] == ["e-1"]

    async def test_a_cursor_is_good_on_every_gateway(self, pair: Pair, room: str) -> None:
        """Resume elsewhere brings what was missed, in order and once."""
        ann, bob = _name("ann"), _name("bob")
        async with player(pair.one.url, ann, room=room) as speaker:
            async with player(pair.one.url, bob) as before:
                cursor = (await before.join(room))[2]["cursor"]
            for number in range(3):
                await speaker.send("pub", "chat", room, {"text": "missed"}, f"m-{number}")
                await speaker.wait_for("ack")
            async with player(pair.other.url, bob, resume={room: cursor}) as after:
                joined = await after.wait_for("joined")
                assert joined[2]["recovered"] is True
                assert [(await after.wait_for("event"))[6] for _ in range(3)] == ["m-0", "m-1", "m-2"]

    async def test_the_same_player_elsewhere_replaces_the_connection(self, pair: Pair, room: str) -> None:
        """One player, one connection: the older one is closed with 4501, on whichever gateway it is."""
        ann = _name("ann")
        async with player(pair.one.url, ann, room=room) as older, player(pair.other.url, ann, room=room) as newer:
            assert await older.closed() == 4501
            await newer.ping()


class TestEnd:
    async def test_sigterm_drains_and_loses_nothing(
        self, bootstrap_servers: str, redis_url: str, tmp_path: Path, room: str
    ) -> None:
        """What was accepted is acked before `bye` 4000 and the close; each step of the shutdown is in the log."""
        settings = await asyncio.to_thread(_settings, bootstrap_servers, redis_url)
        with running(settings, tmp_path) as gateway:
            async with player(gateway.url, _name("referee"), role=Role.SERVER) as client:
                ids = [str(number) for number in range(50)]
                for id_ in ids:
                    await client.send(
                        "pub", "kill", room, {"killer": "a", "victim": "b", "weapon": "axe", "at_ms": 1}, id_
                    )
                await client.wait_for("ack")
                gateway.process.send_signal(signal.SIGTERM)
                bye = await client.wait_for("bye")
                assert bye[1] == 4000
                assert await client.closed() == 4000
                answered = {message[1] for message in client.of("ack")} | {message[1] for message in client.of("nack")}
                assert len(answered) == len(ids) - 1
            assert await asyncio.to_thread(gateway.process.wait, 40) == 0
            steps = [line["event"] for line in gateway.logs()]
        expected = ["gateway.draining", "gateway.drained", "realtime.flushed", "report.finished", "durable.flushed"]
        assert [step for step in steps if step in (*expected, "gateway.stopped")] == [*expected, "gateway.stopped"]

    async def test_players_of_a_killed_gateway_are_reported_gone(self, pair: Pair, tmp_path: Path, room: str) -> None:
        """Nobody says goodbye for a gateway that is killed: its players leave when nothing was heard of them for a while."""
        ann, bob = _name("ann"), _name("bob")
        async with AsyncExitStack() as stack:
            third = stack.enter_context(running(pair.settings, tmp_path))
            watcher = await stack.enter_async_context(player(pair.one.url, ann, room=room))
            victim = await stack.enter_async_context(player(third.url, bob, room=room))
            await watcher.wait_for("presence", lambda message: bob in message[2])
            third.process.kill()
            await victim.closed()
            gone = await watcher.wait_for("presence", lambda message: bob in message[3], patience_s=40)

            assert gone[1] == room

    async def test_workers_share_a_port(
        self, bootstrap_servers: str, redis_url: str, tmp_path: Path, room: str
    ) -> None:
        """`--workers 2` is one address with two processes behind it; a room is one across them."""
        settings = await asyncio.to_thread(_settings, bootstrap_servers, redis_url)
        with running(settings, tmp_path, "--workers", "2") as gateway:
            assert len(gateway.addresses["boots"]) == 2
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(player(gateway.url, _name("p"), room=room)) for _ in range(8)
                ]
                await clients[0].send("pub", "chat", room, {"text": "to all workers"}, "1")
                for client in clients:
                    assert (await client.wait_for("event"))[6] == "1"
