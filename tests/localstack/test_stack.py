"""What a stack refuses and what it leaves alone; no server is started here (see tests/integration/test_localstack.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamebus.errors import StackError
from gamebus.localstack.stack import Stack, StackAddresses


def external(folder: Path, *, brokers: int | None = None) -> Stack:
    """A stack that has nothing to start."""
    return Stack(
        folder, brokers=brokers, external_kafka="kafka.example:9092", external_redis="redis://redis.example:6379/2"
    )


class TestUp:
    def test_uses_external_servers_as_they_are(self, tmp_path: Path) -> None:
        """Named servers are not started: the addresses are the given ones."""
        stack = external(tmp_path / "stack")

        assert stack.up() == StackAddresses(
            kafka="kafka.example:9092", redis="redis://redis.example:6379/2", folder=tmp_path / "stack", brokers=0
        )
        assert stack.status() == ()

    def test_refuses_a_folder_with_other_files(self, tmp_path: Path) -> None:
        """`wipe` removes a stack's folder, so a stack never moves in with somebody's files."""
        (tmp_path / "thesis.tex").touch()

        with pytest.raises(StackError, match=r"holds other files \(thesis.tex\)"):
            external(tmp_path).up()

        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_accepts_a_folder_that_holds_the_secret(self, tmp_path: Path) -> None:
        """A development run keeps its secret in the folder before the servers start."""
        (tmp_path / "secret").touch()

        external(tmp_path).up()

    @pytest.mark.parametrize("brokers", [0, 2, 4])
    def test_refuses_a_number_of_brokers_without_a_sense(self, tmp_path: Path, brokers: int) -> None:
        """Two brokers cannot lose one and keep a majority."""
        with pytest.raises(StackError, match="1 broker, or 3"):
            Stack(tmp_path, brokers=brokers)

    def test_refuses_proxies_for_some_brokers_only(self, tmp_path: Path) -> None:
        """A client would be led around the proxy of a broker that has none."""
        with pytest.raises(StackError, match=r"2 proxies for 3 broker\(s\)"):
            Stack(tmp_path, brokers=3, proxied_ports=(9301, 9302))

    def test_refuses_to_change_the_number_of_brokers(self, tmp_path: Path) -> None:
        """The voters of a cluster with data are fixed: growing it silently would lose the quorum."""
        (tmp_path / "stack.json").write_text('{"cluster_id": "x", "brokers": 3, "ports": {}}')

        with pytest.raises(StackError, match=r"made with 3 broker\(s\) and cannot become one with 1"):
            Stack(tmp_path, brokers=1).up()

    def test_names_a_state_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A damaged folder is named, with what to do."""
        (tmp_path / "stack.json").write_text("{")

        with pytest.raises(StackError, match=r"stack\.json cannot be read.*remove"):
            external(tmp_path).up()


class TestDown:
    def test_without_a_stack_stops_nothing(self, tmp_path: Path) -> None:
        """`down` may come first, and leaves no trace."""
        assert external(tmp_path / "stack").down() == 0
        assert not (tmp_path / "stack").exists()


class TestWipe:
    def test_refuses_a_folder_that_is_not_a_stacks(self, tmp_path: Path) -> None:
        """`gamebus stack wipe --folder ~` removes nothing."""
        (tmp_path / "thesis.tex").touch()

        with pytest.raises(StackError, match="nothing was removed"):
            external(tmp_path).wipe()

        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_removes_everything(self, tmp_path: Path) -> None:
        """After `wipe` nothing is left."""
        stack = external(tmp_path / "stack")
        stack.up()
        stack.wipe()
        stack.wipe()

        assert not (tmp_path / "stack").exists()
        assert stack.addresses() is None


class TestProcess:
    def test_names_the_servers_that_there_are(self, tmp_path: Path) -> None:
        """A misspelt name in a test of faults says which ones exist."""
        stack = external(tmp_path)
        stack.up()

        with pytest.raises(StackError, match="has no 'kafka-7'"):
            stack.process("kafka-7")
