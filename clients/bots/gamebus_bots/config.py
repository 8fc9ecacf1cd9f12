"""What a run of the bots is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BotsConfig:
    """A run of the bots.

    Attributes:
        url: websocket address of the gateway.
        secret: HMAC secret that the gateway checks tokens with.
        players: how many, spread evenly over the rooms.
        seconds: how long they play.
        rate_hz: positions a second of each player.
        seed: the same seed, the same game.
        room_prefix: rooms are `PREFIX-1`, `PREFIX-2`, ...
        player_prefix: players are `PREFIX-1`, ...; the game server is `PREFIX-server`.
        chat_per_player_s: chats a second of each player, in the mean.
        combat: whether a game server publishes kills and deaths.
        connect_timeout_s: how long each tries to connect.
        drain_s: how long the end waits for acks, and then for deliveries.
    """

    url: str
    secret: str = field(repr=False)
    players: int = 20
    rooms: int = 2
    seconds: float = 60.0
    rate_hz: float = 20.0
    seed: int = 1
    room_prefix: str = "arena"
    player_prefix: str = "bot"
    chat_per_player_s: float = 0.1
    combat: bool = True
    connect_timeout_s: float = 30.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.rooms <= self.players:
            raise ValueError(
                f"{self.players} players in {self.rooms} rooms: there is at least one room, and one player in each"
            )
        if not 0 < self.rate_hz <= 1000:
            raise ValueError(f"rate_hz is {self.rate_hz}: positions a second are above 0 and at most 1,000")
        if self.seconds < 0 or self.chat_per_player_s < 0:
            raise ValueError("seconds and chat_per_player_s are not negative")
        if not self.secret:
            raise ValueError("the secret is empty: bots mint their own tokens and need the gateway's secret")
