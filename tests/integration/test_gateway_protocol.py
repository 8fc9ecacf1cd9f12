"""The wire protocol, sentence by sentence, against a real gateway process on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.typing import Subprotocol

from gamebus.catalog import Role
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topics
from tests.integration.gateway_kit import (
    JSON,
    MSGPACK,
    GatewayProcess,
    connected,
    environment,
    player,
    running,
    token,
)

pytestmark = pytest.mark.timeout(180)

ENCODINGS = pytest.mark.parametrize("encoding", [JSON, MSGPACK], ids=["json", "msgpack"])


@pytest.fixture(scope="module")
def module_prefix() -> str:
    return f"t{secrets.token_hex(4)}."


@pytest.fixture(scope="module")
def gateway(
    bootstrap_servers: str, redis_url: str, module_prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    asyncio.run(create_topics(bootstrap_servers, parse_catalog(topic_prefix=module_prefix)))
    settings = environment(kafka=bootstrap_servers, redis=redis_url, prefix=module_prefix)
    with running(settings, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def url(gateway: GatewayProcess) -> str:
    return gateway.url


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(4)}"


@pytest.fixture
def name() -> str:
    """A player that no other test uses: one player has one connection."""
    return f"p-{secrets.token_hex(4)}"


def chat(text: str = "hi") -> dict[str, Any]:
    return {"text": text}


def death(victim: str) -> dict[str, Any]:
    return {"victim": victim, "cause": "lava", "at_ms": 1}


class TestOpening:
    @ENCODINGS
    async def test_welcome_says_what_a_client_must_know(self, url: str, encoding: Subprotocol, name: str) -> None:
        """Session, player, times, limits and the delivery class of every type."""
        async with connected(url, encoding) as client:
            await client.send("hello", token(name, ttl_s=60))
            _, session, sub, info = await client.wait_for("welcome")

        now_ms = time.time() * 1000
        assert isinstance(session, str)
        assert sub == name
        assert abs(info["server_ms"] - now_ms) < 60_000
        assert 0 < info["expires_ms"] - now_ms < 62_000
        assert info["ping_interval_ms"] == 10_000
        assert {name: info["limits"][name] for name in ("frame_bytes", "batch", "rooms")} == {
            "frame_bytes": 65_536,
            "batch": 256,
            "rooms": 64,
        }
        assert info["limits"]["per_second"]["position"] == 60
        assert info["types"]["position"] == "at-most-once"
        assert info["types"]["kill"] == "at-least-once"

    @pytest.mark.parametrize(
        ("first", "code"),
        [
            (["join", "r"], 4500),
            (["hello"], 4500),
            (["hello", 1], 4500),
            (["hello", "t", {}, 1], 4500),
            (["hello", "garbage"], 4502),
            pytest.param(["hello", token(ttl_s=-60)], 4010, id="expired"),
        ],
        ids=str,
    )
    async def test_a_bad_beginning_ends(self, url: str, first: list[Any], code: int) -> None:
        """Only a well-formed hello with a good token opens; each fault has its code, and `bye` says it before."""
        async with connected(url) as client:
            await client.send(*first)
            bye = await client.wait_for("bye")
            assert await client.closed() == code
            assert bye[1] == code
            assert (bye[3] is None) == (code >= 4500)

    async def test_each_of_two_connections_of_a_player_is_the_last(self, url: str, room: str, name: str) -> None:
        """4501 for the older one; nobody in the room sees the player leave."""
        async with player(url, f"{name}-w", room=room) as watcher, player(url, name, room=room) as old:
            await watcher.wait_for("presence", lambda m: name in m[2])
            async with player(url, name, room=room) as new:
                assert await old.closed() == 4501
                await new.send("pub", "position", room, [0, 1, 2, 3])
                await watcher.wait_for("tick", lambda m: m[3] == [[name, [0, 1, 2, 3]]])
                assert [m for m in watcher.of("presence") if name in m[3]] == []
            await watcher.wait_for("presence", lambda m: name in m[3])


class TestRooms:
    @ENCODINGS
    async def test_join_and_leave_are_answered_each_time(
        self, url: str, room: str, encoding: Subprotocol, name: str
    ) -> None:
        """Also when repeated."""
        async with player(url, name, subprotocol=encoding) as client:
            for _ in range(2):
                _, joined, info = await client.join(room)
                assert joined == room
                assert info["players"] == [name]
                assert info["tick_hz"] == 20
                assert info["recovered"] is None
                assert 0 < len(info["cursor"]) <= 200
            for _ in range(2):
                await client.send("leave", room)
                assert await client.wait_for("left") == ["left", room]

    async def test_players_see_each_other_come_and_go(self, url: str, room: str, name: str) -> None:
        """Presence names players only, and `joined` all who are here."""
        async with player(url, f"{name}-a", room=room) as alice:
            async with player(url, f"{name}-b") as bob, player(url, f"{name}-s", role=Role.SPECTATOR, room=room):
                info = (await bob.join(room))[2]
                assert set(info["players"]) == {f"{name}-a", f"{name}-b"}
                await alice.wait_for("presence", lambda m: f"{name}-b" in m[2])
            await alice.wait_for("presence", lambda m: f"{name}-b" in m[3])
            assert not any(f"{name}-s" in m[2] + m[3] for m in alice.of("presence"))

    async def test_a_room_outside_the_token_is_forbidden(self, url: str, room: str, name: str) -> None:
        """Exact names and a trailing star."""
        async with player(url, name, rooms=[room, "arena-*"]) as client:
            await client.join(room)
            await client.join("arena-1")
            await client.send("join", "other")
            assert (await client.wait_for("error"))[1] == "forbidden"

    async def test_a_connection_has_at_most_64_rooms(self, url: str, room: str, name: str) -> None:
        """The 65th is `too_large`."""
        async with player(url, name) as client:
            for number in range(64):
                await client.send("join", f"{room}-{number}")
            await client.send("join", room)
            assert (await client.wait_for("error"))[1] == "too_large"


class TestRealtime:
    async def test_json_and_msgpack_clients_share_a_room(self, url: str, room: str, name: str) -> None:
        """A tick holds every player that moved, the receiver included, in the receiver's own encoding."""
        async with (
            player(url, f"{name}-a", room=room, subprotocol=JSON) as alice,
            player(url, f"{name}-b", room=room, subprotocol=MSGPACK) as bob,
        ):
            await alice.send("pub", "position", room, [1, 0.5, 1.5, -2])
            await bob.send("pub", "position", room, [1, 9, 9, 9, 0.1, 0.2, 0.3, 1.25])
            for client in (alice, bob):
                seen: dict[str, Any] = {}
                while len(seen) < 2:
                    _, at, server_ms, moved = await client.wait_for("tick")
                    assert at == room
                    assert isinstance(server_ms, int)
                    seen |= dict(moved)
                assert seen == {f"{name}-a": [1, 0.5, 1.5, -2], f"{name}-b": [1, 9, 9, 9, 0.1, 0.2, 0.3, 1.25]}

    async def test_stale_positions_are_dropped_silently(self, url: str, room: str, name: str) -> None:
        """A `seq` that does not rise is passed over; the connection's newest position stands."""
        async with player(url, name, room=room) as client:
            await client.send("batch", [["position", room, [5, 5, 5, 5]], ["position", room, [4, 4, 4, 4]]])
            assert (await client.wait_for("tick"))[3] == [[name, [5, 5, 5, 5]]]
            await client.ping()
            assert client.of("error") == []
            assert client.of("tick") == []

    async def test_a_server_moves_others_without_joining(self, url: str, room: str, name: str) -> None:
        """Role `server` publishes in a player's name."""
        async with player(url, name, room=room) as watcher, player(url, f"{name}-s", role=Role.SERVER) as server:
            await server.send("pub", "position", room, [1, 1, 1, 1], None, "npc-1")
            assert (await watcher.wait_for("tick"))[3] == [["npc-1", [1, 1, 1, 1]]]


