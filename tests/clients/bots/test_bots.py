"""Whole runs of the bots against a relay whose faults are known: the report must show exactly those."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gamebus_bots import Bots, BotsConfig, BotsReport, Burst, Reconnects, Scenario, SlowReaders, Stage, conclude
from gamebus_bots.threshold import Threshold
from gamebus_client import ConnectError
from tests.clients.bots.relay import SECRET, Faults, Relay

QUIET = Scenario(players=3, rooms=1, duration_s=60, warm_up_s=0, rate_hz=20, chat_hz=20, combat=False)


def config(url: str, scenario: Scenario, **options: Any) -> BotsConfig:
    return BotsConfig(url, SECRET, scenario, drain_s=0.3, connect_timeout_s=5, **options)


async def play(faults: Faults, *, events: int = 12, **changes: Any) -> tuple[BotsReport, Relay]:
    """Play until the relay took so many durable events, then stop gracefully."""
    scenario = replace(QUIET, **changes)
    async with Relay(faults, enough=events) as relay:
        bots = Bots(config(relay.url, scenario))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(bots.run())
            await relay.reached.wait()
            bots.request_stop()
        return conclude(scenario, running.result(), interval_s=1.0, acked=tuple(bots.acked())), relay


async def play_through(
    faults: Faults, scenario: Scenario, *, seed: int = 1, drain_s: float = 10.0
) -> tuple[BotsReport, Relay]:
    """Play to the scenario's own end."""
    async with Relay(faults) as relay:
        bots = Bots(replace(config(relay.url, scenario), drain_s=drain_s, seed=seed))
        tally = await bots.run()
        return conclude(scenario, tally, interval_s=1.0), relay


class TestFaultlessRun:
    async def test_everything_is_counted_and_kept(self) -> None:
        """Without faults: all publishes acked, each delivered once to everyone in its room, all positions measured."""
        report, relay = await play(Faults())

        assert report.ok, report.failures
        counts = report.tally.counts
        assert counts["published"] == counts["acked"] == counts["chats"] >= 12
        assert counts["delivered"] == counts["acked"] * 3
        assert {(publisher, room, "chat", event_id) for room, publisher, event_id in report.acked} == set(
            relay.published
        )
        assert counts["sent"] == counts["attempted"] >= relay.positions > 0
        assert counts["received"] > 0
        assert counts["bytes_received"] > 0
        # Positions of the others, at the very least: each was sent, and seen by two.
        measured = len(report.tally.latencies["position.response"])
        assert relay.positions <= measured <= 2 * relay.positions
        for name in ("position_response", "position_service", "ack", "chat", "send_lag", "connect"):
            value = report.figures[f"{name}_p50"]
            assert value is not None
            assert value > 0

    async def test_combat_is_published_by_a_game_server(self) -> None:
        """Meetings of players become kill and death, in that order, each delivered to every player of the room."""
        report, relay = await play(Faults(), events=2, players=12, chat_hz=0, combat=True)

        assert report.ok, report.failures
        counts = report.tally.counts
        assert counts["kills"] * 2 == counts["published"] == len(relay.published) >= 2
        assert [event[2] for event in relay.published] == ["kill", "death"] * counts["kills"]
        assert {publisher for _, publisher, _ in report.acked} == {"bot-server"}
        assert counts["delivered"] == counts["acked"] * 12

    async def test_rooms_do_not_mix(self) -> None:
        """Players are spread over the rooms and receive only what is theirs."""
        report, _ = await play(Faults(), players=4, rooms=2)

        assert report.ok, report.failures
        assert {room for room, _, _ in report.acked} == {"arena-1", "arena-2"}
        assert report.tally.counts["delivered"] == report.tally.counts["acked"] * 2

    async def test_the_same_seed_is_the_same_game(self) -> None:
        """Where everyone walks and what everyone says depends on the seed alone; the load does not depend on the answers."""
        scenario = replace(QUIET, duration_s=0.4, rate_hz=30, players=4, rooms=2)

        async def game(seed: int, faults: Faults) -> tuple[dict[str, Any], dict[str, list[str]]]:
            _, relay = await play_through(faults, scenario, seed=seed)
            return dict(relay.moves), dict(relay.lines)

        moves, lines = await game(1, Faults())
        again_moves, again_lines = await game(1, Faults(delay_s=0.2))
        assert (moves, lines) == (again_moves, again_lines)
        assert await game(2, Faults()) != (moves, lines)


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

        counts = report.tally.counts
        zero = dict.fromkeys(
            ("nacked", "unknown", "duplicates", "gaps", "out_of_order", "missed_after_resume", "stale"), 0
        )
        assert {name: counts[name] for name in zero} == zero | expected
        assert counts["published"] == counts["acked"] + counts["nacked"] + counts["unknown"]
        assert len(report.acked) == counts["acked"] == len(relay.published)
        # A refusal is an answer; the rest breaks a promise.
        assert report.ok is (set(expected) <= {"nacked"})

    async def test_a_position_of_the_past_is_stale(self) -> None:
        """A tick with an older position than the one before is counted, as often as it happens."""
        report, _ = await play(Faults(stale=frozenset({30, 40})), players=2, events=80)
        assert report.tally.counts["stale"] == 2
        assert not report.ok

    async def test_a_refused_player_is_a_problem_of_its_own(self) -> None:
        """One bad connection is reported by name and does not stop the others."""
        report, _ = await play(Faults(refuse_players=frozenset({"bot-2"})))

        assert list(report.tally.problems) == ["bot-2"]
        assert "4502" in report.tally.problems["bot-2"]
        assert report.failures == ("1 problems",)
        assert report.tally.counts["acked"] > 0

    async def test_no_gateway_is_an_error(self) -> None:
        """Without anything to play on the run ends with the reason."""
        async with Relay() as relay:
            url = relay.url
        scenario = replace(QUIET, combat=True)
        with pytest.raises(ConnectError, match="no connection"):
            await Bots(replace(config(url, scenario), connect_timeout_s=0.2)).run()


