"""What a run of the bots is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gamebus_bots.scenario import Scenario


@dataclass(frozen=True, slots=True)
class BotsConfig:
    """A run of the bots in one process, or one process's part of it.

    Attributes:
        url: websocket address of the gateway.
        secret: HMAC secret that the gateway checks tokens with.
        scenario: what is played.
        seed: the same seed, the same game.
        room_prefix: rooms are `PREFIX-1`, `PREFIX-2`, ...
        player_prefix: players are `PREFIX-1`, ...; the game server is `PREFIX-server`.
        connect_timeout_s: how long each tries to connect.
        drain_s: how long the end waits for acks, and then for deliveries.
        part: which of the parts this is, from 0; a room is played whole by one of them.
        parts: how many processes play.
    """

    url: str
    secret: str = field(repr=False)
    scenario: Scenario = field(default_factory=Scenario)
    seed: int = 1
    room_prefix: str = "arena"
    player_prefix: str = "bot"
    connect_timeout_s: float = 30.0
    drain_s: float = 30.0
    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if not self.secret:
            raise ValueError("the secret is empty: bots mint their own tokens and need the gateway's secret")
        if not 1 <= self.parts <= self.scenario.rooms:
            raise ValueError(
                f"{self.parts} processes for {self.scenario.rooms} rooms: a room is played whole by one process, "
                "which compares what its bots sent with what each of them got"
            )

    @property
    def rooms(self) -> Sequence[str]:
        """The rooms of this part."""
        numbers = range(self.part, self.scenario.rooms, self.parts)
        return [f"{self.room_prefix}-{number + 1}" for number in numbers]

    @property
    def ranks(self) -> Sequence[int]:
        """Numbers of this part's players, from 0; player `k` is in room `k % rooms`."""
        rooms = self.scenario.rooms
        return [rank for rank in range(self.scenario.players) if rank % rooms % self.parts == self.part]

    def room_of(self, rank: int) -> str:
        """A player's room."""
        return f"{self.room_prefix}-{rank % self.scenario.rooms + 1}"

    def is_slow(self, rank: int) -> bool:
        """Whether a player is one of those who stop reading now and then."""
        slow = self.scenario.slow_readers
        return slow is not None and rank < round(self.scenario.players * slow.share)