class TestDurable:
    @ENCODINGS
    async def test_an_event_reaches_everyone_and_is_acked(
        self, url: str, room: str, encoding: Subprotocol, name: str
    ) -> None:
        """Trimmed, with the time of the gateway, to the publisher as well; its cursor is the publisher's safe place."""
        async with (
            player(url, f"{name}-a", room=room, subprotocol=encoding) as alice,
            player(url, f"{name}-b", room=room) as bob,
        ):
            await alice.send("pub", "chat", room, chat("  hi \n"), "id-1")
            assert (await alice.wait_for("ack"))[1] == "id-1"
            for client in (alice, bob):
                event = await client.wait_for("event")
                assert event[:4] == ["event", "chat", room, f"{name}-a"]
                assert abs(event[4] - time.time() * 1000) < 60_000
                assert event[5:7] == [{"text": "hi"}, "id-1"]

    async def test_an_id_sent_again_is_acked_again_and_delivered_once(self, url: str, room: str, name: str) -> None:
        """Also on another connection; another publisher may use the same id."""
        async with player(url, f"{name}-b", room=room) as bob:
            for _ in range(2):
                async with player(url, name, room=room) as alice:
                    for _ in range(2):
                        await alice.send("pub", "chat", room, chat(), "same")
                        assert (await alice.wait_for("ack"))[1] == "same"
            await bob.send("pub", "chat", room, chat("mine"), "same")
            await bob.wait_for("event", lambda m: m[5] == {"text": "mine"})
            assert [m[5] for m in bob.of("event")] == [{"text": "hi"}]

    async def test_kill_and_death_keep_their_order(self, url: str, room: str, name: str) -> None:
        """One topic, one order; only servers report them."""
        async with player(url, name, room=room) as alice, player(url, f"{name}-s", role=Role.SERVER) as server:
            for number in range(50):
                kill = {"killer": "a", "victim": "b", "weapon": "w", "at_ms": number, "assists": ["c"]}
                await server.send("pub", "kill", room, kill, f"k{number}")
                await server.send("pub", "death", room, death("b"), f"d{number}")
            expected = [f"{kind}{number}" for number in range(50) for kind in "kd"]
            assert [(await alice.wait_for("event"))[6] for _ in expected] == expected
            assert [(await server.wait_for("ack"))[1] for _ in expected] == expected

    @ENCODINGS
    async def test_resume_brings_what_was_missed_and_nothing_twice(
        self, url: str, room: str, encoding: Subprotocol, name: str
    ) -> None:
        """From any cursor of the room; then live events follow."""
        # Deaths, reported by a server: thirty chat lines at once are over the rate of chat.
        async with player(url, f"{name}-s", role=Role.SERVER) as server:

            async def publish(number: int) -> None:
                await server.send("pub", "death", room, death("b"), str(number))
                await server.wait_for("ack")

            async with player(url, name, room=room, subprotocol=encoding) as alice:
                await publish(0)
                cursor = (await alice.wait_for("event"))[7]
            for number in range(1, 30):
                await publish(number)
            async with player(url, name, resume={room: cursor}, subprotocol=encoding) as alice:
                info = (await alice.wait_for("joined"))[2]
                assert info["recovered"] is True
                assert info["cursor"] == cursor
                await publish(30)
                assert [(await alice.wait_for("event"))[6] for _ in range(30)] == [str(n) for n in range(1, 31)]
                await alice.ping()
                assert alice.of("event") == []

    async def test_a_garbage_cursor_is_not_recovered(self, url: str, room: str, name: str) -> None:
        """`recovered` false and the current state."""
        async with player(url, name, resume={room: "garbage"}) as client:
            info = (await client.wait_for("joined"))[2]
            assert info["recovered"] is False
            assert info["players"] == [name]


