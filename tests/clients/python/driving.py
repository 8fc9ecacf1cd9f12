"""Driving a client against a scripted gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from gamebus_client import (
    GameClient,
    Message,
)
from tests.clients.scripted_gateway import PATIENCE_S, ScriptedGateway

M = TypeVar("M", bound=Message)


class NoJitter(Random):
    """No jitter: reconnects follow at once, so tests wait for events and not for the clock."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


def client(gateway: ScriptedGateway, token: Any = "token", **options: Any) -> GameClient:
    return GameClient(gateway.url, token, rng=NoJitter(), **options)


async def next_of(game: GameClient, kind: type[M], check: Callable[[M], bool] = lambda _: True) -> M:
    """The next message of a kind; others before it are passed over."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in game:
            if isinstance(message, kind) and check(message):
                return message
    raise AssertionError(f"no {kind.__name__} came")
