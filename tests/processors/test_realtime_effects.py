"""The handler of at-most-once events, against a real Redis."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.processors.realtime_effects import RealtimeEffects
from gamebus.record import RealtimeRecord
from gamebus.state.connection import Connection
from gamebus.state.positions import PositionState
from gamebus.state.presence import EXPIRY_MS, Heartbeat, PresenceState

NOW = 1_700_000_000_000


def record(type_: str, player: str, data: Any, *, room: str = "arena", server_ms: int = NOW) -> RealtimeRecord:
    return RealtimeRecord(type_, room, player, server_ms, "boot", 1, data)


def position(player: str, seq: int, *, room: str = "arena") -> RealtimeRecord:
    return record("position", player, [seq, float(seq), 0.0, 0.0], room=room)


@pytest.fixture
def effects(connection: Connection) -> RealtimeEffects:
    return RealtimeEffects(PositionState(connection), PresenceState(connection))


class TestPositions:
    async def test_a_poll_is_one_write_of_the_newest_positions(
        self, connection: Connection, effects: RealtimeEffects
    ) -> None:
        """Redis is asked once for each poll, whatever the poll holds: 20 positions a second and player must not be 20 writes."""
        before = connection.statistics().operations_total

        await effects.handle(
            [
                position(player, seq, room=room)
                for seq in range(20)
                for player in ("alice", "bob")
                for room in ("a", "b")
            ]
        )

        assert connection.statistics().operations_total == before + 1
        expected = {"alice": [19, 19.0, 0.0, 0.0], "bob": [19, 19.0, 0.0, 0.0]}
        assert await PositionState(connection).read("a") == expected
        assert await PositionState(connection).read("b") == expected
        assert effects.statistics().records_total == 80
        assert effects.statistics().positions_total == 4

    async def test_the_order_of_kafka_decides_and_not_the_number(
        self, connection: Connection, effects: RealtimeEffects
    ) -> None:
        """A player who reconnects counts from 0 again; his new positions must not be taken for old ones."""
        await effects.handle([position("alice", 900), position("alice", 1)])

        assert await PositionState(connection).read("arena") == {"alice": [1, 1.0, 0.0, 0.0]}

    async def test_rooms_with_positions_are_offered_for_pruning_once(self, effects: RealtimeEffects) -> None:
        """The processor prunes what it has written, without a scan over all keys."""
        await effects.handle([position("alice", 1, room="a"), position("bob", 1, room="b")])

        assert effects.take_rooms() == {"a", "b"}
        assert effects.take_rooms() == set()


class TestHeartbeats:
    async def test_a_heartbeat_keeps_a_player_present(self, connection: Connection, effects: RealtimeEffects) -> None:
        """A gateway that stalls for some seconds does not lose its players."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)

        await effects.handle([record("heartbeat", "alice", [1, NOW, 30.5], server_ms=NOW + 5_000)])

        assert await presence.members(["arena"], NOW + EXPIRY_MS + 4_999) == {"arena": {"alice"}}
        assert await presence.heartbeats("arena") == {"alice": Heartbeat(NOW + 5_000, 30.5)}

    async def test_a_heartbeat_of_one_who_is_not_there_does_nothing(
        self, connection: Connection, effects: RealtimeEffects
    ) -> None:
        """It may come out of Kafka after the player has left."""
        await effects.handle([record("heartbeat", "ghost", [1, NOW])])

        assert await PresenceState(connection).members(["arena"], NOW) == {"arena": frozenset()}
        assert effects.statistics().heartbeats_total == 0


class TestOtherRecords:
    async def test_types_of_a_studio_leave_no_state(self, connection: Connection, effects: RealtimeEffects) -> None:
        """They are fanned out by the gateways; nothing is written and nothing fails."""
        before = connection.statistics().operations_total

        await effects.handle([record("footstep", "alice", {"loud": True})])

        assert connection.statistics().operations_total == before

    @pytest.mark.parametrize(
        "bad",
        [
            position("alice", 1, room="a}{b"),
            position("no spaces", 1),
            record("position", "alice", "not a position"),
            record("position", "alice", None),
            record("heartbeat", "alice", []),
        ],
    )
    async def test_what_no_gateway_lets_pass_is_counted_and_harms_nobody(
        self, connection: Connection, effects: RealtimeEffects, bad: RealtimeRecord
    ) -> None:
        """Anything can write to a topic; it must neither name a key nor take the good records of its poll with it."""
        await effects.handle([bad, position("bob", 1)])

        assert await PositionState(connection).read("arena") == {"bob": [1, 1.0, 0.0, 0.0]}
        assert effects.statistics().invalid_total == 1