class TestBatch:
    async def test_each_publish_is_treated_as_if_sent_alone(self, url: str, room: str, name: str) -> None:
        """Refused ones name their index, the others go on."""
        async with player(url, name, room=room) as client:
            await client.send(
                "batch",
                [
                    ["position", room, [1, 1, 1, 1]],
                    ["position", room, "bad"],
                    ["chat", room, chat("one"), "c1"],
                    ["nonsense", room, 1],
                    ["chat", "elsewhere", chat(), "c2"],
                    ["kill", room, {}, "c3"],
                ],
            )
            assert (await client.wait_for("tick"))[3] == [[name, [1, 1, 1, 1]]]
            assert (await client.wait_for("ack"))[1] == "c1"
            errors = [await client.wait_for("error") for _ in range(2)]
            assert [(e[1], e[3]["index"]) for e in errors] == [("bad_data", 1), ("unknown_type", 3)]
            nacks = [await client.wait_for("nack") for _ in range(2)]
            assert [(n[1], n[2]) for n in nacks] == [("c2", "not_joined"), ("c3", "forbidden")]

    @pytest.mark.parametrize("size", [0, 257])
    async def test_an_empty_or_too_large_batch_is_refused(self, url: str, room: str, name: str, size: int) -> None:
        """1 to 256 publishes; the connection stays."""
        async with player(url, name, room=room) as client:
            await client.send("batch", [["heartbeat", room, [1, 1]]] * size)
            assert (await client.wait_for("error"))[1] == "bad_request"
            await client.ping()


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (["join"], "bad_request"),
            (["join", "bad room"], "bad_request"),
            (["ping", None], "bad_request"),
            (["pub", "position", "ROOM", [1, 1, 1, 1], ""], "bad_request"),
            (["pub", "chat", "ROOM", {"text": "hi"}], "bad_request"),
            (["pub", "nonsense", "ROOM", 1], "unknown_type"),
            (["pub", "position", "elsewhere", [1, 1, 1, 1]], "not_joined"),
            (["pub", "position", "ROOM", [1, 1, 1, 1], None, "bob"], "forbidden"),
            (["pub", "position", "ROOM", [1.5, 1, 1, 1]], "bad_data"),
            (["pub", "position", "ROOM", [-1, 1, 1, 1]], "bad_data"),
            (["pub", "heartbeat", "ROOM", [True, 1]], "bad_data"),
            (["token", "garbage"], "bad_token"),
        ],
        ids=str,
    )
    async def test_an_error_names_its_code_and_the_connection_stays(
        self, url: str, room: str, name: str, message: list[Any], code: str
    ) -> None:
        """One `error` per refused message."""
        async with player(url, name, room=room) as client:
            await client.send(*(room if part == "ROOM" else part for part in message))
            refused = await client.wait_for("error")
            assert refused[1] == code
            assert refused[3]["op"] == message[0]
            await client.ping()

    @pytest.mark.parametrize(
        ("type_", "data", "code"),
        [
            ("position", [1, 1, 1, 1], "bad_request"),
            ("nonsense", 1, "unknown_type"),
            ("kill", {"killer": "a", "victim": "b", "weapon": "w", "at_ms": 1}, "forbidden"),
            ("chat", {"text": " "}, "bad_data"),
            ("chat", {"text": "x" * 501}, "bad_data"),
            ("chat", {"text": "x", "more": 1}, "bad_data"),
        ],
        ids=str,
    )
    async def test_a_refused_publish_with_an_id_is_nacked(
        self, url: str, room: str, name: str, type_: str, data: Any, code: str
    ) -> None:
        """Whatever its type, wherever a valid id can be read. `retry_ms` null: the same again would be refused again."""
        async with player(url, name, room=room) as client:
            await client.send("pub", type_, room, data, "id")
            nack = await client.wait_for("nack")
            assert (nack[1], nack[2], nack[4]) == ("id", code, None)
            await client.send("pub", "chat", room, chat(), "id")
            assert (await client.wait_for("ack"))[1] == "id", "after a nack the id may be used again"

    async def test_rates_are_kept(self, url: str, room: str, name: str) -> None:
        """Over the rate chat gets a `nack` with a time, a heartbeat an `error`."""
        async with player(url, name, room=room) as client:
            for number in range(40):
                await client.send("pub", "chat", room, chat(), f"id-{number}")
                await client.send("pub", "heartbeat", room, [number, 1])
            nack = await client.wait_for("nack")
            assert nack[2] == "rate_limited"
            assert nack[4] > 0
            assert (await client.wait_for("error"))[1] == "rate_limited"

    async def test_sustained_refusals_end_the_connection(self, url: str, name: str) -> None:
        """4004 after a thousand within five seconds, with at most a few dozen errors before."""
        async with player(url, name) as client:
            await client.send("join")
            for _ in range(1001):
                await client.send("leave")
            assert await client.closed() == 4004
            assert len(client.of("error")) < 100
            assert client.of("bye")[0][1] == 4004


