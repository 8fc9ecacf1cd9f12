"""`gamebus processor all` as a process of its own: what stands in Kafka becomes the state in Redis, through kills and restarts."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gamebus.catalog import Catalog
from gamebus.catalog_file import parse_catalog
from gamebus.cli import _metrics
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.topics import create_topics
from gamebus.record import DurableRecord, encode_durable
from gamebus.state.audit import AuditState
from gamebus.state.chat import ChatState
from gamebus.state.combat import CombatState, Score
from gamebus.state.connection import Connection
from gamebus.state.ledger import LedgerState, LossRow
from gamebus.state.positions import PositionState
from gamebus.state.presence import PresenceState
from tests.integration import realtime_kit
from tests.integration.command_kit import Service, environment, serving
from tests.integration.durable_kit import applied, committed, eventually, publishing, redis
from tests.redis_server import running_redis_server

ROOMS = ("arena", "lobby", "tower")
DOCUMENTED_KEYS = [
    re.compile(re.sub("UNIX_SECOND|UNIX_MINUTE|PROCESS|ROOM|PLAYER|TOPIC/PARTITION|TOPIC|TYPE", ".+", re.escape(name)))
    for name in re.findall(
        r"^\| `P` `([^`]+)`",
        Path(__file__).parents[2].joinpath("docs", "redis.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]
KINDS = ("position", "heartbeat", "combat", "chat", "reports", "dlq")


@dataclass(frozen=True)
class Game:
    """Topics, keys and groups of one test, and the settings of a processor for them."""

    catalog: Catalog
    settings: dict[str, str]
    connection: Connection
    durable: DurablePublisher
    kafka: str
    group_id: str

    async def publish(self, type_: str, id_: str, data: Any, *, room: str = "arena", player: str = "ann") -> None:
        """Publish a durable event; returns when it is acked."""
        record = DurableRecord(type_, room, player, _now_ms(), "server-1", id_, data)
        await self.durable.publish(self.catalog.types[type_].topic, room.encode(), encode_durable(record))

    async def chats(self, ids: Sequence[str]) -> None:
        """Publish chat in all rooms in turn."""
        await asyncio.gather(
            *(
                self.publish("chat", id_, {"text": f"text of {id_}"}, room=ROOMS[index % len(ROOMS)])
                for index, id_ in enumerate(ids)
            )
        )

    async def applied(self) -> list[str]:
        """Ids of the events that had their effect."""
        return await applied(self.connection, self.catalog, ROOMS)

    async def totals(self) -> int:
        """Effects in all rooms."""
        audits = AuditState(self.connection, self.catalog)
        return sum([(await audits.read(room)).applied for room in ROOMS])

    async def ledger(self, boot: str, streams: int) -> list[LossRow]:
        """The rows of a publisher's streams in the loss ledger, when all of them have ended."""
        topics = {topic.name: topic.partitions for topic in self.catalog.topics.values()}
        rows: list[LossRow] = []

        async def have_ended() -> bool:
            found = await LedgerState(self.connection).read(topics)
            rows[:] = [row for row in found if row.boot == boot and row.ended]
            return len(rows) == streams

        await eventually(have_ended)
        for row in rows:
            lost = row.lost_on_wire + row.dropped_on_failed_commit + row.lost_in_crash + row.skipped + row.unknown
            assert row.attempted == row.processed + sum(row.dropped.values()) + lost
            assert row.duplicates == 0
        return rows


@asynccontextmanager
async def _game(kafka: str, redis_url: str, prefix: str, folder: Path) -> AsyncIterator[Game]:
    file = folder / "gamebus.toml"
    file.write_text("".join(f'[topics."{prefix}{kind}"]\npartitions = 2\n' for kind in KINDS))
    catalog = parse_catalog(file.read_text(), topic_prefix=prefix)
    await create_topics(kafka, catalog)
    settings = environment(
        catalog=str(file),
        kafka__bootstrap_servers=kafka,
        kafka__topic_prefix=prefix,
        kafka__group_prefix=prefix,
        redis__url=redis_url,
        redis__key_prefix=prefix,
        redis__timeout_s="1",
        consumer__session_timeout_ms="2000",
    )
    topics = [topic.name for topic in catalog.topics.values() if topic.name.removeprefix(prefix) in ("combat", "chat")]
    async with redis(redis_url, prefix) as connection, publishing(kafka, topics) as durable:
        yield Game(catalog, settings, connection, durable, kafka, prefix)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _exports(process: Service, sample: str) -> bool:
    return sample in (await _ops(process, "/metrics"))[1]


