"""A room with an area of interest, seen by its clients, against a model that knows only who stands where (Hypothesis)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.gateway.server_frame import encode_entry, join_entries, server_frame, tick_frame
from gamebus.protocol import frames
from gamebus.protocol.frames import Encoding
from tests.gateway.hub_kit import PERIOD_S, Gateway, Reader

CATALOG = parse_catalog('[rooms."r"]\ninterest = "grid"\ncell_size = 10\n')
PLAYERS = [f"p{number}" for number in range(6)]
players = st.sampled_from(PLAYERS)
# A few cells in each direction, so that players meet and part.
places = st.tuples(st.integers(-2, 2), st.integers(-2, 2))


def grid_gateway() -> Gateway:
    return Gateway(catalog=CATALOG)


def see_each_other(one: Any, other: Any) -> bool:
    return all(abs(one[axis] // 10 - other[axis] // 10) <= 1 for axis in (1, 2))


class TestFrame:
    @pytest.mark.parametrize("encoding", Encoding)
    @pytest.mark.parametrize("count", [1, 15, 16, 70_000])
    def test_is_what_a_tick_is(self, encoding: Encoding, count: int) -> None:
        """Made of entries that were encoded apart, and not a byte different."""
        entries = [(f"player-{index}", [index, 1.5, -2.0, 0.0] if index % 3 else None) for index in range(count)]

        joined = join_entries((encode_entry(*entry, encoding) for entry in entries), encoding)
        made = tick_frame("arena/é", 1_763_900_000_123, count, joined, encoding)

        assert made == server_frame(frames.tick("arena/é", 1_763_900_000_123, entries), encoding)


class TestGridRoom:
    def test_a_player_sees_its_surroundings(self) -> None:
        """Who is far is not there; who comes near is there at once, with its full value; who goes is null."""
        gateway = grid_gateway()
        ann, bob = gateway.reader("ann", "r"), gateway.reader("bob", "r")
        gateway.move("r", "ann", 5, 5, 0)
        gateway.loop.advance(PERIOD_S)
        gateway.move("r", "bob", 95, 5, 0)
        gateway.loop.advance(PERIOD_S)
        assert ann.view("r").keys() == {"ann"}
        assert bob.view("r").keys() == {"bob"}

        near = gateway.move("r", "bob", 15, 5, 0)
        gateway.loop.advance(PERIOD_S)
        assert ann.view("r")["bob"] == near
        assert bob.view("r").keys() == {"ann", "bob"}

        gateway.move("r", "bob", 95, 5, 0)
        gateway.loop.advance(PERIOD_S)
        assert ann.of("tick")[-1][3] == [["bob", None]]
        assert ["ann", None] in bob.of("tick")[-1][3]

    def test_one_frame_serves_all_who_look_from_a_cell(self) -> None:
        """The same bytes object, as in rooms without a grid."""
        gateway = grid_gateway()
        readers = [gateway.reader(name, "r") for name in ("ann", "bob", "cat")]
        for name in ("ann", "bob", "cat"):
            gateway.move("r", name, 5, 5, 0)
        gateway.loop.advance(1.0)
        before = [len(reader.frames) for reader in readers]
        gateway.move("r", "ann", 6, 6, 0)
        gateway.loop.advance(1.0)

        sent = [reader.frames[count:] for reader, count in zip(readers, before, strict=True)]
        assert len({id(frame) for frames_ in sent for frame in frames_}) == 1

    def test_who_has_no_position_sees_nobody_and_spectators_see_all(self) -> None:
        """A client joins an arena of a thousand without being sent a thousand positions; an observer is."""
        gateway = grid_gateway()
        gateway.reader("ann", "r")
        here = gateway.move("r", "ann", 500, 500, 0)
        gateway.loop.advance(1.0)

        bob, eye = gateway.reader("bob", "r"), gateway.reader("eye", "r", role=Role.SPECTATOR)

        assert bob.of("joined")[0][2]["positions"] == []
        assert bob.of("joined")[0][2]["players"] == ["ann", "bob"]
        assert eye.of("joined")[0][2]["positions"] == [["ann", here]]

    def test_a_poison_position_harms_nobody(self) -> None:
        """Somebody else writes to the topic; the others go on."""
        gateway = grid_gateway()
        ann = gateway.reader("ann", "r")
        gateway.move("r", "ann", 5, 5, 0)
        gateway.loop.advance(1.0)
        for poison in ("x", None, float("nan")):
            gateway.move("r", "bad", poison, 0, 0)  # type: ignore[arg-type]
        here = gateway.move("r", "ann", 6, 5, 0)
        gateway.loop.advance(1.0)

        assert ann.view("r") == {"ann": here}


class AnyView(RuleBasedStateMachine):
    """Players move, come, go and read slowly, in any order; each client's view is that of the model."""

    @initialize()
    def start(self) -> None:
        self.gateway = grid_gateway()
        self.readers: dict[str, Reader] = {}
        self.where: dict[str, list[float]] = {}
        self.eye = self.gateway.reader("eye", "r", role=Role.SPECTATOR)

    @rule(player=players, encoding=st.sampled_from(Encoding))
    def join(self, player: str, encoding: Encoding) -> None:
        if player not in self.readers:
            self.readers[player] = self.gateway.reader(player, "r", encoding=encoding)

    @precondition(lambda self: self.readers)
    @rule(player=players)
    def leave(self, player: str) -> None:
        reader = self.readers.pop(player, None)
        if reader is not None:
            self.gateway.hub.leave(reader, "r")
            self.where.pop(player, None)

    @rule(player=players, place=places)
    def move(self, player: str, place: tuple[int, int]) -> None:
        if player in self.readers:
            self.gateway.loop.advance(0.001)
            self.where[player] = self.gateway.move("r", player, place[0] * 10 + 3, place[1] * 10 + 3, 0)

    @rule(player=players, full=st.booleans())
    def stall(self, player: str, full: bool) -> None:
        if player in self.readers:
            self.readers[player].stall(full=full)

    @rule(player=players, count=st.integers(1, 5))
    def read_some(self, player: str, count: int) -> None:
        if player in self.readers:
            self.readers[player].read_some(count)

    @rule(player=players)
    def resume(self, player: str) -> None:
        if player in self.readers:
            self.readers[player].resume()

    @rule()
    def pass_time(self) -> None:
        self.gateway.loop.advance(PERIOD_S)

    @rule()
    def converge(self) -> None:
        for reader in self.readers.values():
            reader.resume()
        self.gateway.loop.advance(2 * PERIOD_S)
        assert self.eye.view("r") == self.where
        for player, reader in self.readers.items():
            here = self.where.get(player)
            seen = {name: data for name, data in self.where.items() if here is not None and see_each_other(here, data)}
            assert reader.view("r") == seen

    def teardown(self) -> None:
        self.converge()


# A failure is made smaller before it is told, for up to five minutes.
@pytest.mark.timeout(600)
def test_every_view_is_that_of_the_model() -> None:
    """Whoever moves, comes, goes or reads slowly: a client knows exactly who is around it, and where."""
    run_state_machine_as_test(
        AnyView,
        settings=settings(
            max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
