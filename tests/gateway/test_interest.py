"""Which partitions a gateway reads."""

from __future__ import annotations

from collections.abc import Collection

from gamebus.gateway.interest import Interest, Partition


class Followed:
    """What the tail was told last, and how often."""

    def __init__(self, *, scattered: Collection[str] = ()) -> None:
        self.now: list[Partition] = []
        self.told = 0
        self.interest = Interest(
            partitions={"position": 4},
            scattered=scattered,
            partition=lambda _, room: int(room) % 4,
            follow=self._follow,
        )

    def _follow(self, partitions: Collection[Partition]) -> None:
        self.now = sorted(partitions)
        self.told += 1


class TestInterest:
    def test_follows_the_rooms(self) -> None:
        """A partition is read while it holds a room of this gateway, whichever of its rooms goes first."""
        followed = Followed()
        for room in ("1", "5", "2"):
            followed.interest.add(room)
        assert followed.now == [("position", 1), ("position", 2)]

        followed.interest.remove("1")
        assert followed.now == [("position", 1), ("position", 2)]
        followed.interest.remove("5")
        followed.interest.remove("2")
        assert followed.now == []

    def test_says_nothing_that_is_known(self) -> None:
        """The tail is told of changes only: a thousand rooms of twelve partitions are twelve changes."""
        followed = Followed()
        for number in range(1000):
            followed.interest.add(str(number))

        assert followed.told == 4

    def test_scattered_types_are_read_everywhere(self) -> None:
        """A type keyed by player leaves its records of a room in any partition."""
        followed = Followed(scattered=["position"])
        followed.interest.add("1")
        assert len(followed.now) == 4

        followed.interest.remove("1")
        assert followed.now == []
