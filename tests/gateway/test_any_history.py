"""Any history of two gateways that share Kafka and Redis, against a model that is too simple to be wrong (Hypothesis).

The model knows who is in which room, what moved last, and the log of each room. What a client must have seen follows from these
and from nothing that the hub keeps.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gamebus.catalog import Role
from gamebus.gateway.history import History
from gamebus.gateway.membership import GRACE_S, POLL_S
from gamebus.gateway.room import STRANGER_SWEEPS
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol import frames
from gamebus.protocol.frames import Encoding
from gamebus.record import DurableRecord, encode_realtime
from tests.gateway.hub_kit import CHAT, COMBAT, POSITION, Gateway, Kafka, ManualLoop, Reader, Record, RedisInMemory

PLAYERS = ("ann", "bob", "cat")
ROOMS = ("r", "s")
TOPICS = (CHAT, COMBAT)

# Small enough that a client which stalls is cut off now and then.
OUTBOX_BYTES = 2_000

players = st.sampled_from(PLAYERS)
rooms = st.sampled_from(ROOMS)
gateways = st.integers(0, 1)
# Which of the open connections; the newest ones first, since they have most before them.
picks = st.integers(0, 5)


@dataclass
class Log:
    """Durable events of one room in one topic, as Kafka has them."""

    records: list[tuple[str, int, Record]] = field(default_factory=list)
    """As the tails hand them over; the place in the list is the offset."""
    identities: list[tuple[str, str]] = field(default_factory=list)

    def unique(self, start: int, end: int) -> list[int]:
        """Offsets of the events of a range that were not in the log before."""
        return [offset for offset in range(start, end) if self.identities.index(self.identities[offset]) == offset]


Logs = dict[tuple[str, str], Log]


@dataclass(eq=False)
class Connection:
    """A client and what it asked for."""

    reader: Reader
    where: int
    rooms: set[str] = field(default_factory=set)
    given: dict[str, str] = field(default_factory=dict)
    """Room -> cursor to resume from."""
    recoverable: set[str] = field(default_factory=set)
    """Rooms whose cursor the gateway had reached already."""

    @property
    def player(self) -> str:
        return self.reader.player


class Reading:
    """What a client received, read from the beginning; says where a promise is broken."""

    def __init__(self, connection: Connection, logs: Logs, history: History) -> None:
        self._connection = connection
        self._logs = logs
        self._history = history
        # Room -> topic -> where the client began.
        self._start: dict[str, dict[str, int]] = {}
        self._got: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._delivered: set[tuple[str, str, int]] = set()
        self._acked: set[tuple[str, str]] = set()
        # Room -> cursor, of joins that are not answered yet.
        self._given = dict(connection.given)
        self.cursors: dict[str, str] = {}
        for message in connection.reader.messages:
            match message:
                case ["joined", room, info]:
                    self._joined(room, info)
                case ["event", type_, room, player, _, _, id_, cursor]:
                    self._event(CHAT if type_ == "chat" else COMBAT, room, (player, id_), cursor)
                case ["ack", id_, cursor]:
                    self._acked.add((connection.player, id_))
                    for room in ROOMS:
                        self._safe(room, cursor)
                case ["left", room]:
                    self._leave(room)
                case [operation, *_]:
                    assert operation in ("tick", "presence")

    def complete(self, room: str, fed: dict[tuple[str, str], int]) -> None:
        """Every event since the client began has come."""
        for topic in TOPICS:
            wanted = self._logs[topic, room].unique(self._start[room][topic], fed[topic, room])
            assert self._got[topic, room] == wanted

    def _joined(self, room: str, info: dict[str, Any]) -> None:
        if room not in self._start:
            given = self._given.pop(room, None)
            assert (info["recovered"] is None) == (given is None)
            assert info["recovered"] or given is None or room not in self._connection.recoverable
            assert not info["recovered"] or info["cursor"] == given
            place = self._history.parse(room, info["cursor"])
            assert place is not None
            self._start[room] = place
        self._safe(room, info["cursor"])

    def _event(self, topic: str, room: str, identity: tuple[str, str], cursor: str) -> None:
        log = self._logs[topic, room]
        got = self._got[topic, room]
        rest = log.unique(self._start[room][topic], len(log.records))[len(got) :]
        assert rest, f"{identity} came again, or before its time"
        assert log.identities[rest[0]] == identity, "an event is missing, out of order or came twice"
        got.append(rest[0])
        assert (topic, room, rest[0]) not in self._delivered, "delivered again after a leave"
        self._delivered.add((topic, room, rest[0]))
        place = self._history.parse(room, cursor)
        assert place is not None
        assert place[topic] > rest[0], "a resume from the cursor of an event would bring it again"
        self._safe(room, cursor)

    def _safe(self, room: str, cursor: str) -> None:
        """A resume from the cursor would leave nothing out that the client does not know."""
        place = self._history.parse(room, cursor)
        if place is None or room not in self._start:
            return
        self.cursors[room] = cursor
        for topic in TOPICS:
            log = self._logs[topic, room]
            passed = log.unique(self._start[room][topic], place[topic])
            unknown = set(passed) - set(self._got[topic, room])
            assert {log.identities[offset] for offset in unknown} <= self._acked

    def _leave(self, room: str) -> None:
        self._start.pop(room, None)
        for topic in TOPICS:
            self._got.pop((topic, room), None)


def has_clients(machine: AnyHistory) -> bool:
    return bool(machine.open)


def has_members(machine: AnyHistory) -> bool:
    return any(connection.rooms for connection in machine.open)


class AnyHistory(RuleBasedStateMachine):
    """Steps in any order; :meth:`converge` compares, at any time and at the end."""

    @initialize()
    def start(self) -> None:
        self.loop = ManualLoop()
        self.kafka = Kafka(rooms={room: number for number, room in enumerate(ROOMS)})
        self.redis = RedisInMemory()
        self.gateways = [
            Gateway(loop=self.loop, kafka=self.kafka, redis=self.redis, history_ms=36_000_000) for _ in range(2)
        ]
        self.runner = asyncio.Runner()
        self.open: list[Connection] = []
        self.ended: list[Connection] = []
        # Replaced by a connection on the other gateway, and not told yet.
        self.outdated: list[Connection] = []
        self.logs: Logs = {(topic, room): Log() for topic in TOPICS for room in ROOMS}
        self.fed = [dict.fromkeys(self.logs, 0) for _ in self.gateways]
        self.unanswered: list[tuple[Connection, str, str, str, int]] = []
        self.cursors: dict[str, str] = {}
        self.seq = 0
        # (room, player) -> what a player published last since it came.
        self.moved: dict[tuple[str, str], list[float]] = {}
        # (gateway, room, player) that moved while it was there, and has not left there since.
        self.moved_here: set[tuple[int, str, str]] = set()

    # -- clients -----------------------------------------------------------------------------------------------------

    @rule(
        player=players,
        where=gateways,
        rooms_=st.sampled_from((("r",), ("s",), ("r", "s"), ("s", "r"), ())),
        resume=st.booleans(),
        encoding=st.sampled_from(Encoding),
        role=st.sampled_from((Role.PLAYER, Role.PLAYER, Role.SPECTATOR)),
        stalled=st.sampled_from((False, False, True)),
    )
    def connect(
        self,
        player: str,
        where: int,
        rooms_: tuple[str, ...],
        resume: bool,
        encoding: Encoding,
        role: Role,
        stalled: bool,
    ) -> None:
        connection = Connection(Reader(self.loop, player, role, encoding, OUTBOX_BYTES), where)
        if role is Role.PLAYER:
            for older in self._players(player):
                if older.where == where:
                    self._end(older, replaced=True)
                elif older not in self.outdated:
                    self.outdated.append(older)
        self.open.insert(0, connection)
        if stalled:
            connection.reader.stall(full=False)
        for room in rooms_:
            self._join(connection, room, self.cursors.get(room) if resume else None)

    @precondition(lambda self: self.outdated)
    @rule()
    def hear_of_a_takeover(self) -> None:
        self._end(self.outdated[0], replaced=True)

    @precondition(has_clients)
    @rule(pick=picks)
    def disconnect(self, pick: int) -> None:
        self._end(self._pick(pick), replaced=False)

    @precondition(has_clients)
    @rule(pick=picks, room=rooms)
    def join(self, pick: int, room: str) -> None:
        self._join(self._pick(pick), room, None)

    @precondition(has_clients)
    @rule(pick=picks, room=rooms)
    def leave(self, pick: int, room: str) -> None:
        connection = self._pick(pick)
        self._depart(connection, room)
        self.gateways[connection.where].hub.leave(connection.reader, room)
        self._send(connection, frames.left(room))

    @precondition(has_members)
    @rule(pick=picks)
    def move(self, pick: int) -> None:
        connection, room = self._pick_member(pick)
        if connection.reader.role is Role.PLAYER:
            self._move(room, connection.player)

    @precondition(has_members)
    @rule(pick=picks, numbers=st.lists(st.integers(0, 25), min_size=1, max_size=10))
    def publish(self, pick: int, numbers: list[int]) -> None:
        """The ids are few, so that some are used again; each belongs to one type."""
        connection, room = self._pick_member(pick)
        for number in numbers:
            type_, topic = ("kill", COMBAT) if number % 2 else ("chat", CHAT)
            player, id_ = connection.player, str(number)
            event = DurableRecord(type_, room, player, self.loop.now_ms(), player, id_, "x" * 100)
            log = self.logs[topic, room]
            self.unanswered.append((connection, id_, room, topic, len(log.records)))
            log.records.append(self.kafka.durable(event, topic))
            log.identities.append((player, id_))

    @precondition(lambda self: self.unanswered)
    @rule(count=st.integers(1, 10))
    def acknowledge(self, count: int) -> None:
        for _ in range(min(count, len(self.unanswered))):
            connection, id_, room, topic, offset = self.unanswered.pop(0)
            if connection in self.open:
                hub = self.gateways[connection.where].hub
                self._send(connection, frames.ack(id_, hub.cursor_for(connection.reader, room, topic, offset)))

    # -- the world ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(log.records for log in self.logs.values()))
    @rule(where=gateways, topic=st.sampled_from(TOPICS), room=rooms, count=st.integers(1, 20))
    def feed(self, where: int, topic: str, room: str, count: int) -> None:
        fed, log = self.fed[where], self.logs[topic, room]
        records = log.records[fed[topic, room] :][:count]
        fed[topic, room] += len(records)
        if records:
            self.gateways[where].hub.on_durable(topic, records[0][1], [record for _, _, record in records])

    @precondition(has_clients)
    @rule(pick=picks, full=st.booleans())
    def stall(self, pick: int, full: bool) -> None:
        self._pick(pick).reader.stall(full=full)

    @precondition(lambda self: any(connection.reader.stalled for connection in self.open))
    @rule(pick=picks, count=st.integers(1, 30))
    def read_some(self, pick: int, count: int) -> None:
        stalled = [connection.reader for connection in self.open if connection.reader.stalled]
        stalled[pick % len(stalled)].read_some(count)

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.06, 0.6, 1.2)))
    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self._cut_off()

    @rule(where=gateways)
    def keep_in_step(self, where: int) -> None:
        self.runner.run(self.gateways[where].hub.membership.step())

    @rule(where=gateways)
    def sweep(self, where: int) -> None:
        self.gateways[where].hub.sweep()

    @rule(down=st.booleans())
    def redis_goes_or_comes(self, down: bool) -> None:
        self.redis.down = down

    # -- the model ---------------------------------------------------------------------------------------------------

    @invariant()
    def forget_who_is_gone(self) -> None:
        self.moved = {
            (room, player): data for (room, player), data in self.moved.items() if player in self._present(room)
        }

    @rule()
    def converge(self) -> None:
        """When all has been read, told and swept, everyone has seen what there was to see."""
        self.redis.down = False
        while self.outdated:
            self._end(self.outdated[0], replaced=True)
        for where, topic, room in [(where, *key) for where in (0, 1) for key in self.logs]:
            self.feed(where, topic, room, len(self.logs[topic, room].records))
        # Who came and went between two polls was never here for the other gateway: such positions go last.
        self._settle(GRACE_S + (STRANGER_SWEEPS + 3) * POLL_S)
        for connection in [*self.open, *self.ended]:
            reading = Reading(connection, self.logs, self.gateways[0].hub.history)
            self.cursors |= reading.cursors
            for room in connection.rooms:
                reading.complete(room, self.fed[connection.where])
        self._compare_views(exact=False)
        for room in ROOMS:
            for player in self._present(room):
                self._move(room, player)
        self._settle(POLL_S)
        self._compare_views(exact=True)

    def teardown(self) -> None:
        try:
            self.converge()
        finally:
            self.runner.close()

    def _settle(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL_S)):
            for connection in self.open:
                connection.reader.resume()
            self.pass_time(POLL_S)
            for where in range(2):
                self.keep_in_step(where)
                self.sweep(where)
        self.pass_time(POLL_S)

    def _compare_views(self, *, exact: bool) -> None:
        """Who is here, and where.

        A gateway that hears from Redis late of a player who left another one and came back may have forgotten a position that
        is newer; so positions are exact only where a player was when it moved, until it has moved again.
        """
        for room in ROOMS:
            present = self._present(room)
            seen: list[dict[str, Any]] = [{}, {}]
            for connection in self.open:
                if room not in connection.rooms:
                    continue
                assert connection.reader.players(room) == present
                view = connection.reader.view(room)
                seen[connection.where] = seen[connection.where] or view
                assert view == seen[connection.where], "clients of one gateway see the same"
                assert view.keys() <= present
                for player in present:
                    if (room, player) not in self.moved:
                        continue
                    if exact or (connection.where, room, player) in self.moved_here or player in view:
                        assert view[player] == self.moved[room, player]

    def _present(self, room: str) -> set[str]:
        return {c.player for c in self.open if room in c.rooms and c.reader.role is Role.PLAYER}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _players(self, player: str) -> list[Connection]:
        return [c for c in self.open if c.player == player and c.reader.role is Role.PLAYER]

    def _pick(self, pick: int) -> Connection:
        return self.open[pick % len(self.open)]

    def _pick_member(self, pick: int) -> tuple[Connection, str]:
        members = [(connection, room) for connection in self.open for room in sorted(connection.rooms)]
        return members[pick % len(members)]

    def _join(self, connection: Connection, room: str, cursor: str | None) -> None:
        hub = self.gateways[connection.where].hub
        connection.rooms.add(room)
        if cursor is not None:
            connection.given[room] = cursor
            place = hub.history.parse(room, cursor)
            assert place is not None
            if all(self.fed[connection.where][topic, room] >= place[topic] for topic in TOPICS):
                connection.recoverable.add(room)
        hub.join(connection.reader, room, cursor)

    def _send(self, connection: Connection, message: list[Any]) -> None:
        outbox = connection.reader.outbox
        outbox.send(server_frame(message, outbox.encoding))

    def _move(self, room: str, player: str) -> None:
        self.seq += 1
        data: list[float] = [self.seq, 0, 0, 0]
        self.moved[room, player] = data
        self.moved_here |= {(c.where, room, player) for c in self._players(player) if room in c.rooms}
        self.redis.known_positions.setdefault(room, {})[player] = data
        # A position is never of the same millisecond as the leave before it: then it would count as one of those still on their way.
        self.loop.advance(0.001)
        value = encode_realtime("position", room, player, self.loop.now_ms(), "boot", self.seq, data)
        for gateway in self.gateways:
            gateway.hub.on_realtime(POSITION, 0, [Record(self.seq, room.encode(), value)])

    def _depart(self, connection: Connection, room: str) -> None:
        if room in connection.rooms:
            connection.rooms.discard(room)
            self.moved_here.discard((connection.where, room, connection.player))

    def _end(self, connection: Connection, *, replaced: bool) -> None:
        self.gateways[connection.where].hub.drop(connection.reader, replaced=replaced)
        connection.reader.outbox.close()
        connection.reader.resume()
        for room in list(connection.rooms):
            self._depart(connection, room)
        self.open.remove(connection)
        self.ended.append(connection)
        if connection in self.outdated:
            self.outdated.remove(connection)

    def _cut_off(self) -> None:
        for connection in [c for c in self.open if c.reader.overflows]:
            self._end(connection, replaced=False)


# A failure is made smaller before it is told, for up to five minutes.
@pytest.mark.timeout(600)
def test_every_client_sees_what_the_model_says() -> None:
    """Whatever happens in whatever order: who is here, where they are, and each durable event once and in order."""
    run_state_machine_as_test(
        AnyHistory,
        settings=settings(
            max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
