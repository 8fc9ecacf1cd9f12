"""The dashboard over HTTP, on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio

from gamebus.catalog_file import parse_catalog
from gamebus.errors import ConfigurationError
from gamebus.gateway.auth import mint_token
from gamebus.record import DurableRecord
from gamebus.settings import RedisSettings
from gamebus.state.chat import chat_effect
from gamebus.state.combat import kill_effect
from gamebus.state.connection import Connection, connect
from gamebus.state.dead_letters import DeadLetterNote, DeadLetterState
from gamebus.state.directory import DirectoryState, PlayerEntry, RoomEntry
from gamebus.state.effects import EffectState
from gamebus.state.ledger import LedgerState
from gamebus.state.positions import PositionState
from gamebus.state.presence import Heartbeat, PresenceState
from gamebus.state.timeline import TimelineState
from gamebus.state.vitals import Vitals, VitalsState
from gamebus.telemetry.histogram import Histogram
from tests.dashboard.kit import SECRET, Browser, running_dashboard
from tests.ledger_kit import EMPTY
from tests.redis_server import RedisServer, running_redis_server

NOW_MS = time.time_ns() // 1_000_000
EVIL = "<img src=x onerror=alert(1)>"


def vitals(id_: str, role: str, *, age_ms: int = 0, **samples: float) -> Vitals:
    return Vitals(
        id=id_,
        role=role,
        host="here",
        pid=int(id_, 16),
        version="0",
        started_ms=NOW_MS - 60_000,
        at_ms=time.time_ns() // 1_000_000 - age_ms,
        url="ws://here",
        ops="http://here",
        samples=samples,
    )


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis_server() as server:
        yield server


@pytest_asyncio.fixture
async def connection(server: RedisServer) -> AsyncIterator[Connection]:
    connection = connect(RedisSettings(url=server.url))
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def browser(server: RedisServer) -> AsyncIterator[Browser]:
    """A dashboard that lets everyone in."""
    async with running_dashboard(RedisSettings(url=server.url, timeout_s=0.5), insecure=True) as browser:
        yield browser


class TestSignIn:
    async def test_strangers_see_nothing(self, server: RedisServer) -> None:
        """Files of the page aside, whoever has not signed in is told so; a cookie of nobody's is worth nothing."""
        async with running_dashboard(RedisSettings(url=server.url), password="p4ss") as browser:
            for path in ("/api/session", "/api/feed?page=overview"):
                assert (await browser.request("GET", path))[0] == 401
            browser.cookie = "gamebus_operator=guess"
            assert (await browser.request("GET", "/api/feed?page=overview"))[0] == 401
            assert (await browser.request("GET", "/"))[0] == 200

    async def test_the_password_opens_it_until_signed_out(self, server: RedisServer) -> None:
        """By a cookie that scripts cannot read and other sites cannot use."""
        async with running_dashboard(RedisSettings(url=server.url), password="p4ss") as browser:
            _, headers, _ = await browser.request("POST", "/sign-in", {"secret": "p4ss"})
            assert {"httponly", "samesite=strict", "path=/"} <= {
                part.strip().lower() for part in headers["set-cookie"].split(";")
            }
            assert await browser.sign_in("p4ss") == 200
            assert (await browser.frame("overview"))["redis"] is True
            cookie = browser.cookie
            assert (await browser.request("POST", "/sign-out"))[0] == 200
            browser.cookie = cookie
            assert (await browser.request("GET", "/api/session"))[0] == 401

    async def test_a_token_of_an_operator_opens_it(self, server: RedisServer) -> None:
        """`gamebus token --role operator`."""
        async with running_dashboard(RedisSettings(url=server.url)) as browser:
            token = mint_token(SECRET, sub="ops", role="operator", now_ms=time.time_ns() // 1_000_000)
            assert await browser.sign_in(token) == 200

    async def test_guessing_is_slowed_down(self, server: RedisServer) -> None:
        """After some failures even the right password has to wait."""
        async with running_dashboard(RedisSettings(url=server.url), password="p4ss") as browser:
            failures = [await browser.sign_in(f"guess {number}") for number in range(9)]
            assert failures[:5] == [401] * 5
            assert 429 in failures
            assert await browser.sign_in("p4ss") == 429

    async def test_forms_of_other_sites_do_nothing(self, server: RedisServer) -> None:
        """Neither signing in nor out."""
        async with running_dashboard(RedisSettings(url=server.url), password="p4ss") as browser:
            assert await browser.sign_in("p4ss", Origin="http://evil.example") == 403
            assert await browser.sign_in("p4ss", Origin=f"http://{browser.netloc}") == 200
            assert (await browser.request("POST", "/sign-out", Origin="http://evil.example"))[0] == 403

    @pytest.mark.parametrize("body", [None, [], {"secret": 1}, {"other": "p4ss"}, {"secret": "x" * 10_000}])
    async def test_what_is_no_secret_is_refused(self, server: RedisServer, body: object) -> None:
        """And does no harm."""
        async with running_dashboard(RedisSettings(url=server.url), password="p4ss") as browser:
            assert (await browser.request("POST", "/sign-in", body))[0] == 401

    @pytest.mark.parametrize(
        ("dashboard", "names"),
        [
            ({"insecure": True, "host": "0.0.0.0"}, "GAMEBUS_DASHBOARD__INSECURE"),
            ({"host": "256.0.0.1", "insecure": True}, "GAMEBUS_DASHBOARD__"),
        ],
    )
    async def test_it_does_not_start_open_to_the_world(
        self, server: RedisServer, dashboard: dict[str, object], names: str
    ) -> None:
        """Without sign-in it listens on this machine only."""
        with pytest.raises(ConfigurationError, match=names):
            async with running_dashboard(RedisSettings(url=server.url), **dashboard):
                pass


class TestHeaders:
    async def test_no_foreign_script_runs_and_nobody_frames_it(self, browser: Browser) -> None:
        """On every answer, errors included."""
        for path in ("/", "/static/dashboard.js", "/api/session", "/api/feed?page=nothing", "/static/missing.js"):
            _, headers, _ = await browser.request("GET", path)
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"

    async def test_another_host_name_is_refused(self, browser: Browser) -> None:
        """A site that points its name at this machine (DNS rebinding) reads nothing."""
        assert (await browser.request("GET", "/api/session", Host="evil.example"))[0] == 400

    @pytest.mark.parametrize("page", ["", "nothing", "room:", "room:{x}", "room:" + "x" * 200])
    async def test_pages_that_are_none_are_told(self, browser: Browser, page: str) -> None:
        """With what was asked for."""
        status, _, body = await browser.request("GET", f"/api/feed?page={page}")
        assert status in {400, 404}
        assert b"error" in body


class TestPages:
    async def test_overview_adds_processes_up(self, browser: Browser, connection: Connection) -> None:
        """Players and connections of all gateways, a room of two of them once; rates of all together; the stale are told apart."""
        acks = Histogram()
        for _ in range(100):
            acks.observe(0.004)
        state = VitalsState(connection)
        await state.write(vitals("a1", "gateway", hub_clients=3, gateway_connections=4))
        await state.write(vitals("a2", "gateway", hub_clients=2, gateway_connections=2))
        await state.write(vitals("b1", "processor-all", age_ms=10_000))
        for gateway, rooms in (("a1", ("arena", "lobby")), ("a2", ("arena",))):
            entries = dict.fromkeys(rooms, RoomEntry(2, 20))
            await DirectoryState(connection).write(gateway, rooms=entries, players={})
        second = time.time_ns() // 1_000_000_000
        counts = {f"ack:{index}": count for index, count in enumerate(acks.snapshot().counts)}
        for passed in range(2, 12):
            await TimelineState(connection).add(second - passed, {"realtime_attempted": 60, "rooms": 3} | counts)

        now = (await browser.frame("overview"))["page"]["now"]

        assert (now["players"], now["connections"], now["gateways"]) == (5, 6, 2)
        assert (now["processors"], now["stale"]) == (0, 1)
        assert now["rooms"] == 2
        assert now["realtime_per_s"] == 60
        assert 3 <= now["ack_p50_ms"] <= 5

    async def test_rooms_and_players_are_found(self, browser: Browser, connection: Connection) -> None:
        """A room of two gateways once; players with gateway, outbox and round trip."""
        await VitalsState(connection).write(vitals("a1", "gateway"))
        await VitalsState(connection).write(vitals("a2", "gateway"))
        directory = DirectoryState(connection)
        alice = PlayerEntry("s1", "player", ("arena",), 9, 2, 31.5)
        await directory.write("a1", rooms={"arena": RoomEntry(2, 20)}, players={"alice": alice})
        await directory.write("a2", rooms={"arena": RoomEntry(1, 20), "lobby": RoomEntry(5, 10)}, players={})
        await directory.write("dead", rooms={"ghost": RoomEntry(1, 20)}, players={})
        await PresenceState(connection).join("arena", "alice", "s1", NOW_MS)
        await PresenceState(connection).extend({"arena": {"alice": Heartbeat(NOW_MS, None)}})

        rooms = (await browser.frame("rooms"))["page"]
        assert [(room["room"], room["clients"]) for room in rooms["rooms"]] == [("lobby", 5), ("arena", 3)]
        assert [room["room"] for room in (await browser.frame("rooms:are"))["page"]["rooms"]] == ["arena"]
        (player,) = (await browser.frame("players:ali"))["page"]["players"]
        assert (player["gateway"], player["queued_bytes"], player["rtt_ms"]) == ("here:161", 9, 31.5)
        assert (player["rate_limited"], player["trouble"]) == (2, ["floods", "reads slowly"])
        assert (await browser.frame("players:bob"))["page"]["players"] == []

    async def test_who_is_in_trouble_stands_first_however_many_players_there_are(
        self, browser: Browser, connection: Connection
    ) -> None:
        """Nobody who floods, reads slowly or is far away needs to be searched for."""
        await VitalsState(connection).write(vitals("a1", "gateway"))
        well = {f"p{number:03}": PlayerEntry("s", "player", (), 0, 0, 20.0) for number in range(300)}
        troubled = {
            "slow": PlayerEntry("s", "player", (), 70_000, 0, 20.0),
            "far": PlayerEntry("s", "player", (), 0, 0, 900.0),
            "zz-flood": PlayerEntry("s", "player", (), 0, 40, 20.0),
        }
        await DirectoryState(connection).write("a1", rooms={}, players=well | troubled, troubled=troubled, anew=True)

        players = (await browser.frame("players"))["page"]["players"]
        assert [(player["player"], player["trouble"]) for player in players[:3]] == [
            ("zz-flood", ["floods"]),
            ("slow", ["reads slowly"]),
            ("far", ["slow line"]),
        ]
        assert len(players) == 100
        assert [player["player"] for player in (await browser.frame("players:zz"))["page"]["players"]] == ["zz-flood"]

    async def test_a_room_shows_what_happened_in_it(self, browser: Browser, connection: Connection) -> None:
        """Players with place and score, kill feed, chat; text of players stays text."""
        await PresenceState(connection).join("arena", "alice", "s1", time.time_ns() // 1_000_000)
        await PositionState(connection).write({"arena": {"alice": (NOW_MS, [7, 1.0, 2.0, 3.0])}})
        effects = EffectState(connection, parse_catalog())
        kill = {"killer": "alice", "victim": "bob", "weapon": "bow", "at_ms": 0}
        record = DurableRecord("kill", "arena", "alice", NOW_MS, "server", "k1", kill)
        await effects.apply("arena", "gamebus.combat", 0, [kill_effect(record, 0)])
        said = replace(record, type="chat", id="c1", data={"text": EVIL})
        await effects.apply("arena", "gamebus.chat", 0, [chat_effect(said, 0)])

        page = (await browser.frame("room:arena"))["page"]

        players = {player["player"]: player for player in page["players"]}
        assert players["alice"]["position"] == [1.0, 2.0, 3.0]
        assert (players["alice"]["present"], players["alice"]["kills"]) == (True, 1)
        assert [event["data"]["victim"] for event in page["feed"]] == ["bob"]
        assert [event["data"]["text"] for event in page["chat"]] == [EVIL]
        assert page["last_event_ms"] == NOW_MS

    async def test_processes_tell_the_stale_from_the_well(self, browser: Browser, connection: Connection) -> None:
        """Every process with its figures; one that is silent says for how long."""
        await VitalsState(connection).write(vitals("a1", "gateway", gateway_connections=4))
        await VitalsState(connection).write(vitals("b1", "processor-durable", age_ms=20_000))

        rows = (await browser.frame("processes"))["page"]["processes"]

        assert [(row["name"], row["stale"]) for row in rows] == [("here:161", False), ("here:177", True)]
        assert rows[0]["samples"]["gateway_connections"] == 4

    async def test_delivery_accounts_for_every_event(self, browser: Browser, connection: Connection) -> None:
        """The identity of each stream, the answers to durable publishes, the last dead letters."""
        row = replace(
            EMPTY,
            written_ms=NOW_MS,
            boot="a1",
            attempted=10,
            processed=6,
            dropped={"expired": 1},
            lost_on_wire=2,
            skipped=1,
        )
        await LedgerState(connection).write([row])
        answers = {"gateway_answers_total{answer=ack}": 5, "gateway_answers_total{answer=overloaded}": 2}
        await VitalsState(connection).write(replace(vitals("a1", "gateway"), samples=answers))
        note = DeadLetterNote(NOW_MS, "gamebus.chat", 3, 7, "chat", "arena", "alice", "alice/1", "ValueError: bad")
        await DeadLetterState(connection).add(note)

        page = (await browser.frame("delivery"))["page"]

        (position,) = (loss for loss in page["realtime"]["types"] if loss["topic"] == "gamebus.position")
        assert (position["attempted"], position["loss_rate"], position["estimated_loss_rate"]) == (10, 0.4, 0.1)
        assert page["realtime"]["streams"][0]["process"] == "here:161"
        assert page["durable"]["answers"] == {"ack": 5, "overloaded": 2}
        assert page["dead_letters"][0]["error"] == "ValueError: bad"

    async def test_redis_away_is_told_and_made_up_for(
        self, browser: Browser, server: RedisServer, connection: Connection
    ) -> None:
        """The dashboard lives on, says so, and recovers by itself."""
        assert (await browser.frame("overview"))["redis"] is True
        server.kill()
        frame = await browser.frame("overview")
        assert frame["redis"] is False
        assert frame["error"]
        server.start()
        async with asyncio.timeout(60):
            while not (await browser.frame("overview"))["redis"]:
                pass