async def _ops(service: Service, path: str) -> tuple[int, str]:
    """Ask the ops endpoint."""

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{service.ready['ops']}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


class TestState:
    async def test_every_kind_of_event_becomes_state(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str, tmp_path: Path
    ) -> None:
        """Positions, presence, kill feed, scores and chat history are in Redis; an event that was published twice counts once."""
        kill = {"killer": "ann", "victim": "bob", "weapon": "bow", "at_ms": 1, "assists": ["cid"]}
        death = {"victim": "bob", "cause": "bow", "at_ms": 1}
        async with (
            _game(bootstrap_servers, redis_url, topic_prefix, tmp_path) as game,
            serving(game.settings, "processor", "all", log=tmp_path / "log") as processor,
        ):
            presence = PresenceState(game.connection)
            await presence.join("arena", "ann", "session-1", _now_ms())
            async with realtime_kit.publishing(bootstrap_servers, game.catalog) as realtime:
                for number in range(5):
                    realtime.publish("position", "arena", "ann", _now_ms(), [number, 1.5, 0.0, 2.5])
                    realtime.publish("position", "arena", "bob", _now_ms(), [number, 9.0, 0.0, 9.0])
                beat_ms = _now_ms()
                realtime.publish("heartbeat", "arena", "ann", beat_ms, [1, beat_ms, 12.5])
            for _ in range(2):
                await game.publish("kill", "kill-1", kill)
                await game.publish("death", "death-1", death, player="bob")
                await game.publish("chat", "chat-1", {"text": "gg"})
            await game.publish("chat", "chat-2", {"text": "again?"}, player="bob")

            expected = {"ann": [4, 1.5, 0.0, 2.5], "bob": [4, 9.0, 0.0, 9.0]}
            await eventually(lambda: _equals(PositionState(game.connection).read("arena"), expected))
            await eventually(lambda: _holds(presence.heartbeats("arena"), "ann"))
            heartbeat = (await presence.heartbeats("arena"))["ann"]
            assert (heartbeat.server_ms, heartbeat.rtt_ms) == (beat_ms, 12.5)
            await eventually(lambda: _equals(game.applied(), ["chat-1", "chat-2", "death-1", "kill-1"]))

            combat = CombatState(game.connection)
            assert [event.id for event in await combat.feed("arena")] == ["death-1", "kill-1"]
            assert await combat.scores("arena") == {
                "ann": Score(kills=1),
                "bob": Score(deaths=1),
                "cid": Score(assists=1),
            }
            lines = await ChatState(game.connection).history("arena")
            assert [(line.player, line.data["text"]) for line in lines] == [("bob", "again?"), ("ann", "gg")]
            rows = await game.ledger("boot", streams=2)
            assert sum(row.processed for row in rows) == 11
            assert await _undocumented_keys(game) == []
            assert (await _ops(processor, "/readyz"))[0] == 200
            metrics = (await _ops(processor, "/metrics"))[1]
            assert "gamebus_durable_effects_applied_total 4.0" in metrics
            assert "gamebus_durable_effects_duplicates_total 3.0" in metrics
            await eventually(
                lambda: _exports(processor, 'gamebus_realtime_account_events_total{term="processed"} 11.0')
            )
            exported = set(re.findall(r"^# TYPE (gamebus_\w+)", metrics, re.MULTILINE))
            assert exported == {
                metric.name for component, metric in _metrics.metrics() if "gateway" not in component.where
            }


