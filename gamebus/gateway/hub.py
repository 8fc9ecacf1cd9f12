"""SKELETON: signatures only; the body follows. Plain functions throughout: nothing a connection calls ever awaits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gamebus.catalog import Catalog, Role
from gamebus.gateway.outbox import Outbox
from gamebus.settings import GatewaySettings


class Client(Protocol):
    """A connection that said hello."""

    @property
    def session(self) -> str:
        """Names the connection; no two have the same."""

    @property
    def player(self) -> str:
        """The token's `sub`."""

    @property
    def role(self) -> Role:
        """The token's role at the moment of a join (only `player` is shown to others)."""

    @property
    def outbox(self) -> Outbox:
        """Where frames for this client go."""


class Hub:
    """Construct inside the running loop. run() polls presence; ticks are timers of the loop."""

    realtime_topics: tuple[str, ...]
    """Topics to tail from the end into `on_realtime`."""

    durable_topics: tuple[str, ...]
    """Topics to tail from `history_ms` back into `on_durable`."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        partition: Any,  # Callable[[str topic, str key], int]: Partitioner.partition
        settings: GatewaySettings,
        presence: Any,  # PresenceState
        positions: Any,  # PositionState
        max_age_ms: int = 1000,
    ) -> None: ...

    def go_live(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Call once when the durable tail has caught up, before listening: (topic, partition) -> Tail.position of ALL partitions."""

    def join(self, client: Client, room: str, resume: str | None = None) -> None:
        """Sends `joined`, missed events, then live ones into the outbox; at once, or within 0.5 s when Redis must be asked first. Repeatable: answered each time."""

    def leave(self, client: Client, room: str) -> None:
        """Stops everything of the room; the caller sends `left` after it (a pending `joined` is sent first). Unknown room: no-op."""

    def drop(self, client: Client, *, replaced: bool = False) -> None:
        """Leave all rooms and close the outbox. `replaced`: taken over by another connection of the player (4501), so others see no gap. Repeatable."""

    def cursor_for(self, client: Client, room: str, topic: str, offset: int) -> str:
        """Cursor for an `ack` of the record written at `offset` of `topic` (note: takes the client, because of replays under way)."""

    def on_realtime(self, topic: str, partition: int, records: Sequence[Any]) -> None: ...

    def on_durable(self, topic: str, partition: int, records: Sequence[Any]) -> None: ...

    async def run(self) -> None:
        """Until cancelled."""

    async def flush(self) -> None:
        """At shutdown, after the drops and before cancelling run(): tell Redis who left (bounded by the caller's timeout)."""
