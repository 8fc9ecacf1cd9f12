"""Marks against a real server."""

from __future__ import annotations

from gamebus.state.connection import Connection
from gamebus.state.marks import MarkState

A, B, C = ("combat", 0), ("combat", 7), ("chat", 0)


class TestMarks:
    async def test_marks_are_kept_for_the_next_owner(self, connection: Connection) -> None:
        """A partition that moves to another process brings its mark along."""
        marks = MarkState(connection)
        assert await marks.load([A, B, C]) == {A: None, B: None, C: None}

        assert await marks.advance({A: 10, C: 5}) == {A: None, C: None}
        assert await marks.advance({A: 12}) == {A: 10}

        assert await MarkState(connection).load([A, B, C]) == {A: 12, B: None, C: 5}

    async def test_a_mark_never_moves_back_while_redis_is_what_it_was(self, connection: Connection) -> None:
        """A process that lost its partition without noticing cannot undo the mark of the new owner."""
        old, new = MarkState(connection), MarkState(connection)
        await old.load([A])
        await old.advance({A: 10})
        await new.load([A])
        await new.advance({A: 50})

        assert await old.advance({A: 20}) == {A: 50}

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

        assert await MarkState(connection).load([A]) == {A: None}

    async def test_redis_that_was_emptied_before_the_first_advance_is_noticed(self, connection: Connection) -> None:
        """The very first effects of a partition can be lost too: the mark must not move past them."""
        marks = MarkState(connection)
        await marks.load([A])
        await connection.execute("DEL", connection.keys.shared("marks", "combat"))

        await marks.advance({A: 20})
        await marks.advance({A: 30})

        assert await marks.load([A]) == {A: None}
        assert await marks.advance({A: 40}) == {A: None}
        assert await marks.load([A]) == {A: 40}

    async def test_a_mark_that_was_taken_for_moved_is_not_moved_over(self, connection: Connection) -> None:
        """Redis was emptied before the first advance, which cannot be told from a mark of 0; when it comes back with an older copy
        after that, the mark of the copy is evidence of what is missing, and stays."""
        marks = MarkState(connection)
        await marks.load([A])
        await connection.execute("DEL", connection.keys.shared("marks", "combat"))
        assert await marks.advance({A: 6}) == {A: None}
        await MarkState(connection).load([A])

        assert await marks.advance({A: 8}) == {A: None}
        assert await MarkState(connection).load([A]) == {A: None}

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

        assert await marks.advance({A: 60}) == {A: 40}

        assert await marks.load([A]) == {A: 60}

    async def test_an_advance_whose_answer_was_lost_may_be_repeated(self, connection: Connection) -> None:
        """redis-py sends a command again when its reply is lost; that must not look like a Redis that went back."""
        marks = MarkState(connection)
        await marks.load([A])
        await connection.execute("HSET", connection.keys.shared("marks", "combat"), 0, 100)

        assert await marks.advance({A: 100}) == {A: 100}
        assert await marks.advance({A: 110}) == {A: 100}
