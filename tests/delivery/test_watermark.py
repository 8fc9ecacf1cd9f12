"""The commit watermark of a partition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery.watermark import Watermark


def taken(start: int, *offsets: int, end: int) -> Watermark:
    """A watermark after one poll whose pieces of work begin at `offsets`."""
    watermark = Watermark(start)
    for offset in offsets:
        watermark.take(offset)
    watermark.read_to(end)
    return watermark


class TestWatermark:
    def test_waits_for_the_lowest_unfinished_piece(self) -> None:
        """A crash after out-of-order completion must redeliver the record that was still running."""
        watermark = taken(100, 100, 101, 102, end=103)

        watermark.done(102)
        assert watermark.committable == 100

        watermark.done(100)
        assert watermark.committable == 101

    def test_says_whether_it_moved(self) -> None:
        """The committer is woken only by progress that can be committed."""
        watermark = taken(0, 0, 1, end=2)

        assert not watermark.done(1)
        assert watermark.done(0)

    def test_passes_offsets_that_nobody_has_to_process(self) -> None:
        """Gaps between offsets and whatever follows the last piece are not waited for."""
        watermark = taken(10, 12, end=20)
        assert watermark.committable == 12

        watermark.done(12)
        assert watermark.committable == watermark.next == 20

    def test_starts_at_the_position(self) -> None:
        """Nothing read yet: the position itself is what may be committed."""
        assert Watermark(7).committable == 7

    @pytest.mark.parametrize("offset", [99, 100, 101])
    def test_refuses_to_go_back(self, offset: int) -> None:
        """Work that is taken out of order would be passed by the watermark: a bug of the intake, named at once."""
        watermark = taken(100, 101, end=102)

        with pytest.raises(ValueError, match="intake follows the partition"):
            watermark.take(offset)

    def test_refuses_to_read_backwards(self) -> None:
        """A rewound partition gets a new watermark instead."""
        with pytest.raises(ValueError, match="read forwards"):
            Watermark(5).read_to(4)

    @given(data=st.data())
    def test_never_passes_unfinished_work_and_never_moves_back(self, data: st.DataObject) -> None:
        """For every interleaving of polls and completions it is the first unfinished offset, else the end of what was read."""
        watermark = Watermark(0)
        position, unfinished = 0, set[int]()
        for _ in range(data.draw(st.integers(0, 8))):
            steps: list[Any] = data.draw(st.lists(st.integers(1, 4), max_size=5))
            for step in steps:
                watermark.take(position)
                unfinished.add(position)
                position += step
            watermark.read_to(position)
            for offset in data.draw(st.permutations(sorted(unfinished))):
                if data.draw(st.booleans()):
                    before = watermark.committable
                    unfinished.discard(offset)
                    moved = watermark.done(offset)
                    assert watermark.committable >= before
                    assert moved == (watermark.committable > before)
                assert watermark.committable == min(unfinished, default=position)
