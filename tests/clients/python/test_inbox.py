"""The queue between connection and program."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gamebus_client import Joined, Left, Presence, Tick
from gamebus_client.inbox import Inbox


class TestInbox:
    async def test_one_tick_per_room_in_the_order_of_first_arrival(self) -> None:
        """Ticks take one place per room, whatever comes."""
        inbox = Inbox(10)
        for tick in (Tick("r", 1, {"a": [1.0]}), Tick("s", 1, {"a": [1.0]}), Tick("r", 2, {"b": [2.0]})):
            assert inbox.put(tick)
        assert await inbox.get() == Tick("r", 2, {"a": [1.0], "b": [2.0]})
        assert await inbox.get() == Tick("s", 1, {"a": [1.0]})
        assert inbox.put(Tick("r", 3, {"a": [3.0]}))
        assert await inbox.get() == Tick("r", 3, {"a": [3.0]})

    @pytest.mark.parametrize(
        ("first", "second", "merged"),
        [
            (Tick("r", 1, {"a": [1.0]}), Tick("r", 2, {"a": None}), {"a": None}),
            (Tick("r", 1, {"a": [1.0]}), Tick("r", 1, {"a": None}), {"a": [1.0]}),
            (Tick("r", 1, {"a": None}), Tick("r", 1, {"a": [1.0]}), {"a": [1.0]}),
            (Tick("r", 1, {"a": None}), Tick("r", 2, {"a": [1.0]}), {"a": [1.0]}),
        ],
    )
    async def test_a_value_of_the_same_moment_wins_over_a_null(
        self, first: Tick, second: Tick, merged: Mapping[str, list[float] | None]
    ) -> None:
        """The wire protocol's rule for a player who crosses a border within one tick."""
        inbox = Inbox(10)
        inbox.put(first)
        inbox.put(second)
        tick = await inbox.get()
        assert isinstance(tick, Tick)
        assert tick.positions == merged

    async def test_an_older_value_does_not_win_over_a_null(self) -> None:
        """Only values of the null's own moment count: the one merged from an earlier tick is gone."""
        inbox = Inbox(10)
        for tick in (
            Tick("r", 1, {"a": [1.0]}),
            Tick("r", 2, {"b": [1.0]}),
            Tick("r", 2, {"a": None}),
        ):
            inbox.put(tick)
        merged = await inbox.get()
        assert isinstance(merged, Tick)
        assert merged.positions == {"a": None, "b": [1.0]}

    @pytest.mark.parametrize("message", [Left("r"), Joined("r", "c", (), {}, 20.0, None)])
    async def test_a_tick_from_before_is_forgotten(self, message: Left | Joined) -> None:
        """After joining anew the room's state is what `joined` says, not what waited."""
        inbox = Inbox(10)
        inbox.put(Tick("r", 1, {"a": [1.0]}))
        inbox.put(message)
        inbox.put(Tick("r", 2, {"b": [2.0]}))
        assert await inbox.get() == message
        assert await inbox.get() == Tick("r", 2, {"b": [2.0]})

    async def test_refuses_past_the_bound_and_tells_when_half_is_taken(self) -> None:
        """The bound counts everything but ticks, and is hard except for what ends or explains a connection."""
        inbox = Inbox(2)
        message = Presence("r", (), ())
        assert inbox.put(message)
        assert inbox.put(message)
        assert not inbox.put(message)
        assert inbox.put(Tick("r", 1, {}))
        assert inbox.put(message, force=True)
        assert len(inbox) == 3
        for _ in range(3):
            await inbox.get()
        await inbox.drained()

    async def test_ends_after_what_waits(self) -> None:
        """Closing loses nothing that came before."""
        inbox = Inbox(2)
        inbox.put(Left("r"))
        inbox.close()
        assert await inbox.get() == Left("r")
        assert await inbox.get() is None
