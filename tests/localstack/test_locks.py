"""Locks on files, among threads and processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

from gamebus.localstack.locks import cache_folder, file_lock, try_lock


class TestFileLock:
    def test_lets_one_in_at_a_time(self, tmp_path: Path) -> None:
        """Of two `gamebus stack up` in one folder the second waits for the first."""
        inside: list[int] = []
        together = Barrier(4)

        def work(number: int) -> None:
            together.wait()
            for _ in range(50):
                with file_lock(tmp_path / "lock"):
                    inside.append(number)
                    assert inside == [number]
                    inside.pop()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))

    def test_can_be_moved_away_by_its_holder(self, tmp_path: Path) -> None:
        """`wipe` removes the folder with the lock in it; an `up` that waited there gets a lock that others see."""
        path, held = tmp_path / "stack" / "lock", Event()

        def wait_for_it() -> bool:
            held.wait()
            with file_lock(path):
                return path.exists() and try_lock(path) is None

        with ThreadPoolExecutor(1) as pool:
            with file_lock(path):
                waiter = pool.submit(wait_for_it)
                held.set()
                path.parent.rename(tmp_path / "wiped")

            assert waiter.result(timeout=30)


class TestCacheFolder:
    def test_follows_xdg(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Who moved the caches finds the jars there."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

        assert cache_folder() == tmp_path / "gamebus"

    @pytest.mark.parametrize("value", ["", "relative/path"])
    def test_ignores_a_relative_path(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        """The XDG specification: a path that is not absolute is invalid and to be ignored."""
        monkeypatch.setenv("XDG_CACHE_HOME", value)

        assert cache_folder() == Path.home() / ".cache" / "gamebus"
