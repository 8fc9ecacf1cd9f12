"""What the hub's tests share: a loop whose clock they turn, clients that read or stall, Redis in memory, records of Kafka."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gamebus.catalog import Catalog, Role
from gamebus.catalog_file import parse_catalog
from gamebus.errors import StateError
from gamebus.gateway.hub import Hub
from gamebus.gateway.outbox import Outbox
from gamebus.protocol.frames import Encoding, decode
from gamebus.record import DurableRecord, encode_durable, encode_realtime
from gamebus.settings import GatewaySettings

START_MS = 1_763_900_000_000
CATALOG: Catalog = parse_catalog()
CHAT = CATALOG.types["chat"].topic
COMBAT = CATALOG.types["kill"].topic
POSITION = CATALOG.types["position"].topic
PERIOD_S = 0.05


@dataclass
class Timer:
    """A call that a loop owes."""

    callback: Callable[..., object]
    args: tuple[Any, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        """Call it off."""
        self.cancelled = True


class ManualLoop:
    """An event loop whose time stands still until a test moves it."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._soon: list[Timer] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Monotonic seconds."""
        return self._now

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return START_MS + round((self._now - 1000) * 1000)

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back with the next :meth:`settle`."""
        timer = Timer(callback, args)
        self._soon.append(timer)
        return timer

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back when the clock reaches `when`."""
        timer = Timer(callback, args)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    @property
    def idle(self) -> bool:
        """Whether nothing is owed."""
        return not self._soon and all(timer.cancelled for _, _, timer in self._timers)

    def settle(self) -> None:
        """Run what is due now."""
        while True:
            due = self._soon
            self._soon = []
            while self._timers and self._timers[0][0] <= self._now:
                due.append(heapq.heappop(self._timers)[2])
            if not due:
                return
            for timer in due:
                if not timer.cancelled:
                    timer.callback(*timer.args)

    def advance(self, seconds: float) -> None:
        """Move the clock, running every timer at its time."""
        end = self._now + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self._now = max(self._now, self._timers[0][0])
            self.settle()
        self._now = end
        self.settle()

    def stand_still(self, seconds: float) -> None:
        """Move the clock while nothing runs, as in a process that is stopped; then run what is due."""
        self._now += seconds
        self.settle()


