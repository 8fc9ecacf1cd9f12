"""TCP ports on the loopback interface.

Between the choice of a port and the moment when its server listens, somebody else may take it. Two things make that unlikely: ports are
chosen below the range from which the kernel numbers outgoing connections, and stacks that start at the same time reserve theirs.
"""

from __future__ import annotations

import os
import random
import socket
from types import TracebackType
from typing import Final, Self

from gamebus.errors import StackError
from gamebus.localstack.locks import cache_folder, try_lock

# Below 32768, where Linux begins to number outgoing connections (net.ipv4.ip_local_port_range; macOS: 49152). A server's port inside that
# range can be taken while the server is down, even by a client that connects to that very port and so to itself.
_FREE: Final = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server in TIME_WAIT do not matter, a listening server does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(usual: int = 0) -> int:
    """`usual` when a server could listen there, else another port. Nothing is reserved.

    Raises:
        StackError: no port is free.
    """
    with PortReservations() as ports:
        return ports.take(usual)


class PortReservations:
    """Ports that no other stack of this user takes until this is closed: hold it until the servers listen.

    Not guaranteed: against programs that do not ask here.
    """

    def __init__(self) -> None:
        self._locks: list[int] = []

    def take(self, usual: int = 0) -> int:
        """Reserve `usual` when it is free, else another free port; 0 is any.

        Raises:
            StackError: no port is free.
        """
        candidates = [usual] if usual else []
        for port in [*candidates, *random.sample(_FREE, len(_FREE))]:
            if self._reserve(port):
                return port
        raise StackError(f"no TCP port is free between {_FREE.start} and {_FREE.stop}; stop what listens there")

    def close(self) -> None:
        """Give all reservations up."""
        while self._locks:
            os.close(self._locks.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _reserve(self, port: int) -> bool:
        lock = try_lock(cache_folder() / "ports" / str(port))
        if lock is None:
            return False
        if not is_free(port):
            os.close(lock)
            return False
        self._locks.append(lock)
        return True
