"""When positions were planned and seen."""

from __future__ import annotations

from math import isnan
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.flights import Flights, Watch, pairs


def flights(count: int) -> Flights:
    made = Flights()
    for seq in range(1, count + 1):
        made.planned("a", seq, seq / 10)
        made.sent("a", seq, seq / 10 + 0.01)
    return made


class TestFlights:
    def test_finds_the_times_of_recent_positions(self) -> None:
        """By player and seq, as long as it is in the ring; never that of another position in the same place."""
        made = flights(2000)
        assert made.times("a", 2000) == (200.0, 200.01)
        assert made.times("a", 1489) == (148.9, 148.91)
        assert made.times("a", 1488) is None
        assert made.times("a", 2001) is None
        assert made.times("b", 1) is None

    def test_what_was_not_sent_has_no_time_of_it(self) -> None:
        """Also where an older position stood in the same place."""
        made = flights(512)
        made.planned("a", 513, 60.0)
        times = made.times("a", 513)
        assert times is not None
        assert times[0] == 60.0
        assert isnan(times[1])


class TestWatch:
    def test_what_is_overtaken_is_known_when_it_is(self) -> None:
        """Seeing number 5 after number 2 makes 3, 4 and 5 known; the first one seen only itself."""
        watch = Watch(flights(9))
        assert [planned for planned, _ in watch.saw("a", 2)] == [0.2]
        assert [planned for planned, _ in watch.saw("a", 5)] == [0.3, 0.4, 0.5]
        assert [planned for planned, _ in watch.unseen()] == [0.6, 0.7, 0.8, 0.9]

    def test_older_is_stale_and_the_same_again_is_not(self) -> None:
        """A position may be shown again when a player comes into view; never an older one."""
        watch = Watch(flights(9))
        list(watch.saw("a", 5))
        assert list(watch.saw("a", 5)) == []
        assert watch.stale == 0
        assert list(watch.saw("a", 4)) == []
        assert watch.stale == 1

    def test_a_reconnect_and_leaving_the_view_owe_nothing(self) -> None:
        """What passed meanwhile is not late."""
        watch = Watch(flights(9))
        list(watch.saw("a", 2))
        watch.reconnected()
        assert list(watch.unseen()) == []
        assert [planned for planned, _ in watch.saw("a", 7)] == [0.7]
        watch.out_of_view("a")
        assert [planned for planned, _ in watch.saw("a", 9)] == [0.9]

    def test_too_late_to_tell_is_counted(self) -> None:
        """Positions that left the ring before they were seen."""
        made = flights(1)
        watch = Watch(made)
        list(watch.saw("a", 1))
        for seq in range(2, 1001):
            made.planned("a", seq, seq / 10)
        assert len(list(watch.saw("a", 1000))) == 512
        assert watch.forgotten == 487


class TestPairs:
    @given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5), limit=st.integers(1, 40), seed=st.integers(0, 9))
    def test_all_where_the_limit_allows_it_else_so_many(self, sizes: list[int], limit: int, seed: int) -> None:
        """Pairs are of one room and of two players, and no pair comes twice."""
        rooms = [[f"{room}-{number}" for number in range(size)] for room, size in enumerate(sizes)]
        chosen, total = pairs(rooms, limit, Random(seed))
        assert total == sum(size * (size - 1) for size in sizes)
        assert len(chosen) == len(set(chosen)) == min(limit, total)
        assert all(one != other and one[0] == other[0] for one, other in chosen)