class TestFaults:
    async def test_killed_at_a_bad_moment_and_started_again(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str, tmp_path: Path
    ) -> None:
        """SIGKILL as soon as the first effects are in Redis, before they are committed: after a restart every event has had its
        effect once, and the account of positions says what the crash cost."""
        ids = [f"{index:04}" for index in range(600)]
        async with _game(bootstrap_servers, redis_url, topic_prefix, tmp_path) as game:
            async with realtime_kit.publishing(bootstrap_servers, game.catalog) as realtime:
                async with serving(game.settings, "processor", "all", log=tmp_path / "first.log") as first:
                    talking = asyncio.create_task(game.chats(ids))
                    moving = asyncio.create_task(_move(realtime))
                    await eventually(lambda: _positive(game.totals()))
                    await first.kill()
                await talking
                async with serving(game.settings, "processor", "all", log=tmp_path / "second.log") as second:
                    await eventually(lambda: _equals(game.applied(), ids))
                    moving.cancel()
                    await asyncio.wait((moving,))
                    await realtime.stop()
                    attempted, streams = realtime.statistics().attempted, len(realtime.stream_reports())
            async with serving(game.settings, "processor", "all", log=tmp_path / "third.log"):
                rows = await game.ledger("boot", streams=streams)
            assert sum(row.attempted for row in rows) == attempted
            assert sum(row.unknown for row in rows) == 0
            assert sum(row.processed for row in rows) > 0
            assert second.process.returncode is not None

    async def test_redis_killed_and_back(self, bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> None:
        """Durable events wait for Redis and are applied once; the processor says that it is not ready, and is when Redis is back."""
        before, during, after = (
            [f"{word}-{index:02}" for index in range(20)] for word in ("before", "during", "later")
        )
        with running_redis_server() as server:
            async with (
                _game(bootstrap_servers, server.url, topic_prefix, tmp_path) as game,
                serving(game.settings, "processor", "all", log=tmp_path / "log") as processor,
            ):
                await game.chats(before)
                await eventually(lambda: _equals(game.applied(), before))
                server.kill()
                await game.chats(during)
                await eventually(lambda: _is_ready(processor, expected=False))
                server.start()
                await game.chats(after)
                await eventually(lambda: _equals(game.applied(), sorted(before + during + after)))
                await eventually(lambda: _is_ready(processor, expected=True))
                async with realtime_kit.publishing(bootstrap_servers, game.catalog) as realtime:
                    realtime.publish("position", "arena", "ann", _now_ms(), [7, 1.0, 0.0, 1.0])
                await eventually(lambda: _holds(PositionState(game.connection).read("arena"), "ann"))
                assert "record.dead_lettered" not in processor.events()


class TestStop:
    async def test_sigterm_stops_in_order(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str, tmp_path: Path
    ) -> None:
        """What was read is finished and committed, the group is left at once, and each step is logged; the exit code is 0."""
        ids = [f"{index:03}" for index in range(90)]
        async with _game(bootstrap_servers, redis_url, topic_prefix, tmp_path) as game:
            async with serving(game.settings, "processor", "all", log=tmp_path / "log") as processor:
                await game.chats(ids)
                await eventually(lambda: _positive(game.totals()))
                assert await processor.terminate() == 0
            done = await game.totals()
            topic = game.catalog.types["chat"].topic
            assert sum((await committed(game.kafka, f"{game.group_id}durable", topic)).values()) == done

            steps = [event for event in processor.events() if event.startswith(("processor.", "consumer."))]
            assert steps[:2] == ["processor.ready", "processor.stopping"]
            assert sorted(steps[2:]) == ["consumer.drained"] * 2 + ["processor.stopped"] * 2
            assert steps[2] == "consumer.drained"

            async with serving(game.settings, "processor", "durable", log=tmp_path / "next.log") as following:
                await eventually(lambda: _equals(game.applied(), ids))
                assert "gamebus_durable_effects_duplicates_total 0.0" in (await _ops(following, "/metrics"))[1]


async def _undocumented_keys(game: Game) -> list[str]:
    """Keys that docs/redis.md does not describe."""
    (keys,) = await game.connection.pipeline([("KEYS", f"{game.group_id}*")])
    names = [key.decode().removeprefix(game.group_id) for key in keys]
    assert len(names) > len(DOCUMENTED_KEYS) / 2
    return [name for name in names if not any(pattern.fullmatch(name) for pattern in DOCUMENTED_KEYS)]


async def _move(realtime: Any) -> None:
    number = 0
    while True:
        for room in ROOMS:
            number += 1
            realtime.publish("position", room, "ann", _now_ms(), [number, 0.0, 0.0, 0.0])
        await asyncio.sleep(0.005)


async def _equals(value: Any, expected: object) -> bool:
    return bool(await value == expected)


async def _holds(value: Any, item: object) -> bool:
    return item in await value


async def _positive(value: Any) -> bool:
    return bool(await value > 0)


async def _is_ready(processor: Service, *, expected: bool) -> bool:
    return ((await _ops(processor, "/readyz"))[0] == 200) == expected
