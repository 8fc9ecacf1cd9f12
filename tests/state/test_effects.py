"""Durable effects against a real server."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gamebus.catalog_file import parse_catalog
from gamebus.record import DurableRecord
from gamebus.state import effects
from gamebus.state.audit import AuditState
from gamebus.state.chat import ChatState, chat_effect
from gamebus.state.combat import CombatState, Score, death_effect, kill_effect
from gamebus.state.connection import Connection
from gamebus.state.effects import CHAT, FEED, MAX_RANGES, ROOM_TTL_MS, WINDOW_MS, Effect, EffectState, RoomEvent
from gamebus.state.events import EventState, event_effect

CATALOG = parse_catalog('[types.loot]\ndelivery = "at-least-once"\ntopic = "gamebus.loot"\n')
COMBAT, CHAT_TOPIC, LOOT = "gamebus.combat", "gamebus.chat", "gamebus.loot"
T0 = 1_700_000_000_000
ROOM = "match/1"


def record(type_: str, id_: str, data: Any, *, server_ms: int = T0, publisher: str = "server-1") -> DurableRecord:
    return DurableRecord(type_, ROOM, "server-1", server_ms, publisher, id_, data)


def kill(offset: int, id_: str, killer: str = "alice", *, server_ms: int = T0, assists: tuple[str, ...] = ()) -> Effect:
    data = {"killer": killer, "victim": "bob", "weapon": "bow", "at_ms": server_ms, "assists": list(assists)}
    return kill_effect(record("kill", id_, data, server_ms=server_ms), offset)


def death(offset: int, id_: str, victim: str = "bob") -> Effect:
    return death_effect(record("death", id_, {"victim": victim, "cause": "bow", "at_ms": T0}), offset)


def chat(offset: int, id_: str, text: str = "hi", *, publisher: str = "alice") -> Effect:
    return chat_effect(record("chat", id_, {"text": text}, publisher=publisher), offset)


@pytest.fixture
def state(connection: Connection) -> EffectState:
    return EffectState(connection, CATALOG)


class TestCombat:
    async def test_a_fight_counts_each_part_once(self, connection: Connection, state: EffectState) -> None:
        """A kill is the killer's, a death the victim's: the two events of one fight double nothing."""
        combat = CombatState(connection)

        applied = await state.apply(
            ROOM, COMBAT, 3, [kill(10, "k1", assists=("carol", "alice")), death(11, "d1"), kill(12, "k2", "bob")]
        )

        assert applied == [True, True, True]
        assert await combat.scores(ROOM) == {
            "alice": Score(kills=1),
            "bob": Score(kills=1, deaths=1),
            "carol": Score(assists=1),
        }
        assert [event.id for event in await combat.feed(ROOM)] == ["k2", "d1", "k1"]
        assert (await combat.feed(ROOM, 1))[0] == RoomEvent(
            "kill", "server-1", T0, "server-1", "k2", kill(12, "k2", "bob").record.data
        )

    async def test_the_feed_is_bounded_and_the_scores_are_not_cut(
        self, connection: Connection, state: EffectState
    ) -> None:
        """A long match must not fill Redis with its history, and must not lose its scores."""
        for start in range(0, 1_200, 400):
            await state.apply(ROOM, COMBAT, 0, [kill(offset, f"k{offset}") for offset in range(start, start + 400)])

        feed = await CombatState(connection).feed(ROOM, 1_000)
        assert [event.id for event in feed] == [f"k{offset}" for offset in range(1_199, 1_099, -1)]
        assert (await CombatState(connection).scores(ROOM))["alice"].kills == 1_200

    async def test_a_large_poll_is_applied_in_several_calls(self, connection: Connection, state: EffectState) -> None:
        """Redis serves nobody while a script runs, so a call is bounded, and what it means is not."""
        batch = [kill(offset, f"k{offset}") for offset in range(1_234)]

        assert await state.apply(ROOM, COMBAT, 0, batch) == [True] * 1_234
        assert await state.apply(ROOM, COMBAT, 0, batch[700:]) == [False] * 534

        assert (await AuditState(connection, CATALOG).read(ROOM)).totals == {"kill": 1_234}


class TestChatAndOwnTypes:
    async def test_chat_is_kept_newest_first_and_bounded(self, connection: Connection, state: EffectState) -> None:
        """A player who joins reads the newest lines."""
        await state.apply(ROOM, CHAT_TOPIC, 0, [chat(offset, f"c{offset}", f"line {offset}") for offset in range(250)])

        history = await ChatState(connection).history(ROOM, 300)
        assert len(history) == 200
        assert history[0].data == {"text": "line 249"}

    async def test_types_of_a_studio_have_a_list_each(self, connection: Connection, state: EffectState) -> None:
        """What a catalog file adds is kept like the built-in types, without code."""
        loot = event_effect(record("loot", "l1", ["sword", {"level": 3}]), 0)

        assert await state.apply(ROOM, LOOT, 0, [loot]) == [True]
        assert await state.apply(ROOM, LOOT, 0, [loot]) == [False]

        assert [event.data for event in await EventState(connection).read(ROOM, "loot")] == [["sword", {"level": 3}]]


class TestDuplicates:
    async def test_redelivery_by_kafka_has_no_second_effect(self, connection: Connection, state: EffectState) -> None:
        """A processor that dies between effect and commit is handed the same records again, maybe with more."""
        await state.apply(ROOM, COMBAT, 3, [kill(10, "k1"), kill(14, "k2")])

        applied = await state.apply(ROOM, COMBAT, 3, [kill(10, "k1"), kill(14, "k2"), kill(15, "k3")])

        assert applied == [False, False, True]
        assert (await CombatState(connection).scores(ROOM))["alice"].kills == 3

    async def test_redelivery_is_known_by_its_offset_alone(self, connection: Connection, state: EffectState) -> None:
        """Identities leave the window after an hour; a redelivery after a long outage must be known all the same."""
        await state.apply(ROOM, COMBAT, 3, [kill(10, "k1")])
        await state.apply(ROOM, COMBAT, 3, [kill(11, "k2", server_ms=T0 + 2 * WINDOW_MS)])
        audit = await AuditState(connection, CATALOG).read(ROOM)
        assert (set(audit.identities), audit.forgotten) == ({"server-1/k2"}, 1)

        assert await state.apply(ROOM, COMBAT, 3, [kill(10, "k1")]) == [False]

    async def test_a_re_send_by_the_publisher_has_no_second_effect(
        self, connection: Connection, state: EffectState
    ) -> None:
        """A publisher that heard no ack sends the same id again, which Kafka stores at another offset."""
        await state.apply(ROOM, COMBAT, 3, [kill(10, "k1"), kill(11, "k1")])

        assert await state.apply(ROOM, COMBAT, 3, [kill(40, "k1", server_ms=T0 + 600_000)]) == [False]

        assert await CombatState(connection).scores(ROOM) == {"alice": Score(kills=1)}

    async def test_two_publishers_may_use_the_same_id(self, state: EffectState) -> None:
        """Ids are unique to their publisher: a counter of one must not swallow the events of another."""
        assert await state.apply(
            ROOM, CHAT_TOPIC, 0, [chat(0, "1", publisher="alice"), chat(1, "1", publisher="bob")]
        ) == [True, True]

    async def test_an_identity_is_one_event_in_all_topics_of_the_room(self, state: EffectState) -> None:
        """An event is known by publisher, room and id, whatever its type."""
        await state.apply(ROOM, COMBAT, 0, [kill(0, "1")])

        assert await state.apply(ROOM, CHAT_TOPIC, 0, [chat(0, "1", publisher="server-1")]) == [False]

    async def test_partitions_count_their_offsets_apart(self, state: EffectState) -> None:
        """Offset 10 of one partition says nothing about offset 10 of another."""
        await state.apply(ROOM, COMBAT, 3, [kill(10, "k1")])

        assert await state.apply(ROOM, COMBAT, 4, [kill(10, "k2")]) == [True]
        assert await state.apply(ROOM, CHAT_TOPIC, 3, [chat(10, "c1")]) == [True]

    async def test_a_clock_that_is_behind_does_not_shorten_the_window(self, state: EffectState) -> None:
        """An event of a gateway whose clock is an hour behind is known for as long as any other: its re-send counts once."""
        now_ms = time.time_ns() // 1_000_000
        behind_ms = now_ms - WINDOW_MS - 1
        await state.apply(ROOM, COMBAT, 0, [kill(0, "k0", server_ms=now_ms)])
        await state.apply(ROOM, COMBAT, 0, [kill(1, "k1", server_ms=behind_ms)])
        await state.apply(ROOM, COMBAT, 0, [kill(2, "k2", server_ms=behind_ms)])
        await state.apply(ROOM, COMBAT, 0, [kill(3, "k3", server_ms=now_ms + 1_000)])

        again = [kill(4, "k1", server_ms=now_ms + 2_000), kill(5, "k2", server_ms=now_ms + 2_000)]
        assert await state.apply(ROOM, COMBAT, 0, again) == [False, False]

    async def test_a_clock_that_is_ahead_does_not_empty_the_window(self, state: EffectState) -> None:
        """One record of a gateway with a wrong clock must not make the re-sends of all others count twice."""
        now_ms = int(time.time() * 1000)
        await state.apply(ROOM, COMBAT, 0, [kill(0, "k1", server_ms=now_ms)])
        await state.apply(ROOM, COMBAT, 0, [kill(1, "k2", server_ms=now_ms + 100 * WINDOW_MS)])

        assert await state.apply(ROOM, COMBAT, 0, [kill(2, "k1", server_ms=now_ms + 1_000)]) == [False]

    async def test_the_window_is_bounded_whatever_the_rate(
        self, connection: Connection, state: EffectState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory must not follow the rate of events; the oldest identities go first."""
        monkeypatch.setattr(effects, "MAX_IDENTITIES", 50)

        await state.apply(
            ROOM, COMBAT, 0, [kill(offset, f"k{offset:03}", server_ms=T0 + offset) for offset in range(200)]
        )

        audit = await AuditState(connection, CATALOG).read(ROOM)
        assert audit.identities == {f"server-1/k{offset:03}" for offset in range(150, 200)}
        assert (audit.forgotten, audit.duplicates_applied) == (150, 0)


