"""Hub of one gateway: joins, ticks, durable events and presence of all rooms that its clients are in.

Guarantees:

* a tick holds the newest position, in Kafka's order, of every player that moved; one per room and period, encoded once per
  encoding, sent at once in a quiet room;
* durable events come to a client in the order of their topic, once each while it is in the room; an event that its publisher
  sent again is not delivered again within two minutes;
* a resumed client gets exactly what it missed, then live events, or `recovered` false;
* nothing here waits for a client, and no client waits for Redis longer than the deadline of a join.

Non-guarantees: positions are conflated, and dropped when they are older than `max_age_ms`; of rooms without clients here only
durable events are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from gamebus import events
from gamebus.catalog import Catalog, DeliveryClass, Role
from gamebus.errors import PayloadError, RecordError
from gamebus.gateway.grid_room import GridRoom
from gamebus.gateway.history import History, LoggedEvent
from gamebus.gateway.hub_statistics import HubStatistics
from gamebus.gateway.interest import Interest, Partition
from gamebus.gateway.joining import Joins
from gamebus.gateway.loop import Loop
from gamebus.gateway.membership import Membership, PositionState, PresenceState
from gamebus.gateway.room import Client, Room
from gamebus.gateway.ticker import Ticker
from gamebus.record import decode_durable, decode_realtime
from gamebus.room_types import Interest as RoomInterest
from gamebus.room_types import room_type_of
from gamebus.settings import GatewaySettings
from gamebus.state.directory import PlayerEntry, RoomEntry

_POSITION: Final = "position"
_HOUSEKEEPING_S: Final = 1.0


class ConsumerRecord(Protocol):
    """A record as the tail hands it over."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def key(self) -> bytes | None:
        """What chose the partition."""

    @property
    def value(self) -> bytes | None:
        """The event."""


