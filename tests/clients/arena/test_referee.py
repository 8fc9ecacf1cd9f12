"""The rules of the arena: the game server is the authority on hits."""

from __future__ import annotations

from math import atan2
from random import Random
from typing import Any

import pytest

from gamebus import events
from gamebus_arena.arena_map import Ground, Point, Wall
from gamebus_arena.events import Hit, Killed, MedkitTaken, Outcome, RoundWon, Spawned
from gamebus_arena.referee import (
    DAMAGE,
    HEALED_BY_MEDKIT,
    MEDKIT_BACK_MS,
    PROTECTED_MS,
    RESPAWN_MS,
    ROUND_KILLS,
    SHOT_PAUSE_MS,
    Referee,
)

OPEN = Ground(20, 20, walls=(Wall(-1, 5, 2, 2),), spawns=((0, 0),), medkits=((10.0, 10.0),), waypoints=((0, 0),))
START = 1_000_000
STILL = (0.0, 0.0)


class Match:
    """A referee, its clock, and two players who stand where they are put."""

    def __init__(self) -> None:
        self.referee = Referee(OPEN, Random(1))
        self.now = START
        self.outcomes: list[Outcome] = []
        self.places: dict[str, Point] = {}

    def enter(self, **places: Point) -> None:
        for name, place in places.items():
            self.referee.enter(name)
            self.places[name] = place
        self.step()
        self.wait(PROTECTED_MS + 1)

    def wait(self, ms: int) -> None:
        """Everybody stands, and time passes in the steps of the game server."""
        end = self.now + ms
        while self.now < end:
            self.now = min(end, self.now + 25)
            for name, place in self.places.items():
                self.referee.moved(name, self.now, place, STILL)
            self.step()

    def step(self) -> None:
        self.outcomes += self.referee.step(self.now)

    def shoot(self, by: str, at: str, *, seen_ms: int | None = None, aim: Point | None = None) -> bool:
        (x, z), (to_x, to_z) = self.places[by], aim or self.places[at]
        data = {"x": x, "z": z, "heading": atan2(to_z - z, to_x - x), "at_ms": self.now if seen_ms is None else seen_ms}
        return self.referee.shot(by, self.now, data, self.now)

    def kill(self, by: str, victim: str) -> None:
        while self.referee.fighters[victim].alive:
            assert self.shoot(by, victim)
            self.wait(400)

    def told(self, kind: type[Any]) -> list[Any]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, kind)]


@pytest.fixture
def match() -> Match:
    match = Match()
    match.enter(ada=(0.0, 0.0), bob=(8.0, 0.0))
    match.outcomes.clear()
    return match


class TestHits:
    def test_a_shot_that_meets_a_player_costs_health_once(self, match: Match) -> None:
        """One shot is one hit, told once, with the health that is left."""
        assert match.shoot("ada", "bob")
        match.wait(1_500)

        (hit,) = match.told(Hit)
        assert (hit.victim, hit.by, hit.health) == ("bob", "ada", 100 - DAMAGE)
        assert hit.place == pytest.approx((7.2, 0.0))

    def test_a_wall_protects(self, match: Match) -> None:
        """A shot ends at the first wall on its way."""
        match.places |= {"ada": (0.0, 2.0), "bob": (0.0, 10.0)}
        match.wait(100)
        assert match.shoot("ada", "bob")
        match.wait(1_500)

        assert match.told(Hit) == []

    def test_a_shot_is_judged_by_what_its_shooter_saw(self, match: Match) -> None:
        """Bob stood in the line of fire when Ada saw him there, and has gone on since: lag is the game's to bear, not the shooter's."""
        seen_ms = match.now - 200
        match.places["bob"] = (8.0, 4.0)
        match.wait(25)
        assert match.shoot("ada", "bob", seen_ms=seen_ms - 100, aim=(8.0, 0.0))
        match.wait(1_500)

        assert [hit.victim for hit in match.told(Hit)] == ["bob"]

    def test_a_claim_to_have_seen_the_distant_past_is_not_believed(self, match: Match) -> None:
        """The rewind is bounded: who says it saw a second ago gets what it could have seen at most."""
        match.places["bob"] = (8.0, 4.0)
        match.wait(900)
        assert match.shoot("ada", "bob", seen_ms=match.now - 1_200, aim=(8.0, 0.0))
        match.wait(1_500)

        assert match.told(Hit) == []

    @pytest.mark.parametrize(
        "data",
        [
            None,
            {},
            {"x": 0, "z": 0, "heading": "east", "at_ms": START},
            {"x": 0, "z": 0, "heading": True, "at_ms": START},
            {"x": 15, "z": 15, "heading": 0, "at_ms": START},
            {"x": float("nan"), "z": 0, "heading": 0, "at_ms": START},
        ],
        ids=["nothing", "empty", "text", "boolean", "from elsewhere", "nan"],
    )
    def test_what_is_no_shot_from_where_its_player_is_does_not_fly(self, match: Match, data: Any) -> None:
        """Any page may publish any value as a shot; only one that its player could have fired counts."""
        assert not match.referee.shot("ada", match.now, data, match.now)

    def test_nobody_shoots_faster_than_the_weapon(self, match: Match) -> None:
        """A second shot within the pause is refused, the next one after it flies."""
        assert match.shoot("ada", "bob")
        match.wait(50)
        assert not match.shoot("ada", "bob")
        match.wait(SHOT_PAUSE_MS)
        assert match.shoot("ada", "bob")

    def test_shots_of_a_resume_come_too_late(self, match: Match) -> None:
        """Events that a reconnect brings were decided by the moment, and it is over."""
        data = {"x": 0.0, "z": 0.0, "heading": 0.0, "at_ms": match.now}
        assert not match.referee.shot("ada", match.now, data, match.now + 5_000)


