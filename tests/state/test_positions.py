"""Positions against a real server."""

from __future__ import annotations

from gamebus.state.connection import Connection
from gamebus.state.positions import KEEP_MS, PositionState
from gamebus.state.presence import PresenceState

NOW = 1_000_000


class TestPositions:
    async def test_the_last_write_of_a_player_wins(self, connection: Connection) -> None:
        """A player who joins sees everyone where they are now."""
        positions = PositionState(connection)

        await positions.write(
            {
                "arena": {"alice": (NOW, [1, 0.0, 0.0, 0.0]), "bob": (NOW, [7, 5, 5, 5])},
                "lobby": {"carol": (NOW, [1, 2, 3, 4])},
            }
        )
        await positions.write({"arena": {"alice": (NOW + 50, [2, 1.5, 0.0, -3.25])}})

        assert await positions.read("arena") == {"alice": [2, 1.5, 0.0, -3.25], "bob": [7, 5, 5, 5]}
        assert await positions.read("lobby") == {"carol": [1, 2, 3, 4]}
        assert await positions.read("empty") == {}

    async def test_an_empty_batch_is_no_round_trip(self, connection: Connection) -> None:
        """A poll that held nothing new asks nothing of Redis."""
        before = connection.statistics().operations_total

        await PositionState(connection).write({})

        assert connection.statistics().operations_total == before

    async def test_players_who_left_are_forgotten_and_those_who_stand_still_are_not(
        self, connection: Connection
    ) -> None:
        """A lobby that many players pass through must not grow for ever, and an idle player must not become invisible."""
        positions, presence = PositionState(connection), PresenceState(connection)
        await presence.join("arena", "idle", "s1", NOW + KEEP_MS)
        await positions.write(
            {"arena": {"idle": (NOW, [1, 0, 0, 0]), "gone": (NOW, [1, 1, 1, 1]), "bot": (NOW + 1, [1, 2, 2, 2])}}
        )

        assert await positions.prune(["arena", "empty"], NOW + KEEP_MS + 1) == 1

        assert await positions.read("arena") == {"idle": [1, 0, 0, 0], "bot": [1, 2, 2, 2]}

    async def test_dead_rooms_vanish(self, connection: Connection) -> None:
        """Positions of a room where nothing happens any more expire."""
        await PositionState(connection).write({"arena": {"alice": (NOW, [1, 0, 0, 0])}})

        assert 0 < await connection.execute("PTTL", connection.keys.room("arena", "positions")) <= 600_000
