"""Durable effects: what events delivered at least once do to the state of their room, each exactly once.

Guaranteed, for one (room, topic partition) whose events arrive in order, with any repetition from any point: every event has its
effect once. Three things make it so:

* **Offsets** (`applied`): ranges of offsets whose events of this room are applied. Exact for whatever Kafka delivers again after
  a crash, a rebalance or a rebuild.
* **Identities** (`ids:*`): `publisher/id` of what was applied within the last hour of record time. For what the publisher sent
  again, which has another offset. Publishers stop re-sending after 10 minutes.
* **One script** in one hash slot for check and effect, and one moment of expiry for all keys of the room. A Redis that
  is restored from an older copy has the effects and both checks of the same moment; Kafka is read again from the mark of that
  copy (:mod:`gamebus.state.marks`), and what was lost is applied again.

The offsets are ranges because a processor that is running while Redis goes back in time hands over newer events before it
notices: the ranges then have a gap where the lost events are, and the rebuild fills it. A processor that goes on where it
stopped leaves no gap, so a room has one range, and one more for each change of owner and each such accident. Their number is
bounded (:data:`MAX_RANGES`); past it the lowest gap closes, which the reader has passed, because Kafka is read upwards.

Not guaranteed: an event whose identity is sent again more than an hour of record time (or :data:`MAX_IDENTITIES` events of its
room and topic) later is a new event. A room without any durable event for :data:`ROOM_TTL_MS` is forgotten whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.record import DurableRecord
from gamebus.state.connection import Connection
from gamebus.state.scripts import load_script

ROOM_TTL_MS: Final = 24 * 3_600_000
"""Durable state of a room vanishes, all of it at once, so long after its last event was applied."""

WINDOW_MS: Final = 3_600_000
"""Identities are remembered for so long, by the time of the records."""

MAX_IDENTITIES: Final = 200_000
"""Bound of one window, whatever the rate: about 20 MB."""

MAX_RANGES: Final = 16
"""Bound of the applied ranges of one room and topic partition."""

# Redis serves nobody else while a script runs: 500 events are a few milliseconds.
_MAX_CALL: Final = 500
# Rooms of one partition of which this process remembers how far it came; a forgotten one costs a range.
_MAX_REMEMBERED: Final = 10_000

FEED: Final = "feed"
CHAT: Final = "chat"
_LIST_LENGTHS: Final = {FEED: 100, CHAT: 200}
_OWN_TYPE_LENGTH: Final = 100

_APPLY: Final = load_script("apply_events")


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """An event as the lists of a room keep it: kill feed, chat history, events of a studio's own types."""

    type: str
    player: str
    server_ms: int
    publisher: str
    id: str
    data: Any


@dataclass(frozen=True, slots=True)
class Effect:
    """What one event does."""

    record: DurableRecord
    offset: int
    list: str
    """Kind of the list that takes the event: `feed`, `chat`, or `events:TYPE`."""

    scores: tuple[str, ...] = ()
    """Counts that rise by one, as :func:`score` names them."""


def score(player: str, kind: str) -> str:
    """Field of the score table; `/` cannot occur in a player id."""
    return f"{player}/{kind}"


def own_type_list(event_type: str) -> str:
    """List that takes the events of a type that a studio has added."""
    return f"events:{event_type}"


class EffectState:
    """Applies effects. The catalog says which lists and topics a room has, so every process needs the same one."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._connection = connection
        self.follow(catalog)
        # (topic, partition) -> room -> offset up to which this process has applied its events without a break.
        self._reached: dict[tuple[str, int], dict[str, int]] = {}

    def follow(self, catalog: Catalog) -> None:
        """Know the lists and topics of another generation of the catalog; before any of its events is applied."""
        self._topics = [topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)]
        own_types = [
            event_type.name
            for topic in self._topics
            for event_type in catalog.types_of(topic)
            if event_type.name not in ("kill", "death", "chat")
        ]
        lengths = _LIST_LENGTHS | {own_type_list(name): _OWN_TYPE_LENGTH for name in own_types}
        self._lists = list(lengths)
        # Lua counts from 1.
        self._list_index = {kind: index for index, kind in enumerate(lengths, start=1)}
        self._lengths: bytes = msgpack.packb(list(lengths.values()))

    async def apply(self, room: str, topic: str, partition: int, effects: Sequence[Effect]) -> list[bool]:
        """Apply events of one room and topic partition, all that lie between the first and the last, in order of offset.

        May be called again with the same events, or some of them: those already applied are duplicates.

        Returns:
            For each event, whether it was applied now; False for a duplicate.
        Raises:
            StateError: Redis could not answer; some, all or none were applied. Call again.
        """
        outcome: list[bool] = []
        for start in range(0, len(effects), _MAX_CALL):
            outcome += await self._apply(room, topic, partition, effects[start : start + _MAX_CALL])
        return outcome

    def forget(self, topic: str, partition: int) -> None:
        """Another process has had the partition: where this one stopped is no longer where its events go on."""
        self._reached.pop((topic, partition), None)

    async def _apply(self, room: str, topic: str, partition: int, effects: Sequence[Effect]) -> list[bool]:
        reached = self._reached.setdefault((topic, partition), {})
        list_index = self._list_index
        events = [
            (
                effect.offset,
                effect.record.identity,
                effect.record.server_ms,
                effect.record.type,
                list_index[effect.list],
                encode_entry(effect.record),
                effect.scores,
            )
            for effect in effects
        ]
        arguments = (
            f"{topic}/{partition}",
            ROOM_TTL_MS,
            WINDOW_MS,
            MAX_IDENTITIES,
            MAX_RANGES,
            reached.get(room, ""),
            self._lengths,
            msgpack.packb(events, use_bin_type=False),
        )
        result: bytes = await self._connection.run(_APPLY, self._keys(room, topic), arguments)
        reached.pop(room, None)
        reached[room] = effects[-1].offset
        if len(reached) > _MAX_REMEMBERED:
            del reached[next(iter(reached))]
        return [flag == ord("1") for flag in result]

    def _keys(self, room: str, topic: str) -> list[str]:
        key = self._connection.keys.room
        windows = [topic, *(other for other in self._topics if other != topic)]
        kinds = ["applied", "totals", "scores", *self._lists, *(f"ids:{name}" for name in windows)]
        return [key(room, kind) for kind in kinds]


def encode_entry(record: DurableRecord) -> bytes:
    """Entry of a list: a msgpack array, in the order of :class:`RoomEvent`."""
    entry: bytes = msgpack.packb(
        (record.type, record.player, record.server_ms, record.publisher, record.id, record.data)
    )
    return entry


async def read_entries(connection: Connection, room: str, kind: str, count: int) -> list[RoomEvent]:
    """Newest `count` entries of a list, newest first.

    Raises:
        StateError: Redis could not answer.
    """
    entries = await connection.execute("LRANGE", connection.keys.room(room, kind), 0, count - 1)
    return [RoomEvent(*msgpack.unpackb(entry)) for entry in entries]
