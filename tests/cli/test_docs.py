"""Generated pages and the settings behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamebus.cli.docs import operations_page, settings_page
from gamebus.errors import CatalogError, ConfigurationError
from gamebus.settings import load_catalog, load_settings

DOCS = Path(__file__).parents[2] / "docs"


class TestSettingsPage:
    def test_is_up_to_date(self) -> None:
        """The page of settings says what the code does: run `gamebus docs` after a change."""
        assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page()

    def test_every_setting_is_described(self) -> None:
        """No setting is without words."""
        assert "| None |" not in settings_page()


class TestOperationsPage:
    def test_is_up_to_date(self) -> None:
        """Every metric of the code is listed: run `gamebus docs` after a change."""
        text = (DOCS / "operations.md").read_text(encoding="utf-8")
        assert operations_page(text) == text
        assert "gamebus_gateway_errors_total{code}" in text


class TestSettings:
    def test_are_read_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every setting is an environment variable, nested by two underscores."""
        monkeypatch.setenv("GAMEBUS_GATEWAY__TICK_HZ", "30")

        assert load_settings().gateway.tick_hz == 30

    def test_refuse_a_value_out_of_range(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wrong value stops the process instead of a surprise at run time."""
        monkeypatch.setenv("GAMEBUS_GATEWAY__TICK_HZ", "0")

        with pytest.raises(ConfigurationError, match="GAMEBUS_GATEWAY__TICK_HZ"):
            load_settings()

    def test_refuse_an_unknown_name_in_a_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A misspelt setting is an error, not silence."""
        monkeypatch.setenv("GAMEBUS_GATEWAY__TIK_HZ", "30")

        with pytest.raises(ConfigurationError, match="GAMEBUS_GATEWAY__TIK_HZ"):
            load_settings()

    def test_refuse_an_unknown_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A misspelt section is an error, not silence."""
        monkeypatch.setenv("GAMEBUS_GATWAY__TICK_HZ", "30")

        with pytest.raises(ConfigurationError, match="GAMEBUS_GATWAY__TICK_HZ"):
            load_settings()

    def test_a_wrong_secret_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error about a secret never prints it."""
        monkeypatch.setenv("GAMEBUS_AUTH__SECRET", "swordfish")
        monkeypatch.setenv("GAMEBUS_AUTH__LEEWAY_S", "swordfish")

        with pytest.raises(ConfigurationError) as raised:
            load_settings()

        assert "swordfish" not in str(raised.value)

    def test_a_named_catalog_that_cannot_be_read_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A studio's catalog is never silently replaced by the built-in one."""
        monkeypatch.setenv("GAMEBUS_CATALOG", str(tmp_path / "none.toml"))

        with pytest.raises(CatalogError, match="cannot be read"):
            load_catalog(load_settings())
