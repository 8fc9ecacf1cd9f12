"""Two gateway processes, one room: what a client may expect wherever it is connected."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.partitioner import Partitioner
from gamebus.delivery.topics import create_topics
from gamebus_client import Event, GameClient
from tests.integration.durable_kit import eventually
from tests.integration.gateway_kit import JSON, MSGPACK, GatewayProcess, environment, player, running, token

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


async def _logged(gateway: GatewayProcess, event: str) -> bool:
    return any(line["event"] == event for line in gateway.logs())


async def _number_placed_on(gateway: GatewayProcess, asked: GatewayProcess) -> int:
    """A number N so that `asked` places the room `placed-N` on `gateway`."""
    async with asyncio.timeout(30):
        for number in itertools.count():
            if await asyncio.to_thread(asked.place, f"placed-{number}") == gateway.url:
                return number
    raise AssertionError


def _came(sub: str, message: list[Any]) -> bool:
    return sub in message[2]


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


_READ = 'gamebus_tail_records_total{delivery="at-most-once"}'
_MOVES = 8


def _shows_last_move(room: str, tick: list[Any]) -> bool:
    return tick[1] == room and any(name == "npc" and data[0] == _MOVES for name, data in tick[3] if data)


async def _published(gateways: list[GatewayProcess], where: dict[str, list[GatewayProcess]]) -> int:
    """Records that the realtime tails read of positions in rooms, each of which has a member on the gateways given for it."""
    before = [await asyncio.to_thread(gateway.metric, _READ) for gateway in gateways]
    async with AsyncExitStack() as stack:
        members = {
            gateway: await stack.enter_async_context(player(gateway.url, _name("member"))) for gateway in gateways
        }
        server = await stack.enter_async_context(player(gateways[0].url, _name("server"), role=Role.SERVER))
        for name, homes in where.items():
            for gateway in homes:
                await members[gateway].join(name)
        for seq in range(1, _MOVES + 1):
            for name in where:
                await server.send("pub", "position", name, [seq, 1.0, 0.0, 1.0], None, "npc")
        for name, homes in where.items():
            for gateway in homes:
                await members[gateway].wait_for("tick", partial(_shows_last_move, name))
    after = [await asyncio.to_thread(gateway.metric, _READ) for gateway in gateways]
    return int(sum(after) - sum(before))


class TestPlacement:
    async def test_the_tails_read_a_third_each_where_placement_is_followed(self, pair: Pair, tmp_path: Path) -> None:
        """Three gateways: followed, they read each position once together; else each of them reads all. Both ways all arrives."""
        topic = f"{pair.settings['GAMEBUS_KAFKA__TOPIC_PREFIX']}position"
        partitioner = Partitioner({topic: 12})
        rooms = {partitioner.partition(topic, name): name for name in (f"placed-{number}" for number in range(400))}
        with running(pair.settings, tmp_path) as third:
            gateways = [pair.one, pair.other, third]
            by_url = {gateway.url: gateway for gateway in gateways}
            async with asyncio.timeout(30):
                while True:
                    answers = [
                        [await asyncio.to_thread(gateway.place, name) for name in rooms.values()]
                        for gateway in gateways
                    ]
                    if answers[0] == answers[1] == answers[2]:
                        break
            placed = {name: by_url[url] for name, url in zip(rooms.values(), answers[0], strict=True)}
            # Other partitions in each half, since a tail that comes to a partition reads what is a second old as well.
            halves = [[rooms[number] for number in range(start, 12, 2)] for start in (0, 1)]
            followed = await _published(gateways, {name: [placed[name]] for name in halves[0]})
            scattered = await _published(gateways, dict.fromkeys(halves[1], gateways))

        published = _MOVES * len(halves[0])
        assert published <= followed < 1.5 * published
        assert 3 * published <= scattered < 4.5 * published


_SPEAKERS = 6
_CHATS = 25


async def _texts(game: GameClient, count: int, halfway: asyncio.Event) -> list[str]:
    """The first chats that a client gets; `halfway` is set when a quarter of them have come."""
    texts: list[str] = []
    async for message in game:
        if isinstance(message, Event):
            texts.append(message.data["text"])
            if len(texts) == count // 4:
                halfway.set()
            if len(texts) == count:
                break
    return texts


class TestReplacement:
    async def test_every_chat_comes_once_while_a_gateway_is_replaced(
        self, pair: Pair, tmp_path: Path, room: str
    ) -> None:
        """SIGTERM while players talk: they move to another gateway, each chat is acked, and comes once to everybody wherever he
        was; the gateway ends without cutting anybody."""
        with running(pair.settings, tmp_path) as third:
            room = f"placed-{await _number_placed_on(third, pair.one)}"
            names = [_name(f"speaker{number}") for number in range(_SPEAKERS)]
            expected = sorted(f"{name} {number}" for name in names for number in range(_CHATS))
            async with asyncio.timeout(90), AsyncExitStack() as stack:
                # They know one gateway, and are sent to the one that is going to be replaced.
                speakers = [
                    await stack.enter_async_context(
                        GameClient(pair.one.url, token(name), place=room, handler=lambda _: None)
                    )
                    for name in names
                ]
                moved = await stack.enter_async_context(GameClient(pair.one.url, token(_name("moved")), place=room))
                stayed = await stack.enter_async_context(GameClient(pair.other.url, token(_name("stayed"))))
                for game in (*speakers, moved, stayed):
                    await game.join(room)
                halfway = asyncio.Event()

                async def speak(game: GameClient, name: str) -> None:
                    for number in range(_CHATS):
                        await game.chat(room, f"{name} {number}")

                async with asyncio.TaskGroup() as tasks:
                    heard = [tasks.create_task(_texts(game, len(expected), halfway)) for game in (moved, stayed)]
                    for game, name in zip(speakers, names, strict=True):
                        tasks.create_task(speak(game, name))
                    await halfway.wait()
                    third.process.send_signal(signal.SIGTERM)
                assert [sorted(texts.result()) for texts in heard] == [expected, expected]
                assert all(game.statistics().reconnects for game in (*speakers, moved))
                # What would come a second time has a place before this one.
                await speakers[0].chat(room, "the end")
                for game in (moved, stayed):
                    last = await anext(message async for message in game if isinstance(message, Event))
                    assert last.data["text"] == "the end"
            assert await asyncio.to_thread(third.process.wait, 40) == 0
            assert third.logged("gateway.drained")["cut"] == 0
            assert pair.one.place(room) != third.url


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
        """Nobody says goodbye for a gateway that is killed: its players leave when nothing was heard of them for a while, those
        who came back elsewhere do not, and its rooms are placed on the others."""
        ann, bob, cid, dan = _name("ann"), _name("bob"), _name("cid"), _name("dan")
        async with AsyncExitStack() as stack:
            third = stack.enter_context(running(pair.settings, tmp_path))
            watcher = await stack.enter_async_context(player(pair.one.url, ann, room=room))
            for name in (bob, cid):
                await stack.enter_async_context(player(third.url, name, room=room))
                await watcher.wait_for("presence", partial(_came, name))
            placed = f"placed-{await _number_placed_on(third, pair.one)}"
            third.process.kill()
            back = await stack.enter_async_context(player(pair.other.url, cid, room=room))
            async with asyncio.timeout(30):
                while await asyncio.to_thread(pair.one.place, placed) == third.url:  # noqa: ASYNC110 - Redis forgets in silence
                    await asyncio.sleep(0.1)
            # Each gateway asks Redis in its own time.
            for client in (watcher, back):
                gone = await client.wait_for("presence", lambda message: bob in message[3], patience_s=40)
                assert gone[1] == room
            for gateway in (pair.one, pair.other):
                async with player(gateway.url, dan) as late:
                    joined = await late.join(room)
                assert set(joined[2]["players"]) == {ann, cid, dan}
            assert not [message for message in watcher.of("presence") if cid in message[3]]

    async def test_workers_share_a_port(
        self, bootstrap_servers: str, redis_url: str, tmp_path: Path, room: str
    ) -> None:
        """`--workers 2` is one address with two processes behind it; a room is one across them, and one that dies is replaced."""
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
                os.kill(gateway.addresses["workers"][0]["pid"], signal.SIGKILL)
                await eventually(partial(_logged, gateway, "worker.restarted"))
                async with player(gateway.url, _name("p"), room=room) as late:
                    await late.send("pub", "chat", room, {"text": "to the living"}, "2")
                    await late.wait_for("ack")
