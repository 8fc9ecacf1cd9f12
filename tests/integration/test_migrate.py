"""`gamebus migrate` with clients publishing throughout: two gateways, processors, real Kafka and Redis.

Every test has an event type of its own, so that they share the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gamebus.catalog import Catalog
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.generation_log import current_catalog
from gamebus.delivery.topics import create_topics, list_topics, topic_exists
from gamebus.errors import CatalogError
from gamebus.record import decode_durable, decode_realtime
from gamebus.state.events import EventState
from tests.integration.command_kit import Result, gamebus
from tests.integration.durable_kit import eventually, read_all, redis
from tests.integration.gateway_kit import (
    Client,
    GatewayProcess,
    connected,
    environment,
    player,
    running,
    token,
)

pytestmark = pytest.mark.timeout(180)

REALTIME = ("step", "killed", "undone", "held", "gift")
DURABLE = ("loot",)
LIVE_S = "60"
"""How long a command may wait for others; no assertion is about time."""


@dataclass(frozen=True)
class World:
    """Everything that runs, and how to reach it."""

    settings: dict[str, str]
    catalog: Catalog
    prefix: str
    gateways: Sequence[GatewayProcess]
    folder: Path

    @property
    def kafka(self) -> str:
        return self.settings["GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"]

    async def migrate(self, *arguments: str, **settings: str) -> Result:
        return await gamebus(self.settings | settings, "migrate", *arguments, "--yes", "--json", "--timeout", LIVE_S)

    async def realtime(self, topic: str) -> list[Any]:
        """What is in a topic, all of it records of at-most-once events."""
        return [decode_realtime(record.value) for record in await self._records(topic)]

    async def durable(self, topic: str) -> list[Any]:
        """What is in a topic, all of it records of at-least-once events."""
        return [decode_durable(record.value) for record in await self._records(topic)]

    async def _records(self, topic: str) -> list[Any]:
        return [record for records in (await read_all(self.kafka, topic)).values() for record in records]


def catalog_file(prefix: str) -> str:
    own = [
        f'[types.{name}]\ndelivery = "at-most-once"\ntopic = "{prefix}{name}"\nper_second = 2000\n'
        'rationale = "the next one comes soon"\n'
        for name in REALTIME
    ]
    own += [
        f'[types.{name}]\ndelivery = "at-least-once"\ntopic = "{prefix}{name}"\nper_second = 2000\n' for name in DURABLE
    ]
    kinds = ("position", "heartbeat", "combat", "chat", "reports", "dlq", *REALTIME, *DURABLE)
    return "".join(own) + "".join(f'[topics."{prefix}{kind}"]\npartitions = 2\n' for kind in kinds)


@pytest.fixture(scope="module")
def world(bootstrap_servers: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    prefix = f"t{secrets.token_hex(4)}."
    folder = tmp_path_factory.mktemp("migrate")
    file = folder / "gamebus.toml"
    file.write_text(catalog_file(prefix))
    catalog = parse_catalog(file.read_text(), topic_prefix=prefix)
    asyncio.run(create_topics(bootstrap_servers, catalog))
    settings = environment(kafka=bootstrap_servers, redis=redis_url, prefix=prefix, history_ms=1) | {
        "GAMEBUS_CATALOG": str(file),
        "GAMEBUS_KAFKA__GROUP_PREFIX": prefix,
    }
    command = ("processor", "all")
    with (
        running(settings, folder) as one,
        running(settings, folder) as two,
        running(settings, folder, command=command),
    ):
        yield World(settings, catalog, prefix, (one, two), folder)


@dataclass
class Ledger:
    """What the clients published, and what became of it as far as they were told."""

    published: list[int] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def keep_publishing(self, client: Client, type_: str, room: str) -> None:
        """As an old session of an at-most-once type: no ids, for ever."""
        while True:
            await self.burst(client, type_, room)

    async def burst(self, client: Client, type_: str, room: str) -> None:
        for number in itertools.islice(self.numbers, 5):
            await client.send("pub", type_, room, {"n": number})
            self.published.append(number)
        # Until the gateway has taken them: a join is answered each time, in its turn.
        await client.join(room)
        # A pace, not a wait.
        await asyncio.sleep(0.1)

    async def keep_coming(self, url: str, sub: str, type_: str, room: str) -> None:
        """As new sessions, one after the other, that do as `welcome` says."""
        for turn in itertools.count():
            async with opened(url, f"{sub}-{turn}", room) as (client, types):
                if types[type_] == "at-most-once":
                    await self.burst(client, type_, room)
                    continue
                for number in itertools.islice(self.numbers, 5):
                    await client.send("pub", type_, room, {"n": number}, f"n-{number}")
                    self.published.append(number)
                    await client.wait_for("ack")
                    self.acked.append(number)
                await asyncio.sleep(0.1)


@asynccontextmanager
async def opened(url: str, sub: str, room: str) -> AsyncIterator[tuple[Client, dict[str, str]]]:
    async with connected(url) as client:
        await client.send("hello", token(sub))
        welcome = await client.wait_for("welcome")
        await client.join(room)
        yield client, welcome[3]["types"]


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


class TestForward:
    async def test_nothing_is_lost_or_doubled_while_clients_publish(self, world: World) -> None:
        """Old sessions on two gateways and new sessions publish throughout: every event is in one of the two topics, once; no
        topic holds both classes; those of the old one are in the ledger, those of the new one have their effect; a client in the
        room sees each of these once. Then the old topic is retired, and nobody notices."""
        old, new = f"{world.prefix}step", f"{world.prefix}step.at-least-once"
        ledger = Ledger()
        one, two = (gateway.url for gateway in world.gateways)
        async with (
            player(one, "ann", room="hall") as ann,
            player(two, "bob", room="hall") as bob,
            player(two, "eve", room="hall") as eve,
        ):
            publishing = [
                asyncio.create_task(ledger.keep_publishing(ann, "step", "hall")),
                asyncio.create_task(ledger.keep_publishing(bob, "step", "hall")),
                asyncio.create_task(ledger.keep_coming(one, "cid", "step", "hall")),
            ]
            outcome = (await world.migrate("step", "--to", "at-least-once")).json
            # Until new sessions have published by the new class.
            await eventually(lambda: _true(bool(ledger.acked)))
            before = await world.realtime(old)
            assert "are not read by `gamebus processor realtime`" in await self._retired_unread(world)
            retired = (await world.migrate("step", "--retire")).json
            await ledger.burst(eve, "step", "hall")
            await _cancelled(*publishing)
            in_the_old = [record.data["n"] for record in before]
            await eventually(lambda: _holds_all(world, new, ledger, in_the_old))
            after = await world.durable(new)

            counts = Counter(in_the_old + [record.data["n"] for record in after])
            assert set(counts.values()) == {1}
            assert set(counts) >= set(ledger.published)
            assert {record.type for record in (*before, *after)} == {"step"}
            assert set(ledger.acked) <= {record.data["n"] for record in after}
            await eventually(lambda: _true(len(eve.of("event")) >= len(after)))
            assert Counter(event[5]["n"] for event in eve.of("event")) == Counter(record.data["n"] for record in after)
            assert not [*ann.of("error"), *bob.of("error"), *ann.of("ack")]

        assert outcome["old"] | {"topic": old} == outcome["old"]
        assert (outcome["old"]["attempted"], outcome["old"]["processed"]) == (len(before), len(before))
        assert outcome["warnings"] == []
        assert (retired["step"], retired["old"]["exists"]) == ("retire", False)
        assert not await topic_exists(world.kafka, old)
        async with redis(world.settings["GAMEBUS_REDIS__URL"], f"{world.prefix}:") as connection:
            newest = max(record.data["n"] for record in after)
            written = {record.data["n"] for record in after}

            async def holds_the_newest() -> bool:
                events = {event.data["n"] for event in await EventState(connection).read("hall", "step")}
                assert events <= written
                return newest in events

            # A client may be told of an event before its effect.
            await eventually(holds_the_newest)
        await self._the_file_may_follow(world)

    async def _retired_unread(self, world: World) -> str:
        """What is said where the processors have read nothing of the old topic: here those of another group."""
        nobody = {"GAMEBUS_KAFKA__GROUP_PREFIX": "nobody."}
        refused = await gamebus(world.settings | nobody, "migrate", "step", "--retire", "--yes", "--timeout", "1")
        assert refused.code == 1
        return refused.errors

    async def _the_file_may_follow(self, world: World) -> None:
        """A process begins with the file that knows nothing of it and with the one that was edited; a file that says a third thing
        is refused, as is one that takes the topic for another class."""
        text = catalog_file(world.prefix)
        section = text[text.index("[types.step]") : text.index("[types.killed]")]
        edited = f'[types.step]\ndelivery = "at-least-once"\ntopic = "{world.prefix}step.at-least-once"\n'
        topics = f'[topics."{world.prefix}step"]\npartitions = 2\n'
        for file in (text, text.replace(section, edited).replace(topics, "")):
            catalog = await self._read(world, file)
            assert catalog.types["step"].topic == f"{world.prefix}step.at-least-once"
            assert catalog.topics[catalog.types["step"].topic].partitions == 2
            assert f"{world.prefix}step" not in catalog.topics
        with pytest.raises(CatalogError, match="change either with `gamebus migrate` only"):
            await self._read(world, text.replace(f'"{world.prefix}step"', f'"{world.prefix}walk"'))
        mixed = text.replace(f'topic = "{world.prefix}gift"', f'topic = "{world.prefix}step.at-least-once"')
        with pytest.raises(CatalogError, match="would carry two delivery classes"):
            await self._read(world, mixed.replace(f'[topics."{world.prefix}gift"]\npartitions = 2\n', ""))

    async def _read(self, world: World, text: str) -> Catalog:
        return await current_catalog(world.kafka, parse_catalog(text, topic_prefix=world.prefix))


class TestInterrupted:
    async def test_killed_at_every_step_it_goes_on(self, world: World) -> None:
        """SIGKILL of the command after each of its steps; the same command ends what was begun, and loses and doubles nothing."""
        old, new = f"{world.prefix}killed", f"{world.prefix}killed.at-least-once"
        ledger = Ledger()
        async with player(world.gateways[0].url, "dan", room="hall") as dan:
            publishing = asyncio.create_task(ledger.keep_publishing(dan, "killed", "hall"))
            for step in ("created", "prepare is", "switch is", "finish is"):
                await _kill_after(world, step, "killed", "--to", "at-least-once")
            outcome = (await world.migrate("killed", "--to", "at-least-once")).json
            await _kill_after(world, "retire is", "killed", "--retire")
            before = await world.realtime(old) if await topic_exists(world.kafka, old) else None
            retired = await world.migrate("killed", "--retire")
            await ledger.burst(dan, "killed", "hall") if publishing.done() else None
            await _cancelled(publishing)
            await eventually(lambda: _total(world, new, ledger, outcome["old"]["attempted"]))

            after = Counter(record.data["n"] for record in await world.durable(new))
            assert set(after.values()) == {1}
            assert outcome["old"]["attempted"] == outcome["old"]["processed"]
            assert len(after) + outcome["old"]["processed"] >= len(ledger.published)
            if before is not None:
                assert not set(after) & {record.data["n"] for record in before}
                assert retired.code == 0
            assert not await topic_exists(world.kafka, old)
            assert outcome["step"] == "finish"


class TestRollback:
    async def test_before_the_switch_it_is_as_if_nothing_had_been(self, world: World) -> None:
        """The new topic is gone and the type where it was; a migration after that goes to a topic of another name."""
        nobody = {"GAMEBUS_KAFKA__GROUP_PREFIX": "nobody."}
        refused = await gamebus(
            world.settings | nobody, "migrate", "undone", "--to", "at-least-once", "--yes", "--timeout", "1"
        )
        assert refused.code == 1
        assert "no processor has taken up partitions 0, 1" in refused.errors
        assert "gamebus processor durable" in refused.errors

        undone = (await world.migrate("undone", "--rollback")).json

        assert (undone["step"], undone["published_to"]) == ("roll-back", f"{world.prefix}undone")
        assert not await topic_exists(world.kafka, f"{world.prefix}undone.at-least-once")
        outcome = (await world.migrate("undone", "--to", "at-least-once")).json
        assert outcome["published_to"].endswith(".at-least-once")
        assert outcome["published_to"] != f"{world.prefix}undone.at-least-once"


class TestHeld:
    async def test_a_gateway_that_hangs_is_named_and_holds_the_migration(self, world: World) -> None:
        """Stopped (SIGSTOP) as soon as it is ready, it does not follow: the command says which one, and ends what it began when the
        gateway goes on."""
        with running(world.settings, world.folder) as gateway:
            gateway.process.send_signal(signal.SIGSTOP)
            try:
                held = await gamebus(
                    world.settings, "migrate", "held", "--to", "at-least-once", "--yes", "--json", "--timeout", "2"
                )
            finally:
                gateway.process.send_signal(signal.SIGCONT)
            assert held.code == 1
            assert f"gateways {gateway.addresses['boot']} have not followed" in held.errors
            status = (await gamebus(world.settings, "migrate", "--status", "--json")).json
            assert [row["step"] for row in status["types"] if row["type"] == "held"] == ["prepare"]
            assert (await world.migrate("held", "--to", "at-least-once")).json["step"] == "finish"


class TestBack:
    async def test_to_at_most_once(self, world: World) -> None:
        """What was acked before the switch has its effect; an old session is answered `nack unavailable` and sent to reconnect; a new
        one publishes without ids. No topic holds both classes."""
        old, new = f"{world.prefix}loot", f"{world.prefix}loot.at-most-once"
        acked: list[str] = []
        async with player(world.gateways[0].url, "fay", room="hall") as fay:
            publishing = asyncio.create_task(_publish_until_sent_away(fay, acked))
            outcome = (await world.migrate("loot", "--to", "at-most-once", "--rationale", "loot respawns anyway")).json
            nack = await publishing
            assert nack[2:3] == ["unavailable"]
            assert await fay.closed() == 4000
        async with opened(world.gateways[0].url, "fay", "hall") as (fay, types):
            assert types["loot"] == "at-most-once"
            await fay.send("pub", "loot", "hall", {"n": -1})
            await fay.ping()
            await eventually(lambda: _holds(world, new, -1))
        before, after = await world.durable(old), await world.realtime(new)
        assert Counter(record.id for record in before) == Counter(acked)
        assert [record.data["n"] for record in after] == [-1]
        assert outcome["old"] == {"topic": old, "exists": True, "published": len(acked), "processed": len(acked)}

        async def is_accounted_for() -> bool:
            topics = (await gamebus(world.settings, "loss", "--json")).json["types"]
            return [(topic["types"], topic["attempted"]) for topic in topics if topic["topic"] == new] == [
                (["loot"], 1)
            ]

        await eventually(is_accounted_for)
        assert (await world.migrate("loot", "--retire")).json["old"]["exists"] is False


class TestRefusals:
    async def test_it_asks_first(self, world: World) -> None:
        """Without a yes nothing is done, and the plan was shown."""
        refused = await gamebus(world.settings, "migrate", "gift", "--to", "at-least-once")

        assert refused.code == 1
        assert f"at-most-once in {world.prefix}gift -> at-least-once" in refused.errors
        assert not await topic_exists(world.kafka, f"{world.prefix}gift.at-least-once")

    async def test_without_a_log(self, world: World, topic_prefix: str) -> None:
        """An installation whose topics were never created: the command that creates them is named."""
        settings = environment(kafka=world.kafka, redis=world.settings["GAMEBUS_REDIS__URL"], prefix=topic_prefix)
        refused = await gamebus(settings, "migrate", "--status")

        assert refused.code == 1
        assert "gamebus topics create" in refused.errors
        assert await list_topics(world.kafka, parse_catalog(topic_prefix=topic_prefix)) == {}


async def _kill_after(world: World, line: str, *arguments: str) -> None:
    """Run the command and kill it when it says that it has come so far, or let it end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamebus", "migrate", *arguments, "--yes", "--json", "--timeout", LIVE_S),
        env=world.settings,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async for said in process.stderr:
        if said.decode().startswith(line):
            break
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _publish_until_sent_away(client: Client, acked: list[str]) -> list[Any]:
    """Publish loot, one after the other; returns the nack."""
    for number in itertools.count():
        id_ = f"loot-{number}"
        await client.send("pub", "loot", "hall", {"n": number}, id_)
        answer = await client.wait_for_any(("ack", "nack"))
        if answer[0] == "nack":
            return answer
        acked.append(id_)
        await asyncio.sleep(0.1)
    raise AssertionError


async def _true(value: bool) -> bool:
    return value


async def _holds(world: World, topic: str, number: int) -> bool:
    return number in [record.data["n"] for record in await world.realtime(topic)]


async def _holds_all(world: World, topic: str, ledger: Ledger, others: Sequence[int]) -> bool:
    found = {record.data["n"] for record in await world.durable(topic)}
    return found | set(others) >= set(ledger.published)


async def _total(world: World, topic: str, ledger: Ledger, others: int) -> bool:
    return len(await world.durable(topic)) + others >= len(ledger.published)