class TestToken:
    async def test_a_refresh_is_answered_and_rooms_no_longer_allowed_are_left(
        self, url: str, room: str, name: str
    ) -> None:
        """New claims apply at once."""
        async with player(url, name, room=room) as client:
            await client.join(f"{room}-2")
            await client.send("token", token(name, ttl_s=7200, rooms=[room]))
            _, expires_ms = await client.wait_for("token")
            assert expires_ms - time.time() * 1000 > 7_000_000
            assert await client.wait_for("left") == ["left", f"{room}-2"]
            await client.send("pub", "position", f"{room}-2", [1, 1, 1, 1])
            assert (await client.wait_for("error"))[1] == "forbidden"

    async def test_a_token_of_somebody_else_ends_the_connection(self, url: str, name: str) -> None:
        """4503."""
        async with player(url, name) as client:
            await client.send("token", token(f"{name}-b"))
            assert await client.closed() == 4503


class TestBreaches:
    @pytest.mark.parametrize(
        "payload", ["{", "{}", "[]", "[1]", '["nonsense"]', '["ping", NaN]', b"\x91\xa4ping"], ids=repr
    )
    async def test_a_breach_ends_with_4500(self, url: str, name: str, payload: str | bytes) -> None:
        """Undecodable, not an array, empty, unknown operation, wrong kind of frame."""
        async with player(url, name) as client:
            await client.websocket.send(payload)
            assert await client.closed() == 4500
            assert client.of("bye")[0][1] == 4500

    async def test_rfc_6455_keeps_its_own_codes(self, url: str, name: str) -> None:
        """1009 for a message over the limit, whole or in fragments; 1007 for text that is no UTF-8."""
        async with player(url, name) as client:
            await client.websocket.send("x" * 65_537)
            assert await client.closed() == 1009
        async with player(url, name) as client:
            await client.websocket.send(["x" * 40_000, "x" * 40_000])
            assert await client.closed() == 1009
        async with player(url, name) as client:
            await client.websocket.send(b"\xff", text=True)
            assert await client.closed() == 1007

    async def test_the_largest_message_passes(self, url: str, name: str, room: str) -> None:
        """64 KiB exactly, in fragments."""
        async with player(url, name, room=room) as client:
            text = f'["ping", {" " * (65_536 - 11)}1]'
            assert len(text) == 65_536
            await client.websocket.send([text[:100], text[100:]])
            assert (await client.wait_for("pong"))[1] == 1


async def test_spectators_only_watch(url: str, room: str, name: str) -> None:
    """Joins and receives; every publish is forbidden."""
    async with (
        player(url, f"{name}-s", role=Role.SPECTATOR, room=room, subprotocol=MSGPACK) as spectator,
        player(url, name, room=room) as alice,
    ):
        await alice.send("pub", "chat", room, chat(), "id")
        assert (await spectator.wait_for("event"))[6] == "id"
        await spectator.send("pub", "position", room, [1, 1, 1, 1])
        assert (await spectator.wait_for("error"))[1] == "forbidden"
        await spectator.send("pub", "chat", room, chat(), "id")
        assert (await spectator.wait_for("nack"))[2] == "forbidden"


async def test_a_player_who_vanishes_is_gone_for_others(url: str, room: str, name: str) -> None:
    """A cut socket is a leave like any other."""
    async with player(url, f"{name}-a", room=room) as alice:
        async with player(url, f"{name}-b", room=room) as bob:
            await alice.wait_for("presence", lambda m: f"{name}-b" in m[2])
            bob.websocket.transport.abort()
            await alice.wait_for("presence", lambda m: f"{name}-b" in m[3])
