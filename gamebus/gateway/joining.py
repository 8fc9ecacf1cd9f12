"""Joins that are under way: from the request to `joined`, the missed events and the live ones.

A join is answered at once, unless this gateway must first ask Redis who is in the room, or the client's cursor comes from a
gateway that has read further than this one. Then it waits, at most :data:`JOIN_DEADLINE_S`, and is answered with what is known.
Meanwhile its place in the client's outbox is kept, so that no later message overtakes `joined`, and no durable event of the
room is missed: those that came since the request follow from the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from gamebus.gateway.history import History, LoggedEvent
from gamebus.gateway.loop import Loop
from gamebus.gateway.outbox import Reservation
from gamebus.gateway.room import Client, Room
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol import frames

JOIN_DEADLINE_S: Final = 0.5

_Key = TypeVar("_Key", Client, Room)


@dataclass(slots=True, eq=False)
class _Joining:
    """A join that is not answered yet."""

    client: Client
    room: Room
    resume: str | None
    resume_place: dict[str, int] | None
    """Place of that cursor; None also when it is none of this room."""
    begin: dict[str, int]
    """Where events begin for a client that does not resume: the head when it asked."""
    answer: Reservation
    deadline: float


class Joins:
    """Answers joins; those of one client in the order of its requests.

    Otherwise what follows a `joined` could overtake it: the outbox keeps the order of `joined` frames, but ticks and missed events
    do not wait in its queue.

    Args:
        history: events to resume from.
        loop: for the deadlines.
    """

    def __init__(self, history: History, loop: Loop) -> None:
        self._history = history
        self._loop = loop
        # The same joins twice, in the order of the requests: by what they wait for, and by who waits.
        self._in_room: dict[Room, list[_Joining]] = {}
        self._of_client: dict[Client, list[_Joining]] = {}
        self.recovered = 0
        self.not_recovered = 0

    def begin(self, client: Client, room: Room, resume: str | None) -> None:
        """A client asks to join; the room has it already."""
        joining = _Joining(
            client=client,
            room=room,
            resume=resume,
            resume_place=None if resume is None else self._history.parse(room.name, resume),
            begin=self._history.head(room.name),
            answer=client.outbox.reserve(),
            deadline=self._loop.time() + JOIN_DEADLINE_S,
        )
        self._in_room.setdefault(room, []).append(joining)
        self._of_client.setdefault(client, []).append(joining)
        self.settle(room)
        if joining in self._of_client.get(client, ()):
            self._loop.call_at(joining.deadline, self.settle, room)

    def settle(self, room: Room) -> None:
        """Answer the joins of a room that need not wait any longer."""
        now = self._loop.time()
        for waiting in list(self._in_room.get(room, ())):
            # Also those for which they made way.
            for joining in list(self._of_client.get(waiting.client, ())):
                if not self._is_due(joining, now):
                    break
                self._remove(joining)
                self._answer(joining, now)

    def settle_all(self) -> None:
        """The history has grown."""
        for room in list(self._in_room):
            self.settle(room)

    def finish(self, client: Client, room: Room) -> None:
        """Answer what a client still waits for, since it leaves: `joined` comes before `left`, and nothing between them."""
        standing: str | None = None
        for joining in self._take(client, room):
            _, cursor, recovered = self._missed(joining, self._loop.time())
            # Asked more than once: nothing was sent since the first, so no answer may pass it.
            standing = standing or cursor
            self._send_joined(joining, standing, recovered)

    def withdraw(self, client: Client, room: Room) -> None:
        """Forget what a client still waits for: its connection ends."""
        for joining in self._take(client, room):
            client.outbox.fill(joining.answer, b"")

    def cursor(self, client: Client, room: Room) -> str | None:
        """Where a client stands whose join is not answered; None when none is under way."""
        for joining in self._of_client.get(client, ()):
            if joining.room is room:
                given = joining.resume if joining.resume_place is not None else None
                return given or self._history.cursor(room.name, joining.begin)
        return None

    def _take(self, client: Client, room: Room) -> list[_Joining]:
        taken = [joining for joining in self._of_client.get(client, ()) if joining.room is room]
        for joining in taken:
            self._remove(joining)
        return taken

    def _remove(self, joining: _Joining) -> None:
        _remove(self._in_room, joining.room, joining)
        _remove(self._of_client, joining.client, joining)

    def _is_due(self, joining: _Joining, now: float) -> bool:
        if now >= joining.deadline:
            # Redis does not answer: later joins need not wait for it, polls will mend the roster.
            joining.room.loaded = True
            return True
        return joining.room.loaded and not self._is_ahead(joining)

    def _is_ahead(self, joining: _Joining) -> bool:
        place = joining.resume_place
        return place is not None and self._history.is_ahead(joining.room.name, place)

    def _answer(self, joining: _Joining, now: float) -> None:
        missed, cursor, recovered = self._missed(joining, now)
        self._send_joined(joining, cursor, recovered)
        joining.room.listen(joining.client)
        if missed:
            joining.client.outbox.replay(joining.room.name, missed, cursor)

    def _send_joined(self, joining: _Joining, cursor: str, recovered: bool | None) -> None:  # noqa: FBT001 - as on the wire
        room, outbox = joining.room, joining.client.outbox
        # Not the players of this moment: who came or went since the last announcement is about to be announced to this client
        # as well, and who does both in between never will be.
        players = set(room.roster.announced)
        shown = room.shown(joining.client)
        if shown is not None:
            players.add(shown)
        message = frames.joined(
            room.name,
            cursor=cursor,
            players=sorted(players),
            positions=room.positions(joining.client),
            tick_hz=room.tick_hz,
            recovered=recovered,
        )
        outbox.fill(joining.answer, server_frame(message, outbox.encoding))

    def _missed(self, joining: _Joining, now: float) -> tuple[list[LoggedEvent], str, bool | None]:
        """Events that go to a client before the live ones, the cursor that it stands at, and what became of its resume."""
        room = joining.room
        recovered = None if joining.resume is None else False
        if room.is_listening(joining.client):
            # It asked again: live events go on as they do. Those that came since then wait behind the place of this answer, so
            # its cursor must not pass them.
            replaying = joining.client.outbox.replay_cursor(room.name)
            return [], replaying or self._history.cursor(room.name, joining.begin), recovered
        if joining.resume is not None:
            place = joining.resume_place
            missed = None if place is None else self._history.missed(room.name, place, now)
            if missed is not None:
                self.recovered += 1
                return missed, joining.resume, True
            self.not_recovered += 1
        since = self._history.missed(room.name, joining.begin, now)
        if since is None:
            # More came during the wait than the history holds.
            return [], self._history.cursor(room.name, self._history.head(room.name)), recovered
        return since, self._history.cursor(room.name, joining.begin), recovered


def _remove(joins: dict[_Key, list[_Joining]], key: _Key, joining: _Joining) -> None:
    joins[key].remove(joining)
    if not joins[key]:
        del joins[key]
