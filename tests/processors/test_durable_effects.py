"""The handler of at-least-once events, against a real Redis."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.catalog import DeliveryClass
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.durable_consumer import SourcedRecord
from gamebus.errors import PayloadError, RecordError, StateError
from gamebus.generations import Log, overlay
from gamebus.migration.plan import begin
from gamebus.processors.durable_effects import DurableEffects
from gamebus.record import DurableRecord
from gamebus.settings import RedisSettings
from gamebus.state.audit import AuditState
from gamebus.state.chat import ChatState
from gamebus.state.combat import CombatState, Score
from gamebus.state.connection import Connection, connect
from gamebus.state.effects import EffectState
from gamebus.state.events import EventState

CATALOG = parse_catalog('[types.loot]\ndelivery = "at-least-once"\ntopic = "gamebus.loot"\n')
NOW = 1_700_000_000_000
KILL = {"killer": "alice", "victim": "bob", "weapon": "bow", "at_ms": NOW}
DEATH = {"victim": "bob", "cause": "bow", "at_ms": NOW}


def source(
    type_: str, data: Any, *, offset: int = 0, id_: str | None = None, topic: str | None = None, **fields: str
) -> SourcedRecord:
    record = DurableRecord(
        type_,
        fields.get("room", "arena"),
        fields.get("player", "alice"),
        NOW,
        fields.get("publisher", "server-1"),
        f"id-{offset}" if id_ is None else id_,
        data,
    )
    if topic is None:
        topic = CATALOG.types[type_].topic if type_ in CATALOG.types else "gamebus.combat"
    return SourcedRecord(topic, 0, offset, NOW, record)


@pytest.fixture
def effects(connection: Connection) -> DurableEffects:
    return DurableEffects(EffectState(connection, CATALOG), CATALOG)


class TestFollow:
    async def test_both_topics_of_a_type_that_migrates(self, connection: Connection, effects: DurableEffects) -> None:
        """From the next generation on a type is also known in its other topic, and its events have their effect there."""
        base = parse_catalog(
            '[types.step]\ndelivery = "at-most-once"\ntopic = "g.step"\nrationale = "the next one comes"\n'
        )
        log = Log().take(begin(base, Log(), "step", DeliveryClass.AT_LEAST_ONCE, rationale=None, now_ms=1))
        step = source("step", 1, offset=0, topic="g.step.at-least-once")
        with pytest.raises(RecordError):
            await effects.handle("arena", [step])

        effects.follow(overlay(base, log))
        await effects.handle("arena", [step])

        assert [event.data for event in await EventState(connection).read("arena", "step")] == [1]
        with pytest.raises(RecordError, match=r"belongs to topic g.step, not to g.other"):
            await effects.handle("arena", [source("step", 1, offset=1, topic="g.other")])


class TestEffects:
    async def test_each_type_has_its_effect(self, connection: Connection, effects: DurableEffects) -> None:
        """Combat feeds the scores, chat the history, a studio's own types their lists."""
        await effects.handle("arena", [source("kill", KILL, offset=0), source("death", DEATH, offset=1)])
        await effects.handle("arena", [source("chat", {"text": "gg"}, offset=0, id_="c")])
        await effects.handle("arena", [source("loot", ["sword"], offset=0, id_="l")])

        assert await CombatState(connection).scores("arena") == {"alice": Score(kills=1), "bob": Score(deaths=1)}
        assert [line.data for line in await ChatState(connection).history("arena")] == [{"text": "gg"}]
        assert [event.data for event in await EventState(connection).read("arena", "loot")] == [["sword"]]
        assert (effects.statistics().applied_total, effects.statistics().duplicates_total) == (4, 0)

    async def test_the_same_call_again_has_no_second_effect(
        self, connection: Connection, effects: DurableEffects
    ) -> None:
        """The consumer calls again after an outage whose outcome nobody knows."""
        records = [source("kill", KILL, offset=0), source("death", DEATH, offset=1)]
        await effects.handle("arena", records)
        await effects.handle("arena", records)

        assert (await AuditState(connection, CATALOG).read("arena")).totals == {"kill": 1, "death": 1}
        assert (effects.statistics().applied_total, effects.statistics().duplicates_total) == (2, 2)


class TestPoison:
    @pytest.mark.parametrize(
        ("poison", "message"),
        [
            (source("teleport", {}), "not in the catalog"),
            (source("chat", {"text": "hi"}, topic="gamebus.combat"), "belongs to topic gamebus.chat"),
            (source("kill", KILL, player="no spaces"), "not a player id"),
            (source("kill", KILL, publisher="a/b"), "not a player id"),
            (source("kill", KILL, id_="x" * 65), "event id"),
        ],
    )
    async def test_a_record_that_no_gateway_writes_is_refused_for_good(
        self, effects: DurableEffects, poison: SourcedRecord, message: str
    ) -> None:
        """A RecordError makes a dead letter at once, and its words tell an operator what to do."""
        with pytest.raises(RecordError, match=message):
            await effects.handle(poison.record.room, [poison])

    async def test_a_room_that_would_break_out_of_its_hash_tag_is_refused(self, effects: DurableEffects) -> None:
        """Room names become keys."""
        with pytest.raises(RecordError, match="not a room name"):
            await effects.handle("a}{b", [source("kill", KILL, room="a}{b")])

    async def test_data_that_its_type_does_not_allow_is_refused(self, effects: DurableEffects) -> None:
        """A kill without a killer would count for nobody."""
        with pytest.raises(PayloadError, match="killer"):
            await effects.handle("arena", [source("kill", {"victim": "bob", "weapon": "bow", "at_ms": NOW})])

    async def test_nothing_of_a_call_with_poison_is_applied(
        self, connection: Connection, effects: DurableEffects
    ) -> None:
        """The consumer takes the call apart then; what was applied before would only be luck."""
        with pytest.raises(RecordError):
            await effects.handle("arena", [source("kill", KILL, offset=0), source("teleport", {}, offset=1)])

        assert (await AuditState(connection, CATALOG).read("arena")).applied == 0


class TestOutage:
    async def test_a_redis_that_is_away_is_an_outage_and_no_fault_of_the_record(self) -> None:
        """A StateError makes the consumer wait; a dead letter for it would empty the topic into the dead letters."""
        connection = connect(RedisSettings(url="redis://127.0.0.1:1/0", timeout_s=0.5))
        effects = DurableEffects(EffectState(connection, CATALOG), CATALOG)

        with pytest.raises(StateError):
            await effects.handle("arena", [source("kill", KILL)])

        await connection.close()
