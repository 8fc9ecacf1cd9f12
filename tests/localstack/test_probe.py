"""Probes against peers that are not the server that was meant: real sockets, wrong answers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gamebus.localstack.ports import free_port
from gamebus.localstack.probe import live_brokers, redis_serves


@contextmanager
def peer(answer: bytes) -> Iterator[int]:
    """A server that gives one answer to whoever connects, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def metadata(*node_ids: int, cluster_id: str) -> bytes:
    """A Metadata response v5 without topics."""

    def text(value: str) -> bytes:
        return struct.pack(">h", len(value)) + value.encode()

    brokers = b"".join(struct.pack(">i", node) + text("127.0.0.1") + struct.pack(">ih", 9092, -1) for node in node_ids)
    body = struct.pack(">iii", 1, 0, len(node_ids)) + brokers + text(cluster_id) + struct.pack(">ii", 1, 0)
    return struct.pack(">i", len(body)) + body


class TestLiveBrokers:
    def test_are_those_that_the_broker_knows(self) -> None:
        """Three brokers are up when each knows three."""
        with peer(metadata(1, 2, 3, cluster_id="mine")) as port:
            assert live_brokers(port, cluster_id="mine") == {1, 2, 3}

    def test_of_another_cluster_are_none(self) -> None:
        """A broker of somebody else that took the port is not taken for ours."""
        with peer(metadata(1, cluster_id="theirs")) as port:
            assert live_brokers(port, cluster_id="mine") == frozenset()

    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", metadata(1, cluster_id="mine")[:20], b"\0\0\0\x04\0\0\0\1"]
    )
    def test_of_something_that_is_no_broker_are_none(self, answer: bytes) -> None:
        """Any other server, or a broker that dies over its answer, means: not ready."""
        with peer(answer) as port:
            assert live_brokers(port, cluster_id="mine") == frozenset()


class TestRedisServes:
    def test_says_yes_to_the_process_that_was_started(self) -> None:
        """The pid in the answer is the pid that was started."""
        with peer(b"+PONG\r\n$40\r\n# Server\r\nprocess_id:4711\r\nrun_id:1\r\n\r\n+OK\r\n") as port:
            assert redis_serves(port, pid=4711)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"-LOADING Redis is loading the dataset in memory\r\n$16\r\nprocess_id:4711\r\n\r\n",
            b"+PONG\r\n$20\r\n\r\nprocess_id:47110\r\n\r\n",
            b"-NOAUTH Authentication required.\r\n",
        ],
    )
    def test_says_no_to_everything_else(self, answer: bytes) -> None:
        """One that loads its data, or a Redis that was there before, is not the one that was started."""
        with peer(answer) as port:
            assert not redis_serves(port, pid=4711)


@pytest.mark.parametrize(
    "probe", [lambda port: live_brokers(port, cluster_id="mine"), lambda port: redis_serves(port, pid=1)]
)
def test_nobody_there_means_not_ready(probe: Callable[[int], object]) -> None:
    """A refused connection is an answer, not an error."""
    assert not probe(free_port())
