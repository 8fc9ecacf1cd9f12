"""Marks against a real server."""

from __future__ import annotations

import pytest

from gamebus.errors import StateError
from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.marks import MarkState
from tests.redis_server import RedisServer

A, B, C = ("combat", 0), ("combat", 7), ("chat", 0)


class TestMarks:
    async def test_marks_are_kept_for_the_next_owner(self, connection: Connection) -> None:
        """A partition that moves to another process brings its mark along."""
        marks = MarkState(connection)
        assert await marks.load([A, B, C]) == {A: None, B: None, C: None}

        assert await marks.advance({A: 10, C: 5}) == {}
        assert await marks.advance({A: 12}) == {}

        assert await MarkState(connection).load([A, B, C]) == {A: 12, B: 0, C: 5}

    async def test_a_mark_never_moves_back_while_redis_is_what_it_was(self, connection: Connection) -> None:
        """A process that lost its partition without noticing cannot undo the mark of the new owner."""
        old, new = MarkState(connection), MarkState(connection)
        await old.load([A])
        await old.advance({A: 10})
        await new.load([A])
        await new.advance({A: 50})

        assert await old.advance({A: 20}) == {}

        assert await new.load([A]) == {A: 50}

    async def test_redis_that_went_back_keeps_its_mark_as_evidence(self, connection: Connection) -> None:
        """The process that notices may die before it has rebuilt: the next one must find the same old mark."""
        marks = MarkState(connection)
        await marks.load([A])
        await marks.advance({A: 100})
        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 0, 40)

        assert await marks.advance({A: 120}) == {A: 40}

        assert await MarkState(connection).load([A]) == {A: 40}

    async def test_redis_that_was_emptied_is_noticed(self, connection: Connection) -> None:
        """No mark where there was one is a Redis that lost everything."""
        marks = MarkState(connection)
        await marks.load([A])
        await marks.advance({A: 100})
        await connection.execute("DEL", connection.keys.shared("marks", "combat"))

        assert await marks.advance({A: 120}) == {A: None}

        assert await MarkState(connection).load([A]) == {A: 0}

    async def test_redis_that_was_emptied_before_the_first_advance_is_noticed(self, connection: Connection) -> None:
        """The very first effects of a partition can be lost too: the mark must not move past them."""
        marks = MarkState(connection)
        await marks.load([A])
        await connection.execute("DEL", connection.keys.shared("marks", "combat"))

        assert await marks.advance({A: 20}) == {A: None}
        assert await marks.load([A]) == {A: 0}
        assert await marks.advance({A: 20}) == {}
        assert await marks.load([A]) == {A: 20}

    async def test_an_idle_owner_notices_too(self, connection: Connection) -> None:
        """To look moves nothing, and makes nothing look untouched that was lost."""
        marks = MarkState(connection)
        await marks.load([A])
        await marks.advance({A: 20})
        assert await marks.advance({A: 0}) == {}
        await connection.execute("DEL", connection.keys.shared("marks", "combat"))

        assert await marks.advance({A: 0}) == {A: None}
        assert await marks.advance({A: 0}) == {}
        assert await marks.load([A]) == {A: 0}

    async def test_a_loss_is_told_although_the_call_that_found_it_failed(self, server: RedisServer) -> None:
        """One topic's loss is found while Redis refuses to write; it is told by the call that succeeds."""
        connection = connect(RedisSettings(url=server.url))
        marks = MarkState(connection)
        await marks.load([A, B, C])
        await marks.advance({A: 10, B: 10, C: 10})
        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 0, 4)
        await connection.execute("DEL", connection.keys.shared("marks", "chat"))
        # Moves nothing, so it is answered; the mark that is gone cannot be made.
        await connection.execute("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StateError):
            await marks.advance({A: 0, B: 0, C: 0})
        await connection.execute("CONFIG", "SET", "maxmemory", 0)

        assert await marks.advance({A: 12, B: 12, C: 12}) == {A: 4, C: None}
        assert await marks.load([A, B, C]) == {A: 4, B: 12, C: 0}
        await connection.close()

    async def test_effects_above_a_mark_may_not_outlive_the_server(self, server: RedisServer) -> None:
        """A server that crashes may keep the mark and forget the effects after it: the next life begins at the mark."""
        connection = connect(RedisSettings(url=server.url))
        marks = MarkState(connection)
        await marks.load([A])
        await marks.advance({A: 6})
        server.kill()
        server.start()

        assert await marks.advance({A: 10}) == {A: 6}
        assert await marks.advance({A: 10}) == {}
        assert await MarkState(connection).load([A]) == {A: 10}
        await connection.close()

    async def test_a_server_that_forbids_info_lives_for_ever(self, server: RedisServer) -> None:
        """Where an ACL hides the life of the server the marks alone must do."""
        connection = connect(RedisSettings(url=server.url))
        await connection.execute("ACL", "SETUSER", "default", "-info")
        marks = MarkState(connection)
        await marks.load([A])
        assert await marks.advance({A: 6}) == {}
        assert await marks.load([A]) == {A: 6}
        await connection.close()

    async def test_a_mark_that_somebody_else_moved_is_told(self, connection: Connection) -> None:
        """What a process remembers of a partition is worth nothing after another one has had it, or Redis went back."""
        moved: list[tuple[str, int]] = []
        marks = MarkState(connection, on_moved=lambda topic, partition: moved.append((topic, partition)))
        await marks.load([A, B])
        await marks.advance({A: 10, B: 10})
        await marks.load([A, B])
        assert moved == []

        other = MarkState(connection)
        await other.load([A])
        await other.advance({A: 20})
        await marks.load([A, B])
        assert moved == [A]

        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 7, 3)
        await marks.advance({B: 30})
        assert moved == [A, B]

    async def test_the_rebuild_moves_the_mark_again(self, connection: Connection) -> None:
        """Once seen, the older value is what is expected, and the rebuild goes on from it."""
        marks = MarkState(connection)
        await marks.load([A])
        await marks.advance({A: 100})
        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 0, 40)
        await marks.advance({A: 120})

        assert await marks.advance({A: 60}) == {}

        assert await marks.load([A]) == {A: 60}

    async def test_an_advance_whose_answer_was_lost_may_be_repeated(self, connection: Connection) -> None:
        """redis-py sends a command again when its reply is lost; that must not look like a Redis that went back."""
        marks = MarkState(connection)
        await marks.load([A])
        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 0, 100)

        assert await marks.advance({A: 100}) == {}
        assert await marks.advance({A: 110}) == {}