class TestDeath:
    def test_is_told_once_as_kill_and_the_victim_comes_back(self, match: Match) -> None:
        """The hit that leaves no health is one kill; the dead can neither be hit nor shoot, and spawn after a pause, protected."""
        match.kill("ada", "bob")
        assert match.shoot("ada", "bob")
        assert not match.shoot("bob", "ada")
        match.wait(RESPAWN_MS)

        assert len(match.told(Killed)) == 1
        assert (match.told(Killed)[0].killer, match.told(Killed)[0].victim) == ("ada", "bob")
        last = match.told(Hit)[-1]
        assert (last.health, last.kills, last.deaths) == (0, 1, 1)
        (spawn,) = match.told(Spawned)
        assert (spawn.player, spawn.health) == ("bob", 100)
        assert spawn.protected_until_ms > match.now - 100

    def test_names_who_helped(self, match: Match) -> None:
        """Who hurt the victim shortly before assists; the killer does not."""
        match.enter(cleo=(8.0, 8.0))
        match.wait(100)
        assert match.shoot("cleo", "bob")
        match.wait(400)
        match.kill("ada", "bob")

        assert match.told(Killed)[0].assists == ("cleo",)

    def test_who_has_just_begun_is_protected_until_it_shoots(self, match: Match) -> None:
        """Shots pass through a player that has just spawned; firing ends that."""
        match.referee.enter("cleo")
        match.places["cleo"] = (-8.0, 0.0)
        match.step()
        match.places["cleo"] = (0.0, 0.0)  # the spawn point
        match.places |= {"ada": (-8.0, 0.0), "bob": (8.0, 15.0)}
        match.wait(100)
        assert match.shoot("ada", "cleo")
        match.wait(400)
        assert [hit for hit in match.told(Hit) if hit.victim == "cleo"] == []

        assert match.shoot("cleo", "ada", aim=(0.0, -8.0))
        assert match.shoot("ada", "cleo")
        match.wait(400)
        assert [hit.victim for hit in match.told(Hit)] == ["cleo"]

    def test_a_kill_heals_the_killer(self, match: Match) -> None:
        """Who wins a fight goes on with some of the health it cost."""
        match.shoot("bob", "ada")
        match.wait(400)
        match.kill("ada", "bob")

        assert match.told(Hit)[-1].healed_to == 100
        assert match.referee.fighters["ada"].health == 100


class TestRound:
    def test_ends_with_the_last_kill_and_counts_begin_anew(self, match: Match) -> None:
        """Who reaches the kills of a round wins it, once; then everybody has none."""
        for _ in range(ROUND_KILLS):
            match.kill("ada", "bob")
            match.wait(RESPAWN_MS + PROTECTED_MS + 100)

        (won,) = match.told(RoundWon)
        assert (won.winner, won.kills, won.next_round) == ("ada", ROUND_KILLS, 2)
        assert {(one.kills, one.deaths) for one in match.referee.fighters.values()} == {(0, 0)}

    def test_who_comes_back_in_the_same_round_keeps_its_counts(self, match: Match) -> None:
        """A lost connection costs a life, not the score."""
        match.kill("ada", "bob")
        match.referee.leave("ada")
        match.wait(500)
        match.referee.enter("ada")

        assert match.referee.fighters["ada"].kills == 1

    def test_a_medkit_heals_who_needs_it_and_is_gone_for_a_while(self, match: Match) -> None:
        """The hurt take it, the healthy leave it, and it comes back."""
        match.places["bob"] = (10.0, 10.0)
        match.wait(100)
        assert match.told(MedkitTaken) == []
        match.referee.fighters["bob"].health = 25
        match.wait(100)
        match.referee.fighters["bob"].health = 25
        match.wait(100)

        (taken,) = match.told(MedkitTaken)
        assert (taken.player, taken.health) == ("bob", 25 + HEALED_BY_MEDKIT)
        match.wait(MEDKIT_BACK_MS)
        assert len(match.told(MedkitTaken)) == 2


class TestState:
    def test_fits_into_the_event_and_both_encodings(self) -> None:
        """The whole state of a full arena is data that the catalog's `arena` type carries."""
        match = Match()
        match.enter(**{f"player-{number:02}-long-name": (0.0, 0.0) for number in range(40)})
        state = match.referee.state(match.now)

        assert events.any_value(state) == state
        assert len(repr(state)) < 16_384
        assert state["players"]["player-00-long-name"]["health"] == 100