class TestLatency:
    async def test_a_known_delay_is_what_is_measured(self) -> None:
        """Everything the relay sends is 0.2 s late: no latency is less, in response or in service."""
        scenario = replace(QUIET, duration_s=1.0, chat_hz=5)
        report, _ = await play_through(Faults(delay_s=0.2), scenario)

        assert report.ok, report.failures
        for name in ("position", "ack", "chat"):
            for kind in ("response", "service"):
                least = report.figures[f"{name}_{kind}_min"]
                assert least is not None
                assert least >= 199, (name, kind)

    async def test_a_stall_is_not_omitted(self) -> None:
        """A gateway that does nothing for two seconds is in the response p99 of everything, and each position it held up counts."""
        scenario = replace(QUIET, duration_s=3.0, rate_hz=20, chat_hz=5)
        report, relay = await play_through(Faults(stall=(10, 2.0)), scenario)

        for name in ("position", "ack", "chat"):
            p99 = report.figures[f"{name}_response_p99"]
            assert p99 is not None
            assert p99 >= 1_500, name
        # Two seconds of 20 a second, seen by two others: about half of them waited for more than a second.
        assert report.figures["position_response_max"] is not None
        assert len(report.tally.latencies["position.response"]) >= relay.positions
        p90 = report.figures["position_response_p90"]
        assert p90 is not None
        assert p90 >= 500

    async def test_the_warm_up_is_not_measured(self) -> None:
        """What is planned in the warm-up is in no latency; what is counted there is counted."""
        scenario = replace(QUIET, warm_up_s=1.5, duration_s=0.7, chat_hz=10, players=2)
        report, _ = await play_through(Faults(stall=(5, 0.5)), scenario)

        assert report.ok, report.failures
        measured = len(report.tally.latencies["ack.response"])
        assert 0 < measured < report.tally.counts["acked"]
        assert report.seconds == pytest.approx(0.7, abs=0.5)

    async def test_thresholds_are_judged(self) -> None:
        """A crossed one makes the run fail, and says the figure."""
        scenario = replace(QUIET, duration_s=0.5)
        async with Relay(Faults(delay_s=0.1)) as relay:
            tally = await Bots(config(relay.url, scenario)).run()
        thresholds = [Threshold.parse(text) for text in ("ack_p99<50ms", "gaps==0")]
        report = conclude(scenario, tally, thresholds=thresholds, interval_s=1.0)
        assert [judged.kept for judged in report.thresholds] == [False, True]
        assert report.crossed
        assert not report.ok


