"""Presence against a real server."""

from __future__ import annotations

from gamebus.state.connection import Connection
from gamebus.state.presence import EXPIRY_MS, KEY_TTL_MS, Heartbeat, PresenceState

NOW = 1_000_000


class TestPresence:
    async def test_a_player_is_present_from_join_to_leave(self, connection: Connection) -> None:
        """Others see who is in the room."""
        presence = PresenceState(connection)

        await presence.join("arena", "alice", "s1", NOW)
        await presence.join("arena", "bob", "s2", NOW)
        await presence.join("lobby", "carol", "s3", NOW)
        assert await presence.members(["arena", "lobby", "empty"], NOW) == {
            "arena": {"alice", "bob"},
            "lobby": {"carol"},
            "empty": frozenset(),
        }

        assert await presence.leave("arena", "bob", "s2")
        assert await presence.members(["arena"], NOW) == {"arena": {"alice"}}

    async def test_the_late_leave_of_a_replaced_session_removes_nobody(self, connection: Connection) -> None:
        """A player who reconnects through another gateway must not vanish when the old connection is noticed as dead."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "old", NOW)
        await presence.join("arena", "alice", "new", NOW + 1)

        assert not await presence.leave("arena", "alice", "old")

        assert await presence.members(["arena"], NOW + 1) == {"arena": {"alice"}}

    async def test_a_player_of_a_dead_gateway_expires(self, connection: Connection) -> None:
        """A gateway that was killed says no leave; its players go by themselves."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)

        assert await presence.members(["arena"], NOW + EXPIRY_MS - 1) == {"arena": {"alice"}}
        assert await presence.members(["arena"], NOW + EXPIRY_MS) == {"arena": frozenset()}

    async def test_refresh_keeps_players_and_brings_back_those_that_redis_lost(self, connection: Connection) -> None:
        """After a restart of Redis without its data, presence is whole again within one refresh."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)
        members = [("arena", "alice", "s1"), ("arena", "bob", "s2"), ("lobby", "bob", "s2")]

        assert await presence.refresh(members, NOW + 5_000) == []

        assert await presence.members(["arena", "lobby"], NOW + EXPIRY_MS + 1_000) == {
            "arena": {"alice", "bob"},
            "lobby": {"bob"},
        }

    async def test_refresh_returns_sessions_that_were_replaced(self, connection: Connection) -> None:
        """A gateway that missed the takeover message still learns of it, and cannot take the player back."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "old", NOW)
        await presence.join("arena", "alice", "new", NOW + 1)

        assert await presence.refresh([("arena", "alice", "old")], NOW + 2) == [("arena", "alice", "old")]
        assert await presence.refresh([("arena", "alice", "new")], NOW + 2) == []

    async def test_an_expired_session_can_be_followed_by_another(self, connection: Connection) -> None:
        """The session of a gateway that died must not block the player's next one for longer than the expiry."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "dead", NOW)

        assert await presence.refresh([("arena", "alice", "next")], NOW + EXPIRY_MS) == []

        assert await presence.members(["arena"], NOW + EXPIRY_MS) == {"arena": {"alice"}}

    async def test_a_heartbeat_extends_presence_and_never_creates_it(self, connection: Connection) -> None:
        """A heartbeat that arrives after the leave must not bring the player back."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)
        later = NOW + 8_000

        kept = await presence.extend({"arena": {"alice": Heartbeat(later, 21.5), "ghost": Heartbeat(later, None)}})

        assert kept == 1
        assert await presence.members(["arena"], NOW + EXPIRY_MS + 1) == {"arena": {"alice"}}
        assert await presence.heartbeats("arena") == {"alice": Heartbeat(later, 21.5)}

    async def test_an_old_heartbeat_does_not_shorten_presence(self, connection: Connection) -> None:
        """Heartbeats wait in Kafka; a late one must not undo a newer refresh."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)

        await presence.extend({"arena": {"alice": Heartbeat(NOW - 5_000, None)}})

        assert await presence.members(["arena"], NOW + EXPIRY_MS - 1) == {"arena": {"alice"}}

    async def test_dead_rooms_vanish(self, connection: Connection) -> None:
        """Every key of a room has an expiry, or Redis fills up with rooms that ended."""
        presence = PresenceState(connection)
        await presence.join("arena", "alice", "s1", NOW)
        await presence.extend({"arena": {"alice": Heartbeat(NOW, None)}})

        for kind in ("presence", "sessions", "heartbeats"):
            ttl_ms = await connection.execute("PTTL", connection.keys.room("arena", kind))
            assert 0 < ttl_ms <= max(KEY_TTL_MS, 600_000), kind
