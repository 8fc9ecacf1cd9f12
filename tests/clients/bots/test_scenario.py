"""Scenarios: those that ship, files of one's own, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from gamebus_bots.scenario import Burst, Scenario, ScenarioError, Stage, duration_s
from gamebus_bots.scenario_files import find, shipped


class TestShipped:
    def test_there_are_all(self) -> None:
        """Each can be played as it is, and says what it is for."""
        found = shipped()
        assert set(found) == {
            *(
                "steady",
                "ramp",
                "burst",
                "hotspot",
                "chat-storm",
                "reconnect-storm",
                "slow-clients",
                "broker-restart",
                "soak",
            )
        }
        assert all(scenario.about and scenario.name == name for name, scenario in found.items())

    @pytest.mark.parametrize("name", sorted(shipped()))
    def test_survives_json(self, name: str) -> None:
        """As it is handed to other processes."""
        scenario = find(name)
        assert Scenario.of(json.loads(json.dumps(dataclasses.asdict(scenario)))) == scenario


class TestFiles:
    def test_toml(self, tmp_path: Path) -> None:
        """Durations are written with their unit; tables are parts of the scenario."""
        path = tmp_path / "finals.toml"
        path.write_text('players = 30\nduration = "2m"\n[burst]\nevery = "10s"\nfor = "500ms"\nfactor = 2\n')
        scenario = find(str(path))
        assert (scenario.name, scenario.players, scenario.duration_s) == ("finals", 30, 120.0)
        assert scenario.burst == Burst(every_s=10.0, for_s=0.5, factor=2.0)

    def test_python(self, tmp_path: Path) -> None:
        """A function that makes one."""
        path = tmp_path / "own.py"
        path.write_text("from gamebus_bots import Scenario\ndef scenario():\n    return Scenario(players=7, rooms=7)\n")
        assert find(str(path)).players == 7

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("player = 3", "no 'player'; there are name, about, players"),
            ("players = true", "'players' of the scenario is True"),
            ("[burst]\nevery = '1s'\nfactor = 2", "lacks for"),
            ("players = 0", "0 players"),
            ("stages = [{players = 0.5}, {players = 0.2}]", "do not fall"),
            ("duration = 'soon'", "60s"),
            ("=", "own"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, words: str, tmp_path: Path) -> None:
        """With what would be right."""
        path = tmp_path / "own.toml"
        path.write_text(text)
        with pytest.raises(ScenarioError, match=words):
            find(str(path))

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        """A name that does not ship, a file that is not there, a Python file without a scenario."""
        with pytest.raises(ScenarioError, match="there are broker-restart, burst"):
            find("nothing")
        with pytest.raises(ScenarioError, match="no file"):
            find(str(tmp_path / "x.toml"))
        path = tmp_path / "own.py"
        path.write_text("scenario = 3")
        with pytest.raises(ScenarioError, match=r"no function scenario\(\)"):
            find(str(path))


class TestScaled:
    def test_options_are_laid_over(self) -> None:
        """What is not given stays; rooms shrink with the players."""
        scenario = Scenario(players=100, rooms=10, stages=(Stage(players=0.5), Stage()))
        assert scenario.scaled(players=4, duration_s=None).rooms == 4
        assert scenario.scaled(players=400).rooms == 10
        assert scenario.scaled(players=400).stages == scenario.stages


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("60s", 60), ("2m", 120), ("1.5h", 5400), ("7", 7)])
def test_durations(text: str, seconds: float) -> None:
    """With a unit, or seconds."""
    assert duration_s(text) == seconds
