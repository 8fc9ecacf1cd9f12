"""Whole runs of the bots against a relay whose faults are known: the report must show exactly those."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gamebus_bots import AckedEvent, Bots, BotsConfig, BotsReport
from gamebus_client import ConnectError
from tests.clients.bots.relay import SECRET, Faults, Relay

QUIET = BotsConfig(
    "ws://unset",
    SECRET,
    players=3,
    rooms=1,
    seconds=60,
    rate_hz=20,
    chat_per_player_s=20,
    combat=False,
    drain_s=0.3,
    connect_timeout_s=5,
)


async def play(faults: Faults, *, events: int = 12, config: BotsConfig = QUIET) -> tuple[BotsReport, Relay]:
    """Play until the relay took so many durable events, then stop gracefully."""
    async with Relay(faults, enough=events) as relay:
        bots = Bots(replace(config, url=relay.url))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(bots.run())
            await relay.reached.wait()
            bots.request_stop()
        return running.result(), relay


class TestFaultlessRun:
    async def test_everything_is_counted_and_kept(self) -> None:
        """Without faults: all publishes acked, each delivered once to everyone in its room, all positions measured."""
        report, relay = await play(Faults())

        assert report.ok, report.failures
        durable = report.durable
        assert durable.published == durable.acked == report.chats >= 12
        assert durable.delivered == durable.acked * 3
        assert (durable.nacked, durable.unknown, durable.duplicates, durable.gaps, durable.out_of_order) == (0,) * 5
        assert {(event.publisher_sub, event.room, event.type, event.id) for event in report.acked} == set(
            relay.published
        )
        assert report.realtime.sent == report.realtime.attempted >= relay.positions > 0
        assert report.realtime.received > 0
        assert report.realtime.stale == 0
        latency = report.latency_ms
        for value in (latency.position_p50, latency.ack_p50, latency.chat_p50, latency.send_lag_p50):
            assert value is not None
            assert value > 0

    async def test_combat_is_published_by_a_game_server(self) -> None:
        """Meetings of players become kill and death, in that order, each delivered to every player of the room."""
        config = replace(QUIET, players=12, chat_per_player_s=0, combat=True)
        report, relay = await play(Faults(), events=2, config=config)

        assert report.ok, report.failures
        assert report.kills * 2 == report.durable.published == len(relay.published) >= 2
        assert [event[2] for event in relay.published] == ["kill", "death"] * report.kills
        assert {event.publisher_sub for event in report.acked} == {"bot-server"}
        assert report.durable.delivered == report.durable.acked * 12

    async def test_rooms_do_not_mix(self) -> None:
        """Players are spread over the rooms and receive only what is theirs."""
        report, _ = await play(Faults(), config=replace(QUIET, players=4, rooms=2))

        assert report.ok, report.failures
        assert {event.room for event in report.acked} == {"arena-1", "arena-2"}
        assert report.durable.delivered == report.durable.acked * 2


class TestKnownFaults:
    @pytest.mark.parametrize(
        ("faults", "expected"),
        [
            (Faults(duplicate=frozenset({2, 5})), {"duplicates": 2}),
            (Faults(withhold=frozenset({1, 4, 7})), {"gaps": 3}),
            (Faults(swap_with_next=frozenset({3})), {"out_of_order": 1}),
            (Faults(nack_for_good=frozenset({2, 3})), {"nacked": 2}),
            (Faults(nack_once=frozenset({2})), {}),
            (Faults(never_answer=frozenset({6})), {"unknown": 1}),
            (
                Faults(duplicate=frozenset({1}), withhold=frozenset({4}), swap_with_next=frozenset({8})),
                {"duplicates": 1, "gaps": 1, "out_of_order": 1},
            ),
        ],
    )
    async def test_the_report_shows_exactly_them(self, faults: Faults, expected: dict[str, int]) -> None:
        """Duplicates, gaps, order, refusals and unknown outcomes are counted one by one, and nothing else is."""
        report, relay = await play(faults)

        durable = report.durable
        zero = {"nacked": 0, "unknown": 0, "duplicates": 0, "gaps": 0, "out_of_order": 0}
        assert {name: getattr(durable, name) for name in zero} == zero | expected
        assert durable.published == durable.acked + durable.nacked + durable.unknown
        assert len(report.acked) == durable.acked == len(relay.published)
        # A refusal is an answer; the rest breaks a promise.
        assert report.ok is (set(expected) <= {"nacked"})

    async def test_a_refused_player_is_a_problem_of_its_own(self) -> None:
        """One bad connection is reported by name and does not stop the others."""
        report, _ = await play(Faults(refuse_players=frozenset({"bot-2"})))

        assert list(report.problems) == ["bot-2"]
        assert "4502" in report.problems["bot-2"][0]
        assert not report.ok
        assert report.durable.gaps == 0
        assert report.durable.acked > 0

    async def test_no_gateway_is_an_error(self) -> None:
        """Without anything to play on the run ends with the reason."""
        async with Relay() as relay:
            url = relay.url
        with pytest.raises(ConnectError, match="no connection"):
            await Bots(replace(QUIET, url=url, combat=True, connect_timeout_s=0.2)).run()


class TestReportAndSnapshot:
    async def test_json_form(self) -> None:
        """The report's JSON groups acked events by room and type, so that they can be compared with Redis."""
        report, relay = await play(Faults(), events=3)

        document = report.to_dict()
        expected = {f"{publisher}/{event_id}" for publisher, _, _, event_id in relay.published}
        assert set(document["acked"]["arena-1"]["chat"]) == expected
        assert document["ok"] is True
        assert document["failures"] == []
        assert AckedEvent("arena-1", "chat", *next(iter(expected)).split("/")) in report.acked
