"""Asks a server whether it serves, with the few bytes that this takes: a port that accepts connections says too little.

A broker may not know its peers yet, a Redis may still load its data, and either port may belong to somebody else.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_TIMEOUT_S: Final = 2.0

# Metadata request v5 without topics (protocol guide, "Metadata API"): api key, version, correlation id, client id, empty array, no creation.
_METADATA: Final = struct.pack(">hhih7sib", 3, 5, 1, 7, b"gamebus", 0, 0)


def live_brokers(port: int, *, cluster_id: str) -> frozenset[int]:
    """Node ids of the brokers that the broker at `port` knows as live; empty when it does not serve, or serves another cluster."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA)) + _METADATA)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                return _parse_metadata(stream.read(size), cluster_id)
    except (OSError, struct.error, UnicodeDecodeError):
        return frozenset()


def redis_serves(port: int, *, pid: int) -> bool:
    """Whether the process `pid` answers commands at `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            with connection.makefile("rb") as stream:
                answer = stream.read()
    except OSError:
        return False
    # While it loads its data the answer to PING is an error (-LOADING).
    return answer.startswith(b"+PONG") and b"\r\nprocess_id:%d\r\n" % pid in answer


def _parse_metadata(answer: bytes, cluster_id: str) -> frozenset[int]:
    """Correlation id, throttle time, then the brokers (node id, host, port, rack) and the cluster id."""
    at = 8

    def take(shape: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(shape, answer, at)
        at += struct.calcsize(shape)
        return int(value)

    def text() -> str:
        nonlocal at
        length = max(take(">h"), 0)
        at += length
        return answer[at - length : at].decode()

    brokers = set()
    for _ in range(take(">i")):
        brokers.add(take(">i"))
        text()
        take(">i")
        text()
    return frozenset(brokers) if text() == cluster_id else frozenset()
