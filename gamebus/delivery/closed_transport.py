"""aiokafka on uvloop: a request on a connection that was just reset is a lost connection, and nothing worse.

Between the moment in which a peer's reset closes a transport and the one in which aiokafka hears of it, `AIOKafkaConnection.send` still
writes. asyncio's transports drop such bytes; uvloop's raise :exc:`RuntimeError` ("the handler is closed"), and aiokafka expects
:exc:`OSError` only: the exception ends whatever task asked, for good - a producer's sender, a consumer's fetcher or coordinator, a line of
our own. Found by `gamebus verify --faults half_open`; guarded by tests/integration/test_aiokafka_contract.py.
"""

from __future__ import annotations

import functools
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def install() -> None:
    """From now on, in this process, :meth:`AIOKafkaConnection.send` raises :exc:`KafkaConnectionError` there, and closes."""
    send = AIOKafkaConnection.send
    if hasattr(send, "__wrapped__"):
        return

    @functools.wraps(send)
    def checked(connection: AIOKafkaConnection, request: Any, expect_response: Any = True) -> Any:  # noqa: FBT002 - its signature
        writer = connection._writer  # noqa: SLF001 - guarded by the contract test
        if writer is not None and writer.transport.is_closing():
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken")
        return send(connection, request, expect_response)

    AIOKafkaConnection.send = checked  # type: ignore[method-assign]
