"""The directory against a real server."""

from __future__ import annotations

import msgpack

from gamebus.gateway.directory import Directory
from gamebus.state.connection import Connection
from gamebus.state.directory import TTL_MS, DirectoryState, PlayerEntry, RoomEntry

ARENA, LOBBY = RoomEntry(2, 20), RoomEntry(1, 5)
ALICE = PlayerEntry("s1", "player", ("arena", "lobby"), 0, 0, None)
BOB = PlayerEntry("s2", "player", ("arena",), 512, 3, 20.5)


class Census:
    def __init__(self) -> None:
        self.rooms = {"arena": ARENA, "lobby": LOBBY}
        self.players = {"alice": ALICE, "bob": BOB}

    def __call__(self) -> tuple[dict[str, RoomEntry], dict[str, PlayerEntry]]:
        return dict(self.rooms), dict(self.players)


class TestDirectory:
    async def test_rooms_and_players_are_found_with_their_gateways(self, connection: Connection) -> None:
        """A room of two gateways is one room; a player has the gateway that he is on."""
        state, census = DirectoryState(connection), Census()
        await Directory(state, gateway="a", census=census).write()
        await state.write("b", rooms={"arena": ARENA}, players={"carol": BOB}, anew=True)

        assert await state.rooms(["a", "b", "gone"]) == {"arena": {"a": ARENA, "b": ARENA}, "lobby": {"a": LOBBY}}
        assert await state.player(["a", "b"], "alice") == {"a": ALICE}
        assert await state.player(["a", "b"], "nobody") == {}
        assert await state.players(["a", "b"], ["alice", "carol", "nobody"]) == {"alice": ALICE, "carol": BOB}
        assert await state.players(["a"], []) == {}
        assert sorted(await state.search(["a", "b"], "o", limit=10)) == [("bob", "a", BOB), ("carol", "b", BOB)]
        assert len(await state.search(["a", "b"], "", limit=2)) == 2
        assert await state.search(["a", "b"], "*", limit=10) == []

    async def test_what_is_gone_is_taken_out(self, connection: Connection) -> None:
        """Only the difference is written, and nobody stays who has left."""
        state, census = DirectoryState(connection), Census()
        directory = Directory(state, gateway="a", census=census)
        await directory.write()
        del census.rooms["lobby"], census.players["bob"]
        census.players["alice"] = PlayerEntry("s1", "player", ("arena",), 7, 4, 1.5)
        await directory.write()

        assert await state.rooms(["a"]) == {"arena": {"a": ARENA}}
        assert await state.search(["a"], "", limit=10) == [("alice", "a", census.players["alice"])]

    async def test_what_redis_lost_comes_back(self, connection: Connection) -> None:
        """Emptied between two changes, it holds a part only: the next word but one is the whole again."""
        state, census = DirectoryState(connection), Census()
        directory = Directory(state, gateway="a", census=census)
        await directory.write()
        await state.forget("a")
        census.players["carol"] = BOB
        await directory.write()
        await directory.write()

        assert await state.rooms(["a"]) == {"arena": {"a": ARENA}, "lobby": {"a": LOBBY}}
        assert await state.player(["a"], "alice") == {"a": ALICE}

    async def test_the_part_of_a_dead_gateway_expires(self, connection: Connection) -> None:
        """Nobody is found on a gateway that does not live."""
        state = DirectoryState(connection)
        await Directory(state, gateway="a", census=Census()).write()

        for kind in ("rooms", "players", "troubled"):
            assert 0 < await connection.execute("PTTL", connection.keys.shared(f"directory:{kind}", "a")) <= TTL_MS
        await Directory(state, gateway="a", census=Census()).forget()
        assert await state.rooms(["a"]) == {}

    async def test_a_gateway_of_the_version_before_is_read_as_well(self, connection: Connection) -> None:
        """While a fleet is replaced, entries without the count of rate limits, or without a round trip, are there, too."""
        key = connection.keys.shared("directory:players", "old")
        for entry in (["s1", "player", ["arena"], 7], ["s1", "player", ["arena"], 7, 0]):
            await connection.execute("HSET", key, "alice", msgpack.packb(entry))

            assert await DirectoryState(connection).player(["old"], "alice") == {
                "old": PlayerEntry("s1", "player", ("arena",), 7, 0, None)
            }

    async def test_who_is_in_trouble_is_found_without_a_name(self, connection: Connection) -> None:
        """Who sends too much, reads too slowly or is far away; the worst of many, and nobody once it is over."""
        state, census = DirectoryState(connection), Census()
        directory = Directory(state, gateway="a", census=census)
        far, near = PlayerEntry("s3", "player", (), 0, 0, 900.0), PlayerEntry("s4", "player", (), 0, 0, 30.0)
        census.players |= {"far": far, "near": near}
        await directory.write()
        assert sorted(await state.troubled(["a", "gone"])) == [("bob", "a", BOB), ("far", "a", far)]

        census.players |= {f"crowd{number}": PlayerEntry("s", "player", (), 0, 5, None) for number in range(200)}
        census.players["flood"] = PlayerEntry("s", "player", (), 0, 99, None)
        await directory.write()
        names = [name for name, _, _ in await state.troubled(["a"])]
        assert len(names) == 50
        assert "flood" in names

        census.players = {"alice": ALICE, "near": near}
        await directory.write()
        assert await state.troubled(["a"]) == []