class TestRanges:
    async def ranges(self, connection: Connection, partition: int = 0) -> str:
        value = await connection.execute("HGET", connection.keys.room(ROOM, "applied"), f"{COMBAT}/{partition}")
        return str(value.decode())

    async def test_events_lost_with_an_older_redis_are_applied_although_newer_ones_were(
        self, connection: Connection, state: EffectState
    ) -> None:
        """A running processor writes newer events into a restored Redis before it notices; the rebuild must fill the gap."""
        await state.apply(ROOM, COMBAT, 0, [kill(10, "k10"), kill(12, "k12")])
        older = await connection.execute("DUMP", connection.keys.room(ROOM, "applied"))
        await state.apply(ROOM, COMBAT, 0, [kill(15, "lost-15"), kill(20, "lost-20")])
        await connection.execute("RESTORE", connection.keys.room(ROOM, "applied"), 0, older, "REPLACE")
        # The next polls reach the older copy before anyone has noticed.
        await state.apply(ROOM, COMBAT, 0, [kill(30, "k30")])
        await state.apply(ROOM, COMBAT, 0, [kill(32, "k32")])
        assert await self.ranges(connection) == f"10-12@{T0} 30-32@{T0}"

        rebuild = [kill(offset, f"k{offset}") for offset in (10, 12, 15, 20, 30, 32, 40)]
        assert await state.apply(ROOM, COMBAT, 0, rebuild) == [False, False, True, True, False, False, True]
        assert await self.ranges(connection) == f"10-40@{T0}"

    async def test_a_processor_that_goes_on_leaves_no_gap(self, connection: Connection, state: EffectState) -> None:
        """A room among many in its partition must not cost more with every poll."""
        for offset in range(0, 1_000, 10):
            await state.apply(ROOM, COMBAT, 0, [kill(offset, f"k{offset}"), kill(offset + 3, f"k{offset + 3}")])

        assert await self.ranges(connection) == f"0-993@{T0}"

    async def test_a_re_send_of_a_lost_time_is_known_although_newer_events_were_applied(
        self, connection: Connection, state: EffectState
    ) -> None:
        """The window must not move on with events that reached an older copy of Redis before anyone noticed."""
        await state.apply(ROOM, COMBAT, 0, [kill(10, "k1")])
        state.forget(COMBAT, 0)
        late = T0 + 3 * WINDOW_MS
        await state.apply(ROOM, COMBAT, 0, [kill(500, "k500", server_ms=late)])
        await state.apply(ROOM, COMBAT, 0, [kill(501, "k501", server_ms=late)])

        rebuild = [kill(10, "k1"), kill(12, "k1", server_ms=T0 + 300_000), kill(13, "k2", server_ms=T0 + 300_000)]
        assert await state.apply(ROOM, COMBAT, 0, rebuild) == [False, False, True]

    async def test_the_number_of_ranges_is_bounded(self, connection: Connection, state: EffectState) -> None:
        """Every change of owner leaves a gap; they must not add up for ever."""
        for offset in range(0, 1_000, 10):
            state.forget(COMBAT, 0)
            await state.apply(ROOM, COMBAT, 0, [kill(offset, f"k{offset}")])

        ranges = await self.ranges(connection)
        assert len(ranges.split()) == MAX_RANGES
        assert ranges.startswith(f"0-840@{T0} 850-850@{T0} ")

    async def test_large_offsets_keep_their_digits(self, connection: Connection, state: EffectState) -> None:
        """Lua's numbers are doubles and print as 1e+15 when nobody watches."""
        offset = 2**53 - 10
        await state.apply(ROOM, COMBAT, 0, [kill(offset, "k1"), kill(offset + 1, "k2")])

        assert await self.ranges(connection) == f"{offset}-{offset + 1}@{T0}"
        assert await state.apply(ROOM, COMBAT, 0, [kill(offset + 1, "k2"), kill(offset + 2, "k3")]) == [False, True]