class TestBehaviours:
    async def test_a_storm_of_reconnects_resumes(self) -> None:
        """Connections are cut at once, come back with their cursors, and nothing is missed."""
        scenario = replace(QUIET, duration_s=1.8, chat_hz=10, reconnects=Reconnects(every_s=0.8, share=1.0))
        report, relay = await play_through(Faults(), scenario)

        counts = report.tally.counts
        assert relay.cuts >= 3
        assert counts["resumed"] == counts["reconnects"] >= 3
        assert {
            name: counts[name] for name in ("gaps", "missed_after_resume", "duplicates", "out_of_order")
        } == dict.fromkeys(("gaps", "missed_after_resume", "duplicates", "out_of_order"), 0)
        assert len(report.tally.latencies["resume"]) == counts["resumed"]

    async def test_what_a_resume_does_not_bring_is_missed(self) -> None:
        """An event that was written while a bot was away, and that its resume leaves out, is counted as that."""
        scenario = replace(QUIET, players=6, duration_s=1.8, chat_hz=20, reconnects=Reconnects(every_s=0.8, share=0.5))
        report, _ = await play_through(Faults(not_resumed=frozenset(range(1, 10_000))), scenario, drain_s=0.5)

        assert report.tally.counts["missed_after_resume"] > 0
        assert report.tally.counts["gaps"] == 0
        assert not report.ok

    async def test_slow_readers_pause_and_go_on(self) -> None:
        """They get everything in the end, and what they wait for is no latency of the servers."""
        slow = SlowReaders(share=0.34, every_s=1.0, for_s=0.5)
        scenario = replace(QUIET, duration_s=2.0, slow_readers=slow)
        report, relay = await play_through(Faults(), scenario)

        assert report.ok, report.failures
        assert report.tally.counts["delivered"] == report.tally.counts["acked"] * 3
        assert len(report.tally.latencies["ack.response"]) == sum(
            publisher != "bot-1" for publisher, *_ in relay.published
        )
        # Two of three receivers watch two others each.
        assert (report.tally.counts["pairs_watched"], report.tally.counts["pairs"]) == (4, 6)

    async def test_players_come_in_stages(self) -> None:
        """Who is not there yet sends nothing and is owed nothing."""
        stages = (Stage(part=1, players=0.25), Stage(part=1, players=1.0), Stage(part=1, players=1.0))
        scenario = replace(QUIET, players=8, rooms=2, duration_s=1.5, chat_hz=2, stages=stages)
        report, relay = await play_through(Faults(), scenario)

        assert report.ok, report.failures
        assert len(relay.moves) == 8
        assert len(relay.moves["bot-8"]) < len(relay.moves["bot-1"]) / 2

    async def test_a_burst_is_faster_for_a_moment(self) -> None:
        """The same time with a burst in it holds as many more sends as planned."""
        scenario = replace(QUIET, players=1, chat_hz=0, duration_s=1.0, burst=Burst(every_s=1.0, for_s=0.5, factor=3))
        _, relay = await play_through(Faults(), scenario)
        assert len(relay.moves["bot-1"]) == 40


class TestReport:
    async def test_json_form(self) -> None:
        """Figures, verdicts, series and histograms that others can read."""
        report, _ = await play(Faults(), events=3)

        document = report.to_dict()
        assert document["ok"] is True
        assert document["failures"] == []
        assert document["scenario"]["players"] == 3
        assert document["figures"]["gaps"] == 0
        latency = document["latencies"]["ack.response"]
        assert latency["count"] == report.tally.counts["acked"]
        assert latency["p50"] == report.figures["ack_p50"]

    async def test_what_was_acked_can_be_compared_with_redis(self) -> None:
        """By room, publisher and id."""
        report, relay = await play(Faults(), events=3)
        assert set(report.acked) == {(room, publisher, event_id) for publisher, room, _, event_id in relay.published}
