"""Every order of deliveries, redeliveries, re-sends, crashes and restored copies leaves each effect exactly once (Hypothesis)."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gamebus.catalog_file import parse_catalog
from gamebus.record import DurableRecord
from gamebus.settings import RedisSettings
from gamebus.state.audit import AuditState
from gamebus.state.chat import ChatState, chat_effect
from gamebus.state.combat import CombatState, death_effect, kill_effect
from gamebus.state.connection import Connection, connect
from gamebus.state.effects import Effect, EffectState
from gamebus.state.marks import MarkState
from tests.redis_server import RedisServer, running_redis_server

CATALOG = parse_catalog()
COMBAT, CHAT = ("gamebus.combat", 0), ("gamebus.chat", 0)
ROOMS = ("arena", "lobby")
T0 = 1_700_000_000_000


class Processor:
    """A durable consumer reduced to its rules: effects, then mark, then commit; back to the mark when Redis went back."""

    def __init__(self, connection: Connection, log: list[DurableRecord], partition: tuple[str, int]) -> None:
        self._effects = EffectState(connection, CATALOG)
        self._marks = MarkState(connection, on_moved=self._effects.forget)
        self._log = log
        self._partition = partition
        self.committed = 0
        self.position = 0
        self.done = 0

    async def assign(self) -> None:
        mark = (await self._marks.load([self._partition]))[self._partition] or 0
        self.position = self.done = min(mark, self.committed)

    async def apply(self, count: int) -> None:
        """Process a poll, but do not record it."""
        poll = list(enumerate(self._log))[self.position : self.position + count]
        for room in ROOMS:
            effects = [effect_of(record, offset) for offset, record in poll if record.room == room]
            await self._effects.apply(room, *self._partition, effects)
        self.done = self.position + len(poll)

    async def record(self) -> None:
        """Move the mark and commit, or find that Redis went back."""
        lost = await self._marks.advance({self._partition: self.done})
        if lost:
            self.position = self.done = lost[self._partition] or 0
        else:
            self.committed = max(self.committed, self.done)
            self.position = self.done

    async def check(self) -> None:
        """What an idle consumer does once a second."""
        lost = await self._marks.advance({self._partition: 0})
        if lost:
            self.position = self.done = lost[self._partition] or 0

    @property
    def behind(self) -> bool:
        return self.position < len(self._log)


def effect_of(record: DurableRecord, offset: int) -> Effect:
    builder = {"kill": kill_effect, "death": death_effect, "chat": chat_effect}[record.type]
    return builder(record, offset)


class ExactlyOnce(RuleBasedStateMachine):
    """The world: two topics, two rooms, a processor of each topic, and copies of Redis."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection = connect(RedisSettings(url=self.server.url, key_prefix=f"eo-{uuid.uuid4().hex[:8]}:"))
        self.logs: dict[tuple[str, int], list[DurableRecord]] = {COMBAT: [], CHAT: []}
        self.processors = {
            partition: Processor(self.connection, log, partition) for partition, log in self.logs.items()
        }
        self.copies: list[dict[bytes, bytes]] = []
        self.now_ms = T0
        for processor in self.processors.values():
            self.run(processor.assign())

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @rule(room=st.sampled_from(ROOMS), count=st.integers(1, 4), minutes=st.sampled_from([0, 1, 9, 90]))
    def fight(self, room: str, count: int, minutes: int) -> None:
        self.now_ms += minutes * 60_000
        for _ in range(count):
            id_ = str(len(self.logs[COMBAT]))
            kill = {"killer": "alice", "victim": "bob", "weapon": "bow", "at_ms": 0}
            death = {"victim": "bob", "cause": "bow", "at_ms": 0}
            self.publish(COMBAT, DurableRecord("kill", room, "alice", self.now_ms, "server", f"k{id_}", kill))
            self.publish(COMBAT, DurableRecord("death", room, "bob", self.now_ms, "server", f"d{id_}", death))

    @rule(room=st.sampled_from(ROOMS))
    def talk(self, room: str) -> None:
        id_ = str(len(self.logs[CHAT]))
        self.publish(CHAT, DurableRecord("chat", room, "alice", self.now_ms, "alice", id_, {"text": "hi"}))

    @precondition(lambda self: any(self.logs.values()))
    @rule(data=st.data(), minutes=st.integers(0, 10))
    def send_again(self, data: Any, minutes: int) -> None:
        """A publisher repeats an id within its ten minutes: another offset, a later time."""
        partition = data.draw(st.sampled_from([partition for partition, log in self.logs.items() if log]))
        first = data.draw(st.sampled_from(self.logs[partition][-6:]))
        originals = [record for record in self.logs[partition] if record.identity == first.identity]
        if self.now_ms <= originals[0].server_ms + 600_000:
            again = min(self.now_ms + minutes * 60_000, originals[0].server_ms + 600_000)
            self.now_ms = max(self.now_ms, again)
            self.publish(
                partition,
                DurableRecord(first.type, first.room, first.player, again, first.publisher, first.id, first.data),
            )

    @rule(partition=st.sampled_from([COMBAT, CHAT]), count=st.integers(1, 12))
    def process(self, partition: tuple[str, int], count: int) -> None:
        self.run(self.processors[partition].apply(count))
        self.run(self.processors[partition].record())

    @rule(partition=st.sampled_from([COMBAT, CHAT]), count=st.integers(1, 12))
    def crash_between_effect_and_commit(self, partition: tuple[str, int], count: int) -> None:
        self.run(self.processors[partition].apply(count))
        self.run(self.processors[partition].assign())

    @rule(partition=st.sampled_from([COMBAT, CHAT]))
    def another_process_takes_over(self, partition: tuple[str, int]) -> None:
        self.run(self.processors[partition].assign())

    @rule(partition=st.sampled_from([COMBAT, CHAT]))
    def check_the_mark(self, partition: tuple[str, int]) -> None:
        self.run(self.processors[partition].check())

    @rule(partition=st.sampled_from([COMBAT, CHAT]), polls=st.lists(st.integers(1, 5), min_size=2, max_size=5))
    def several_polls_before_the_mark(self, partition: tuple[str, int], polls: list[int]) -> None:
        """Effects run ahead of the mark, which is written a few times a second."""
        processor = self.processors[partition]
        for count in polls:
            self.run(processor.apply(count))
            processor.position = processor.done
        self.run(processor.record())

    @rule()
    def copy_redis(self) -> None:
        self.copies.append(self.run(self.dump()))

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def restore_redis(self, data: Any) -> None:
        """Nobody tells the processors."""
        self.run(self.restart_from(data.draw(st.sampled_from(self.copies))))

    @precondition(lambda self: self.copies)
    @rule(partition=st.sampled_from([COMBAT, CHAT]), count=st.integers(1, 12), data=st.data())
    def restore_redis_between_effect_and_mark(self, partition: tuple[str, int], count: int, data: Any) -> None:
        """The copy may have the mark that is expected, and not the effects after it."""
        self.run(self.processors[partition].apply(count))
        self.run(self.restart_from(data.draw(st.sampled_from(self.copies))))
        self.run(self.processors[partition].record())

    @rule(partition=st.sampled_from([COMBAT, CHAT]), count=st.integers(1, 12))
    def empty_redis_between_effect_and_mark(self, partition: tuple[str, int], count: int) -> None:
        """FLUSHALL: the server lives on."""
        self.run(self.processors[partition].apply(count))
        self.run(self.restore({}))
        self.run(self.processors[partition].record())

    @invariant()
    def nothing_is_applied_twice(self) -> None:
        for room in ROOMS:
            audit = self.run(AuditState(self.connection, CATALOG).read(room))
            assert audit.duplicates_applied == 0
            assert audit.kills == audit.totals.get("kill", 0)

    def teardown(self) -> None:
        try:
            self.run(self.settle())
            for room in ROOMS:
                self.run(self.check(room))
        finally:
            self.run(self.restore({}))
            self.run(self.connection.close())
            self.runner.close()

    def publish(self, partition: tuple[str, int], record: DurableRecord) -> None:
        self.logs[partition].append(record)

    async def settle(self) -> None:
        """Let the processors run until nothing moves; an idle one checks its mark too."""
        for processor in self.processors.values():
            while True:
                before = (processor.position, processor.committed)
                await processor.apply(7)
                await processor.record()
                await processor.check()
                if not processor.behind and (processor.position, processor.committed) == before:
                    break

    async def check(self, room: str) -> None:
        expected = {record.identity: record.type for log in self.logs.values() for record in log if record.room == room}
        kinds = list(expected.values())
        audit = await AuditState(self.connection, CATALOG).read(room)
        assert audit.totals == {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        assert audit.identities <= set(expected)

        scores = await CombatState(self.connection).scores(room)
        assert sum(score.kills for score in scores.values()) == kinds.count("kill")
        assert sum(score.deaths for score in scores.values()) == kinds.count("death")
        feed = await CombatState(self.connection).feed(room)
        assert len({(event.publisher, event.id) for event in feed}) == len(feed)
        history = await ChatState(self.connection).history(room)
        assert len(history) == kinds.count("chat")

    async def dump(self) -> dict[bytes, bytes]:
        names = await self.connection.execute("KEYS", f"{self.connection.keys.prefix}*")
        return {name: await self.connection.execute("DUMP", name) for name in names}

    async def restart_from(self, copy: dict[bytes, bytes]) -> None:
        """A crash of the server, and a start with other data."""
        self.server.kill()
        self.server.start()
        await self.restore(copy)

    async def restore(self, copy: dict[bytes, bytes]) -> None:
        names = await self.connection.execute("KEYS", f"{self.connection.keys.prefix}*")
        await self.connection.pipeline(
            [
                *(("DEL", name) for name in names),
                *(("RESTORE", name, 0, value) for name, value in copy.items()),
            ]
        )


# A failure is made smaller before it is told, for up to five minutes.
@pytest.mark.timeout(600)
def test_any_history_leaves_each_effect_exactly_once() -> None:
    """What was published is what the state counts, whatever happened on the way."""
    with running_redis_server() as server:
        machine = type("ExactlyOnceHere", (ExactlyOnce,), {"server": server})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
