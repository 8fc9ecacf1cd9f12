"""Where the others are drawn: the same requirements as `clients/javascript/test/interpolation.test.ts`."""

from __future__ import annotations

from math import isclose, pi

from gamebus_client import Interpolator, Joined, Pose, Tick


def joined(positions: dict[str, list[float] | None]) -> Joined:
    return Joined("arena", "cursor", tuple(positions), positions, 20, None)


def interpolator() -> Interpolator:
    players = Interpolator(delay_ms=100, max_extrapolation_ms=200)
    players.joined(joined({}), 0)
    return players


def tick(players: Interpolator, server_ms: int, **positions: list[float] | None) -> None:
    players.tick(Tick("arena", server_ms, positions))


def at(x: float, *rest: float) -> list[float]:
    return [1, x, 0, 0, *rest]


def test_between_two_positions() -> None:
    """A player is drawn between the two positions around the render time."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    tick(players, 1_050, bob=at(20))
    assert players.sample(1_125)["bob"] == Pose(15, 0, 0, heading=None, extrapolated=False)


def test_nobody_too_early() -> None:
    """Nobody is known before the first position is old enough, or while the gateway's time is not known."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    assert players.sample(1_099) == {}
    assert players.sample(None) == {}
    assert players.sample(1_100)["bob"].x == 10


def test_stood_still() -> None:
    """A player who stood still does not creep towards the next position."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    tick(players, 3_000, bob=at(20))
    assert players.sample(2_900)["bob"].x == 10
    assert players.sample(3_100 - 75)["bob"].x == 15


def test_shorter_way_round() -> None:
    """Headings turn the shorter way round."""
    players = interpolator()
    tick(players, 1_000, bob=at(0, 0, 0, 0, 3))
    tick(players, 1_050, bob=at(0, 0, 0, 0, -3))
    heading = players.sample(1_125)["bob"].heading
    assert heading is not None
    assert isclose(abs(heading), pi, abs_tol=1e-9)


def test_heading_of_one_of_two() -> None:
    """A heading that only one of two positions has is drawn."""
    players = interpolator()
    tick(players, 1_000, bob=at(0))
    tick(players, 1_050, bob=at(0, 0, 0, 0, 2))
    assert players.sample(1_125)["bob"].heading == 2


def test_runs_on() -> None:
    """Without news a player runs on with its last velocity for a while, and then stands."""
    players = interpolator()
    tick(players, 1_000, bob=at(10, 100, 0, 0))
    assert players.sample(1_100)["bob"] == Pose(10, 0, 0, heading=None, extrapolated=False)
    assert players.sample(1_200)["bob"].x == 20
    assert players.sample(9_000)["bob"] == Pose(30, 0, 0, heading=None, extrapolated=True)


def test_without_velocity() -> None:
    """A player without velocity stands where it was."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    assert players.sample(9_000)["bob"].x == 10


def test_null() -> None:
    """Null takes a player away when its time has come, and a later position brings it back."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    tick(players, 1_050, bob=None)
    assert players.sample(1_149)["bob"].x == 10
    assert "bob" not in players.sample(1_150)
    tick(players, 1_200, bob=at(50))
    assert "bob" not in players.sample(1_290)
    assert players.sample(1_300)["bob"].x == 50


def test_value_and_null_of_one_time() -> None:
    """A value in a tick of the same time wins over a null, in either order."""
    players = interpolator()
    tick(players, 1_000, ann=at(1), bob=None)
    tick(players, 1_000, ann=None, bob=at(2))
    assert {player: pose.x for player, pose in players.sample(1_100).items()} == {"ann": 1, "bob": 2}


def test_older_tick() -> None:
    """A tick that is older than the newest one changes nothing."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    tick(players, 900, bob=at(99))
    assert players.sample(1_100)["bob"].x == 10


def test_entered_anew() -> None:
    """Entering the room anew forgets what was known and starts with its positions."""
    players = interpolator()
    tick(players, 1_000, bob=at(10))
    players.joined(joined({"carol": at(7)}), 2_000)
    poses = players.sample(2_000)
    assert "bob" not in poses
    assert poses["carol"].x == 7


def test_a_player_that_is_forgotten() -> None:
    """Not drawn until a newer position comes; the others stay."""
    players = interpolator()
    tick(players, 1_000, ann=at(1), bob=at(2))
    players.forget("bob")
    players.forget("nobody")
    assert set(players.sample(1_100)) == {"ann"}
    tick(players, 1_200, bob=at(50))
    assert players.sample(1_300)["bob"].x == 50


def test_bounded_buffer() -> None:
    """No more than the buffer is kept, however long nobody draws."""
    players = Interpolator(delay_ms=100, buffer_ms=1_000)
    for ms in range(0, 100_000, 50):
        tick(players, ms, bob=at(ms))
    # What is drawn of the past begins with the buffer.
    assert players.sample(50_000) == {}
    assert players.sample(99_100)["bob"].x == 99_000


def test_who_went_is_forgotten() -> None:
    """Players who went cost no memory once they are not drawn any more."""
    players = interpolator()
    for number in range(1_000):
        tick(players, 1_000, **{f"player-{number}": at(number)})
        tick(players, 1_050, **{f"player-{number}": None})
    assert len(players.sample(1_149)) == 1_000
    assert players.sample(1_150) == {}
    assert not players._samples