class TestExpiry:
    async def test_all_durable_keys_of_a_room_expire_at_one_moment(
        self, connection: Connection, state: EffectState
    ) -> None:
        """Effects that outlived their offsets would be applied again; offsets that outlived their effects never."""
        await state.apply(ROOM, COMBAT, 0, [kill(0, "k1"), death(1, "d1")])
        await state.apply(ROOM, CHAT_TOPIC, 0, [chat(0, "c1")])

        key = connection.keys.room
        kinds = ["applied", "totals", "scores", FEED, CHAT, f"ids:{COMBAT}", f"ids:{CHAT_TOPIC}"]
        expiries = {kind: await connection.execute("PEXPIRETIME", key(ROOM, kind)) for kind in kinds}

        assert len(set(expiries.values())) == 1, expiries
        assert 0 < await connection.execute("PTTL", key(ROOM, "applied")) <= ROOM_TTL_MS


class TestAudit:
    async def test_a_double_application_would_show(self, connection: Connection, state: EffectState) -> None:
        """The proof is worth something only if it can fail: forget what was applied, apply again, and it does."""
        audits = AuditState(connection, CATALOG)
        events = [kill(0, "k1"), death(1, "d1")]
        await state.apply(ROOM, COMBAT, 0, events)
        before = await audits.read(ROOM)
        assert (before.applied, before.duplicates_applied, before.kills, before.deaths) == (2, 0, 1, 1)
        assert before.identities == {"server-1/k1", "server-1/d1"}

        key = connection.keys.room
        await connection.execute("DEL", key(ROOM, "applied"))
        # Hide the identities from the check, and put them back where the audit reads them.
        await connection.execute("RENAME", key(ROOM, f"ids:{COMBAT}"), key(ROOM, "hidden"))
        await state.apply(ROOM, COMBAT, 0, events)
        await connection.execute("RENAME", key(ROOM, "hidden"), key(ROOM, f"ids:{COMBAT}"))

        after = await audits.read(ROOM)
        assert (after.applied, after.duplicates_applied, after.kills) == (4, 2, 2)

    async def test_an_unknown_room_has_an_empty_audit(self, connection: Connection) -> None:
        """Nothing was applied where nothing was published."""
        audit = await AuditState(connection, CATALOG).read("nowhere")

        assert (audit.applied, audit.duplicates_applied, audit.identities) == (0, 0, frozenset())
