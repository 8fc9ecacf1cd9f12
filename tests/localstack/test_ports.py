"""Ports of the stack."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gamebus.localstack.ports import PortReservations, free_port, is_free


@pytest.fixture(autouse=True)
def _own_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reservations of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which a server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestFreePort:
    def test_is_the_usual_one_when_nobody_listens_there(self) -> None:
        """Bookmarks keep working: the usual port is used while it is free."""
        usual = free_port()

        assert free_port(usual) == usual

    def test_is_another_one_when_somebody_listens(self, taken_port: int) -> None:
        """A machine on which Redis runs already can start a stack beside it."""
        port = free_port(taken_port)

        assert port != taken_port
        assert is_free(port)

    def test_is_another_one_when_somebody_listens_on_all_addresses(self) -> None:
        """A server on 0.0.0.0 holds the port on loopback too."""
        with socket.create_server(("0.0.0.0", 0)) as server:
            assert not is_free(server.getsockname()[1])

    def test_stays_below_the_ports_of_outgoing_connections(self) -> None:
        """No outgoing connection can be given the port of a server that is just restarting."""
        assert {free_port() // 32_000 for _ in range(20)} == {0}

    def test_is_free_again_right_after_its_server_ended(self) -> None:
        """Connections in TIME_WAIT do not chase a restarted server to another port."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                # The side that closes first keeps TIME_WAIT: here the server's.
                server.accept()[0].close()

        assert is_free(port)


class TestPortReservations:
    def test_two_stacks_that_start_at_once_get_different_ports(self) -> None:
        """Between the choice of a port and its server's first breath no other stack takes it."""
        with PortReservations() as first, PortReservations() as second:
            usual = first.take()

            assert second.take(usual) != usual

    def test_end_with_the_start(self) -> None:
        """A reservation is no lease: when the servers listen, their sockets speak for themselves."""
        with PortReservations() as first:
            usual = first.take()

        with PortReservations() as second:
            assert second.take(usual) == usual

    def test_never_give_one_port_twice(self) -> None:
        """The servers of one stack differ in their ports before any of them listens."""
        with PortReservations() as ports:
            usual = ports.take()

            assert ports.take(usual) != usual
