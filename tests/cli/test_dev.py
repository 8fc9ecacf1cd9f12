"""Which catalog the arena is played with in `gamebus dev`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from gamebus.cli.dev import find_arena
from gamebus.errors import CatalogError
from gamebus.settings import Settings

SHIPPED = files("gamebus_arena").joinpath("gamebus.toml").read_text(encoding="utf-8")
OWN = """
[types.footstep]
delivery = "at-most-once"
topic = "gamebus.footstep"
rationale = "the next step comes within 300 ms"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: a folder without a catalog."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAMEBUS_CATALOG", raising=False)
    return tmp_path


class TestFindArena:
    def test_without_a_catalog_it_brings_its_own(self) -> None:
        """A new user plays at once."""
        game = find_arena(Settings())

        assert game is not None
        assert game.catalog.read_text(encoding="utf-8") == SHIPPED

    def test_a_catalog_with_its_types_is_used(self, folder: Path) -> None:
        """Who copies the tables plays the arena beside the own game."""
        (folder / "gamebus.toml").write_text(OWN + SHIPPED, encoding="utf-8")
        game = find_arena(Settings())

        assert game is not None
        assert game.catalog == folder / "gamebus.toml"

    @pytest.mark.parametrize(
        "text",
        [OWN, OWN + SHIPPED.split("[types.arena]", maxsplit=1)[0]],
        ids=["none of its types", "one of its types"],
    )
    def test_a_catalog_without_its_types_is_left_alone(
        self, folder: Path, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The own catalog is never replaced: the arena is left out, and what is missing is named."""
        (folder / "mine.toml").write_text(text, encoding="utf-8")

        assert find_arena(Settings(catalog=folder / "mine.toml")) is None
        assert "'arena'" in "".join(capsys.readouterr())

    def test_a_wrong_catalog_is_an_error(self, folder: Path) -> None:
        """What is wrong with the user's file is said, as by every other command."""
        (folder / "gamebus.toml").write_text("[types.shot]\n", encoding="utf-8")
        with pytest.raises(CatalogError):
            find_arena(Settings())
