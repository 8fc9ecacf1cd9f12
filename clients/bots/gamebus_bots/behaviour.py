"""What bots do to their own connections: storms of reconnects, and pauses in reading."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from random import Random

from gamebus_bots.clock import sleep_until
from gamebus_bots.player import Player
from gamebus_bots.scenario import Reconnects, SlowReaders


async def storms(scenario: Reconnects, players: Sequence[Player], start_s: float, seed: str) -> None:
    """Cut connections of the measured time, all at once, again and again."""
    rng = Random(seed)  # noqa: S311 - a game
    at_s = start_s
    while True:
        at_s += scenario.every_s
        await sleep_until(at_s)
        present = [player for player in players if player.joined]
        for player in rng.sample(present, round(len(present) * scenario.share)):
            player.cut()


async def take_pauses(scenario: SlowReaders, slow: Sequence[Player], start_s: float) -> None:
    """Let players stop reading now and then, each at a time of its own."""
    # (when, number of the player, whether it stops)
    due = [(start_s + scenario.every_s * index / max(1, len(slow)), index, True) for index in range(len(slow))]
    try:
        while due:
            at_s, index, stops = due[0]
            await sleep_until(at_s)
            slow[index].read_slowly(paused=stops)
            pause_s = scenario.for_s if stops else scenario.every_s - scenario.for_s
            heapq.heapreplace(due, (at_s + pause_s, index, not stops))
    finally:
        for player in slow:
            player.read_slowly(paused=False)
