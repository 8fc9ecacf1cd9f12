"""The game of the bots: the same seed is the same game, and meetings are fights."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import dist
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.world import REACH_M, SPAWN_PROTECTION_S, SPEED_M_S, Arena, Chatter

PLAYERS = [f"p{number}" for number in range(10)]


class TestWalking:
    @given(steps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40))
    def test_a_place_depends_on_the_time_alone(self, steps: list[float]) -> None:
        """However often a walker is asked, it is where it would have been anyway."""
        stepwise, at_once = Arena(PLAYERS, "seed"), Arena(PLAYERS, "seed")
        now_s = 0.0
        for step in steps:
            now_s += step
            place = stepwise.place("p3", now_s)
        assert place == at_once.place("p3", now_s)

    @given(seed=st.text(max_size=5), now_s=st.floats(0, 600))
    def test_stays_in_the_arena(self, seed: str, now_s: float) -> None:
        """Positions are inside the square, on the ground."""
        arena = Arena(PLAYERS, seed)
        x, y, z = arena.place("p0", now_s)
        assert 0 <= x <= arena.side_m
        assert 0 <= z <= arena.side_m
        assert y == 0

    def test_moves_no_faster_than_it_walks(self) -> None:
        """A tick of 50 ms moves a walker by at most its speed."""
        arena = Arena(PLAYERS, "seed")
        places = [arena.place("p0", number * 0.05) for number in range(2000)]
        steps = [dist(one, other) for one, other in pairwise(places)]
        assert max(steps) <= SPEED_M_S * 0.05 + 1e-9
        assert max(steps) > 0

    def test_seeds_make_different_games(self) -> None:
        """Another seed, another way."""
        assert Arena(PLAYERS, "one").place("p0", 5.0) != Arena(PLAYERS, "two").place("p0", 5.0)


class TestFighting:
    def test_the_same_seed_is_the_same_game(self) -> None:
        """Fights repeat exactly: who, whom, with what, where."""

        def game() -> list[object]:
            arena = Arena(PLAYERS, "seed")
            return [fight for number in range(400) for fight in arena.fights(number * 0.25)]

        fights = game()
        assert fights == game()
        assert len(fights) > 10

    def test_only_neighbours_fight(self) -> None:
        """A kill needs two players within reach; nobody fights twice at once or kills itself."""
        arena = Arena(PLAYERS, "seed")
        for number in range(400):
            now_s = number * 0.25
            before = {player: arena.place(player, now_s) for player in PLAYERS}
            fights = arena.fights(now_s)
            for fight in fights:
                assert dist(before[fight.killer], before[fight.victim]) < REACH_M
                assert fight.place == before[fight.victim]
            involved = [player for fight in fights for player in (fight.killer, fight.victim)]
            assert len(involved) == len(set(involved))

    def test_a_victim_is_protected_for_a_while(self) -> None:
        """Who has just died is not killed again at once."""
        arena = Arena(PLAYERS, "seed")
        died: dict[str, float] = {}
        for number in range(800):
            now_s = number * 0.25
            for fight in arena.fights(now_s):
                for player in (fight.killer, fight.victim):
                    assert now_s - died.get(player, -SPAWN_PROTECTION_S) >= SPAWN_PROTECTION_S
                died[fight.victim] = now_s

    def test_density_does_not_depend_on_the_number(self) -> None:
        """Everyone fights about as often in a large room as in a small one, so load grows with the players."""
        rates = []
        for count in (10, 40):
            arena = Arena([f"p{number}" for number in range(count)], "seed")
            rates.append(sum(len(arena.fights(number * 0.25)) for number in range(800)) / count)
        low, high = sorted(rates)
        assert high < low * 3

    def test_nobody_meets_alone(self) -> None:
        """A room of one has no fights."""
        arena = Arena(["p"], "seed")
        assert not any(arena.fights(number * 0.25) for number in range(100))


class TestChatter:
    def test_speaks_at_its_rate(self) -> None:
        """The mean pause is one over the rate; the silent never speak."""
        chatter = Chatter(0.5, Random(1))
        pauses = [chatter.pause_s() for _ in range(2000)]
        assert 1.8 < sum(pauses) / len(pauses) < 2.2
        assert Chatter(0.0, Random(1)).pause_s() == float("inf")

    def test_says_what_a_gateway_takes(self) -> None:
        """1..500 characters without control characters, already trimmed."""
        chatter = Chatter(1.0, Random(1))
        for _ in range(100):
            text = chatter.text()
            assert 1 <= len(text) <= 500
            assert text == text.strip()
            assert text.isprintable()


def test_all_pairs_can_meet() -> None:
    """The arena is one place: over a long game nearly everyone meets nearly everyone."""
    arena = Arena(PLAYERS, "seed")
    met = {frozenset((fight.killer, fight.victim)) for number in range(8000) for fight in arena.fights(number * 0.25)}
    assert len(met) > 0.9 * len(list(combinations(PLAYERS, 2)))
