"""Which runs can be compared, and how."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from gamebus_bots.comparison import NoReport, changes, unlike
from gamebus_bots.environment import environment
from gamebus_bots.report import conclude
from gamebus_bots.scenario import Scenario
from gamebus_bots.tally import Tally


def document(*, ack_s: float = 0.010, **options: Any) -> dict[str, Any]:
    tally = Tally()
    tally.latencies["ack.response"].record(ack_s)
    report = conclude(
        Scenario(),
        tally,
        interval_s=1.0,
        environment=environment("uvloop"),
        options={"processes": 1, "seed": 1} | options,
    )
    made: dict[str, Any] = json.loads(json.dumps(report.to_dict()))
    return made


class TestUnlike:
    def test_runs_of_the_same_machine_are_alike(self) -> None:
        """Whatever the revision and the versions of gamebus: they are what is compared."""
        other = document(started="later")
        other["environment"] |= {"git": "abc"}
        other["environment"]["versions"] |= {"gamebus": "9"}
        assert unlike(document(), other) == []

    @pytest.mark.parametrize(
        ("path", "value", "words"),
        [
            (("environment", "cpu"), "Z80", "cpu: "),
            (("environment", "loop"), "asyncio", "loop: uvloop and asyncio"),
            (("environment", "versions", "websockets"), "1", "version of websockets"),
            (("scenario", "players"), 7, "scenario's players: 20 and 7"),
            (("options", "processes"), 2, "processes: 1 and 2"),
            (("invalid",), "generator saturated", "the second run is invalid"),
        ],
    )
    def test_what_differs_is_named(self, path: tuple[str, ...], value: object, words: str) -> None:
        """And nothing else is."""
        other = copy.deepcopy(document())
        table = other
        for name in path[:-1]:
            table = table[name]
        table[path[-1]] = value
        (found,) = unlike(document(), other)
        assert words in found

    def test_something_else_is_refused(self) -> None:
        """A document of another tool, or of an older version."""
        with pytest.raises(NoReport, match="gamebus bots run --json"):
            unlike(document(), {})


class TestChanges:
    def test_says_by_how_much_and_which_way(self) -> None:
        """A latency that doubles is worse by 100 %."""
        found = {change.name: change for change in changes(document(), document(ack_s=0.020))}
        change = found["ack_response_p99"]
        assert change.better is False
        assert change.relative == pytest.approx(1.0, rel=0.01)
        assert found["gaps"].better is None
        assert found["gaps"].relative == 0.0
        assert "chat_response_p99" not in found