class Hub:
    """Rooms of one gateway.

    Build it within the running loop, feed it from the tails, call :meth:`go_live` once and then let clients in. Every method
    but :meth:`run` and :meth:`flush` is a plain function for the thread of the loop.

    Args:
        catalog: names the topics.
        partition: `(topic, key) -> partition` of the durable topics, Kafka's own.
        settings: `tick_hz`, `history_ms` and `history_events` are taken.
        presence: who is where, across gateways.
        positions: where they were before this gateway listened.
        replaced: told of a player and his session here, when Redis shows that he came into a room of his by another gateway since.
        follow: told which partitions of :attr:`realtime_topics` hold rooms with clients; records of others need not come.
        max_age_ms: positions that a gateway took longer ago are dropped.
        loop: for time and timers; the running one by default.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        partition: Callable[[str, str], int],
        settings: GatewaySettings,
        presence: PresenceState,
        positions: PositionState,
        replaced: Callable[[str, str], Awaitable[None]],
        follow: Callable[[Collection[Partition]], None] = lambda _: None,
        max_age_ms: int = 1000,
        loop: Loop | None = None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.realtime_topics = (catalog.types[_POSITION].topic,)
        """Topics to tail from the end into :meth:`on_realtime`."""
        self.durable_topics = tuple(topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE))
        """Topics to tail from `history_ms` back into :meth:`on_durable`."""
        self._loop: Loop = asyncio.get_running_loop() if loop is None else loop
        self._now_ms = now_ms
        self._max_age_ms = max_age_ms
        self.history = History(
            catalog=catalog,
            partition=partition,
            history_ms=settings.history_ms,
            history_events=settings.history_events,
        )
        self._joins = Joins(self.history, self._loop)
        self._ticker = Ticker(self._loop, now_ms, max_age_s=max_age_ms / 1000)
        self._tick_hz = settings.tick_hz
        self._room_types = catalog.rooms
        self._rooms: dict[str, Room] = {}
        # A record of another room need not be decoded, as long as its key is the room.
        self._rooms_by_key: dict[bytes | None, Room] = {}
        self._keyed_by_room = all(
            event_type.key == "room" for topic in self.realtime_topics for event_type in catalog.types_of(topic)
        )
        self._interest = Interest(
            partitions={topic: catalog.topics[topic].partitions for topic in self.realtime_topics},
            scattered=() if self._keyed_by_room else self.realtime_topics,
            partition=partition,
            follow=follow,
        )
        self._clients: dict[Client, dict[str, Room]] = {}
        # Rooms whose roster may have changed; announced together in the next iteration of the loop.
        self._unannounced: dict[Room, None] = {}
        self.membership = Membership(
            presence=presence,
            positions=positions,
            rooms=self._rooms,
            on_replaced=replaced,
            on_read=self._on_read,
            clock=self._loop.time,
            now_ms=now_ms,
        )
        self._live = False
        self._positions = self._stale = self._departed = self._invalid = 0
        self._events = self._event_frames = self._duplicates = 0
        self._presence_frames = self._outbox_peak_bytes = self._overflows = 0

    def follow(self, catalog: Catalog) -> None:
        """Go on with the topics of another generation of the catalog; their tail covers :attr:`durable_topics` from then on."""
        self.history.follow(catalog)
        self.durable_topics = tuple(topic.name for topic in catalog.event_topics(DeliveryClass.AT_LEAST_ONCE))

    # -- clients -----------------------------------------------------------------------------------------------------

    def go_live(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Let clients join: the tail of the durable topics has caught up.

        Args:
            positions: (topic, partition) -> offset of its next record, of every partition.
        """
        self.history.begin(positions)
        self._live = True

    def join(self, client: Client, room: str, resume: str | None = None) -> None:
        """Send `joined`, the events that the client missed, then live ones; asked again, `joined` alone.

        The answer has its place among what is sent to the client, also where it takes up to half a second to know it.
        """
        if not self._live:
            raise RuntimeError("a client may join after go_live only")
        here = self._rooms.get(room)
        if here is None:
            here = self._rooms[room] = self._rooms_by_key[room.encode()] = self._new_room(room)
            self._interest.add(room)
            self.membership.open(here)
        if client not in here:
            self._clients.setdefault(client, {})[room] = here
            self._enter(client, here)
        self._joins.begin(client, here, resume)

    def leave(self, client: Client, room: str) -> None:
        """End everything of a room for a client; nothing when it is not in it. The caller sends `left` afterwards."""
        here = self._clients.get(client, {}).get(room)
        if here is not None:
            self._joins.finish(client, here)
            self._leave(client, here, replaced=False)

    def drop(self, client: Client, *, replaced: bool = False) -> None:
        """End everything for a client; nothing when it is in no room. Its outbox still takes frames.

        Args:
            client: whose connection ends.
            replaced: another connection of the player took over, here or elsewhere: the others see no gap.
        """
        for here in list(self._clients.get(client, {}).values()):
            self._joins.withdraw(client, here)
            self._leave(client, here, replaced=replaced)
        figures = client.outbox.statistics()
        self._outbox_peak_bytes = max(self._outbox_peak_bytes, figures.peak_bytes)
        self._overflows += figures.overflowed

    def refresh(self, client: Client) -> None:
        """The role of a client may have changed: show it to others, or no longer."""
        for here in self._clients.get(client, {}).values():
            if here.shown(client) != (client.player if client.role is Role.PLAYER else None):
                self._exit(client, here, replaced=False)
                self._enter(client, here)

    def cursor_for(self, client: Client, room: str, topic: str, offset: int) -> str:
        """Cursor for the `ack` of a record that was written at `offset` of `topic`.

        It never passes an event that was not sent to the client, so storing it is safe.
        """
        here = self._clients.get(client, {}).get(room)
        if here is not None:
            standing = self._joins.cursor(client, here) or client.outbox.replay_cursor(room)
            if standing is not None:
                return standing
        return self.history.cursor(room, self.history.after(room, topic, offset))

    # -- records -----------------------------------------------------------------------------------------------------

    def on_realtime(self, _topic: str, _partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Take positions into the next tick of their rooms, in the order of Kafka."""
        self._ticker.drop_stale()
        oldest_ms = self._now_ms() - self._max_age_ms
        rooms, rooms_by_key, keyed_by_room = self._rooms, self._rooms_by_key, self._keyed_by_room
        taken = 0
        for record in records:
            if keyed_by_room and record.key not in rooms_by_key:
                continue
            try:
                event = decode_realtime(record.value)
            except RecordError:
                self._invalid += 1
                continue
            room = rooms.get(event.room)
            if room is None or event.type != _POSITION:
                continue
            if event.server_ms < oldest_ms:
                self._stale += 1
                continue
            player = event.player
            if room.departed and room.departed.get(player, -1) >= event.server_ms:
                self._departed += 1
                continue
            if not room.moved:
                room.oldest_ms = event.server_ms
                self._ticker.add(room)
            room.moved[player] = event.data
            taken += 1
        self._positions += taken
        self._ticker.run_due()

    def on_durable(self, topic: str, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Deliver durable events, and keep them for those who resume."""
        for record in records:
            self.history.advance(topic, partition, record.offset)
            event = self._logged(topic, record)
            if event is None:
                continue
            self._events += 1
            room = self._rooms.get(event.record.room)
            if room is not None:
                self._event_frames += room.publish(event)
        self._joins.settle_all()

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep membership and housekeeping going until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.membership.run())
                tasks.create_task(self._keep_house())
        finally:
            self._ticker.stop()

    async def flush(self) -> None:
        """Tell other gateways at once who left; for a shutdown, after the last :meth:`drop`.

        Raises:
            StateError, TimeoutError: Redis does not answer; they will notice by expiry.
        """
        await self.membership.flush()

    def sweep(self) -> None:
        """Forget what nobody needs any more; :meth:`run` does so once a second."""
        self.history.sweep(self._loop.time())
        oldest_ms = self._now_ms() - self._max_age_ms
        present = self.membership.complete
        for room in self._rooms.values():
            quiet = not room.moved
            room.sweep(oldest_ms, present=present)
            if quiet and room.moved:
                self._ticker.add(room)
        self._ticker.run_due()

    def census(self) -> tuple[dict[str, RoomEntry], dict[str, PlayerEntry]]:
        """Everyone who is here: rooms, and players by name, for the directory."""
        rooms = {name: RoomEntry(len(room), room.tick_hz) for name, room in self._rooms.items()}
        players = {
            client.player: PlayerEntry(
                client.session,
                str(client.role),
                tuple(there),
                client.outbox.queued_bytes,
                client.rate_limited,
                client.rtt_ms,
            )
            for client, there in self._clients.items()
        }
        return rooms, players

    def statistics(self) -> HubStatistics:
        """Figures of this moment; :attr:`history` and :attr:`membership` have their own."""
        # Once a second for each client: no object is made for it.
        peaks = (client.outbox.peak_bytes for client in self._clients)
        return HubStatistics(
            rooms=len(self._rooms),
            clients=len(self._clients),
            members=sum(map(len, self._rooms.values())),
            ticks_total=self._ticker.ticks,
            tick_entries_total=self._ticker.entries,
            tick_frames_total=self._ticker.frames,
            positions_total=self._positions,
            age_seconds=self._ticker.age.snapshot(),
            dropped_total={"stale": self._stale + self._ticker.stale, "departed": self._departed},
            events_total=self._events,
            event_frames_total=self._event_frames,
            duplicates_total=self._duplicates,
            invalid_total=self._invalid,
            presence_frames_total=self._presence_frames,
            resumes_total={"recovered": self._joins.recovered, "not_recovered": self._joins.not_recovered},
            outbox_peak_bytes=max(self._outbox_peak_bytes, max(peaks, default=0)),
            overflows_total=self._overflows,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _logged(self, topic: str, record: ConsumerRecord) -> LoggedEvent | None:
        value = record.value
        try:
            event = decode_durable(value)
            # The topic is open to other producers; what they write must not break the encodings.
            events.any_value(event.data)
        except (RecordError, PayloadError):
            self._invalid += 1
            return None
        logged = self.history.append(topic, record.offset, event, value_bytes=len(value or b""), now=self._loop.time())
        if logged is None:
            self._duplicates += 1
        return logged

    def _new_room(self, name: str) -> Room:
        kind = room_type_of(name, self._room_types)
        tick_hz = kind.tick_hz or self._tick_hz
        return GridRoom(name, kind, tick_hz) if kind.interest is RoomInterest.GRID else Room(name, tick_hz)

    def _enter(self, client: Client, room: Room) -> None:
        room.join(client)
        player = room.shown(client)
        if player is not None:
            self.membership.tell(room.name, player, client.session, here=True)
            self._announce_soon(room)

    def _exit(self, client: Client, room: Room, *, replaced: bool) -> None:
        quiet = not room.moved
        player = room.hide(client, self._now_ms(), replaced=replaced)
        if player is not None:
            self.membership.tell(room.name, player, client.session, here=False)
            self._announce_soon(room)
        if quiet and room.moved:
            self._ticker.add(room)

    def _leave(self, client: Client, room: Room, *, replaced: bool) -> None:
        self._exit(client, room, replaced=replaced)
        room.leave(client)
        rooms = self._clients[client]
        del rooms[room.name]
        if not rooms:
            del self._clients[client]
        if not room:
            del self._rooms[room.name], self._rooms_by_key[room.name.encode()]
            self._interest.remove(room.name)

    def _on_read(self, room: Room, positions: Mapping[str, Any] | None) -> None:
        if positions is not None:
            quiet = not room.moved
            room.load_positions(positions)
            if quiet and room.moved:
                self._ticker.add(room)
        # First, so that nobody is announced to a client whom its `joined` names.
        self._announce(room)
        self._joins.settle(room)

    def _announce_soon(self, room: Room) -> None:
        if not self._unannounced:
            self._loop.call_soon(self._announce_all)
        self._unannounced[room] = None

    def _announce_all(self) -> None:
        rooms, self._unannounced = self._unannounced, {}
        for room in rooms:
            self._announce(room)

    def _announce(self, room: Room) -> None:
        quiet = not room.moved
        self._presence_frames += room.announce(self._now_ms())
        if quiet and room.moved:
            self._ticker.add(room)
        # After the announcement, so that null follows the news of a leave.
        self._ticker.run_due()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            self.sweep()
