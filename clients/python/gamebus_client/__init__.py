"""Python client of gamebus, the event bus behind a real-time multiplayer game.

async with GameClient("ws://127.0.0.1:8000/v1", token) as game:
    await game.join("arena-1")
    game.move("arena-1", 1.0, 0.0, 2.0)
    await game.chat("arena-1", "hello")
    async for message in game:
        print(message)
"""

from __future__ import annotations

from gamebus_client.client import GameClient
from gamebus_client.exceptions import (
    ConnectError,
    ConnectionLost,
    Disconnected,
    GameClientError,
    HandshakeRefused,
    InvalidMessage,
    OutboxFull,
    OutcomeUnknown,
    ProtocolViolation,
    PublishError,
    PublishFailed,
    PublishRejected,
    RequestRefused,
    RequestTimedOut,
)
from gamebus_client.interpolation import Interpolator, Pose
from gamebus_client.messages import (
    Ack,
    Closed,
    Error,
    Event,
    Joined,
    Left,
    Message,
    Positions,
    Presence,
    Reconnected,
    Reconnecting,
    Tick,
)
from gamebus_client.statistics import ClientStatistics
from gamebus_client.tokens import Token

__all__ = [
    "Ack",
    "ClientStatistics",
    "Closed",
    "ConnectError",
    "ConnectionLost",
    "Disconnected",
    "Error",
    "Event",
    "GameClient",
    "GameClientError",
    "HandshakeRefused",
    "Interpolator",
    "InvalidMessage",
    "Joined",
    "Left",
    "Message",
    "OutboxFull",
    "OutcomeUnknown",
    "Pose",
    "Positions",
    "Presence",
    "ProtocolViolation",
    "PublishError",
    "PublishFailed",
    "PublishRejected",
    "Reconnected",
    "Reconnecting",
    "RequestRefused",
    "RequestTimedOut",
    "Tick",
    "Token",
]