class Reader:
    """A client: its transport, and what it makes of what it reads.

    Stalled, its transport holds `BUFFER_BYTES` and asks for a pause past that, as asyncio's transports do.
    """

    BUFFER_BYTES = 1000
    _sessions = itertools.count(1)

    def __init__(
        self,
        loop: ManualLoop,
        player: str,
        role: Role = Role.PLAYER,
        encoding: Encoding = Encoding.MSGPACK,
        limit_bytes: int = 262_144,
    ) -> None:
        self.player = player
        self.role = role
        self.session = f"s{next(self._sessions)}"
        self.overflows = 0
        self.rate_limited = 0
        self.rtt_ms: float | None = None
        self.frames: list[bytes] = []
        self.messages: list[list[Any]] = []
        self._buffered: list[bytes] = []
        self._paused = False
        self.stalled = False
        self.outbox = Outbox(
            self._write,
            encoding=encoding,
            on_overflow=self._overflowed,
            call_soon=loop.call_soon,
            limit_bytes=limit_bytes,
        )

    def _overflowed(self) -> None:
        self.overflows += 1

    def _write(self, frame: bytes) -> None:
        if not self.stalled:
            self._take(frame)
            return
        self._buffered.append(frame)
        if not self._paused and sum(map(len, self._buffered)) > self.BUFFER_BYTES:
            self._paused = True
            self.outbox.pause()

    def _take(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.messages.append(read_frame(frame, self.outbox.encoding))

    def stall(self, *, full: bool = True) -> None:
        """Stop reading; `full`: the transport has no place for another frame from the start."""
        self.stalled = True
        if full and not self._paused:
            self._paused = True
            self.outbox.pause()

    def read_some(self, frames: int) -> None:
        """Read some frames of the buffer while stalled; the transport asks for more when it is empty."""
        for frame in self._buffered[:frames]:
            self._take(frame)
        del self._buffered[:frames]
        if not self._buffered and self._paused:
            self._paused = False
            self.outbox.resume()

    def resume(self) -> None:
        """Read again, everything."""
        self.stalled = False
        for frame in self._buffered:
            self._take(frame)
        self._buffered.clear()
        if self._paused:
            self._paused = False
            self.outbox.resume()

    def of(self, operation: str, room: str | None = None) -> list[list[Any]]:
        """Messages of one operation, and of one room."""
        place = 2 if operation == "event" else 1
        return [
            message for message in self.messages if message[0] == operation and (room is None or message[place] == room)
        ]

    def view(self, room: str) -> dict[str, Any]:
        """Positions as this client sees them, by folding what it read, as the protocol says."""
        known: dict[str, tuple[int, Any]] = {}
        for message in self.messages:
            if message[0] == "joined" and message[1] == room:
                known = {player: (0, data) for player, data in message[2]["positions"]}
            elif message[0] == "tick" and message[1] == room:
                for player, data in message[3]:
                    if data is not None:
                        known[player] = (message[2], data)
                    elif known.get(player, (-1, None))[0] != message[2]:
                        known.pop(player, None)
            elif message[0] == "left" and message[1] == room:
                known = {}
        return {player: data for player, (_, data) in known.items()}

    def players(self, room: str) -> set[str]:
        """Players as this client sees them."""
        known: set[str] = set()
        for message in self.messages:
            if message[0] == "joined" and message[1] == room:
                known = set(message[2]["players"])
            elif message[0] == "presence" and message[1] == room:
                known = (known | set(message[2])) - set(message[3])
        return known

    def events(self, room: str) -> list[str]:
        """Ids of durable events in the order of arrival."""
        return [message[6] for message in self.of("event", room)]


def read_frame(frame: bytes, encoding: Encoding) -> list[Any]:
    """Decode one complete server frame (RFC 6455, section 5.2), strictly."""
    assert frame[0] == {Encoding.JSON: 0x81, Encoding.MSGPACK: 0x82}[encoding]
    size, start = frame[1], 2
    if size == 126:
        size, start = int.from_bytes(frame[2:4]), 4
    elif size == 127:
        size, start = int.from_bytes(frame[2:10]), 10
    payload = frame[start:]
    assert len(payload) == size
    return decode(payload.decode() if encoding is Encoding.JSON else payload, encoding)


class RedisInMemory:
    """Presence and positions of all gateways; `down` makes every call fail."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, str]] = {}
        self.known_positions: dict[str, dict[str, Any]] = {}
        self.down = False
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise StateError("connection refused")

    async def join(self, room: str, player: str, session: str, now_ms: int) -> None:
        """Presence of a player."""
        self._call("join")
        self.sessions.setdefault(room, {})[player] = session

    async def leave(self, room: str, player: str, session: str) -> None:
        """Take out, unless another session is there."""
        self._call("leave")
        if self.sessions.get(room, {}).get(player) == session:
            del self.sessions[room][player]

    async def refresh(self, members: Iterable[tuple[str, str, str]], now_ms: int) -> list[tuple[str, str, str]]:
        """Keep; bring back who is lost; who has another session here since."""
        self._call("refresh")
        return [
            (room, player, session)
            for room, player, session in members
            if self.sessions.setdefault(room, {}).setdefault(player, session) != session
        ]

    async def members(self, rooms: Sequence[str], now_ms: int) -> dict[str, frozenset[str]]:
        """Who is where."""
        self._call("members")
        return {room: frozenset(self.sessions.get(room, {})) for room in rooms}

    async def read(self, room: str) -> dict[str, Any]:
        """Last known positions."""
        self._call("read")
        return dict(self.known_positions.get(room, {}))


@dataclass
class Record:
    """A record as a tail hands it over."""

    offset: int
    key: bytes | None
    value: bytes | None


@dataclass
class Kafka:
    """Writes records, numbering each partition; every room has its own partition unless told otherwise."""

    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    rooms: dict[str, int] = field(default_factory=dict)

    def partition(self, topic: str, key: str) -> int:
        """Partition of a key."""
        return self.rooms.setdefault(key, len(self.rooms))

    def durable(self, event: DurableRecord, topic: str = CHAT) -> tuple[str, int, Record]:
        """Append a durable event."""
        partition = self.partition(topic, event.room)
        return topic, partition, Record(self._next(topic, partition), event.room.encode(), encode_durable(event))

    def raw(self, room: str, value: bytes | None, topic: str = CHAT) -> tuple[str, int, Record]:
        """Append any bytes."""
        partition = self.partition(topic, room)
        return topic, partition, Record(self._next(topic, partition), room.encode(), value)

    def ends(self) -> dict[tuple[str, int], int]:
        """Next offset of every durable partition."""
        return {
            (topic, partition): self.offsets.get((topic, partition), 0)
            for topic in (CHAT, COMBAT)
            for partition in range(64)
        }

    def _next(self, topic: str, partition: int) -> int:
        offset = self.offsets.get((topic, partition), 0)
        self.offsets[topic, partition] = offset + 1
        return offset


def chat(room: str, id_: str, publisher: str = "alice", text: str = "hi") -> DurableRecord:
    """A chat event."""
    return DurableRecord(
        type="chat", room=room, player=publisher, server_ms=START_MS, publisher=publisher, id=id_, data={"text": text}
    )


class Gateway:
    """A hub with everything around it."""

    def __init__(
        self,
        *,
        redis: RedisInMemory | None = None,
        kafka: Kafka | None = None,
        loop: ManualLoop | None = None,
        catalog: Catalog | None = None,
        **settings: int,
    ) -> None:
        self.loop = loop or ManualLoop()
        self.redis = redis or RedisInMemory()
        self.kafka = kafka or Kafka()
        self.replaced: list[tuple[str, str]] = []
        self._seq = itertools.count(1)
        self.hub = Hub(
            catalog=catalog or CATALOG,
            partition=self.kafka.partition,
            settings=GatewaySettings(**settings),
            presence=self.redis,
            positions=self.redis,
            replaced=self._replaced,
            loop=self.loop,
            now_ms=self.loop.now_ms,
        )
        self.hub.go_live(self.kafka.ends())

    def reader(
        self,
        player: str,
        *rooms: str,
        role: Role = Role.PLAYER,
        encoding: Encoding = Encoding.MSGPACK,
        limit_bytes: int = 262_144,
    ) -> Reader:
        """A client that has joined rooms (Redis is not asked: the join waits for its deadline, where it must)."""
        reader = Reader(self.loop, player, role, encoding, limit_bytes)
        for room in rooms:
            self.hub.join(reader, room)
        self.loop.advance(0.5)
        return reader

    def move(self, room: str, player: str, *data: float, server_ms: int | None = None) -> list[float]:
        """A position arrives from Kafka."""
        position = [next(self._seq), *(data or (0.5, 0, 0))]
        taken_ms = self.loop.now_ms() if server_ms is None else server_ms
        value = encode_realtime("position", room, player, taken_ms, "boot", 1, position)
        self.hub.on_realtime(POSITION, 0, [Record(0, room.encode(), value)])
        self.loop.settle()
        return position

    def publish(self, event: DurableRecord, topic: str = CHAT) -> int:
        """A durable event arrives from Kafka; returns its offset."""
        topic, partition, record = self.kafka.durable(event, topic)
        self.hub.on_durable(topic, partition, [record])
        self.loop.settle()
        return record.offset

    async def _replaced(self, player: str, session: str) -> None:
        self.replaced.append((player, session))

    async def step(self) -> None:
        """One round of membership, and what follows from it."""
        await self.hub.membership.step()
        self.loop.settle()
