"""A room with an area of interest: a player is sent what is in its own cell of a grid and in the cells around it.

Guarantees, beside those of every room: a player's view holds exactly the players in its surroundings, as of the last tick; who comes
into it is sent with its full value in that tick, who goes out of it is null; one frame per cell and encoding serves all who see from
there, and each entry is encoded once per encoding. Spectators and servers see all.

Non-guarantees: a player sees nobody before its own first position; presence and durable events are those of the whole room.

Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gamebus.catalog import Role
from gamebus.gateway.grid import Cell, Grid
from gamebus.gateway.outbox import Outbox
from gamebus.gateway.room import Client, Room
from gamebus.gateway.server_frame import encode_entry, join_entries, tick_frame
from gamebus.protocol.frames import Encoding
from gamebus.room_types import RoomType

_Group = tuple[Cell | None, Encoding]
"""Clients that are sent the same frame: where they look from (None: they see all), and how it is encoded."""


class GridRoom(Room):
    """A room whose players see their surroundings.

    Args:
        name: of the room.
        kind: the grid.
        tick_hz: ticks a second while something moves.
    """

    def __init__(self, name: str, kind: RoomType, tick_hz: float) -> None:
        super().__init__(name, tick_hz)
        # As of the last tick, like the groups: together they are what each client knows.
        self._grid = Grid(kind.cell_size, kind.radius, kind.axes)
        # Player -> its cell before the last tick (None: it stood nowhere), for those that changed it then; and the reverse.
        self._came_from: dict[str, Cell | None] = {}
        self._left: dict[Cell, list[str]] = {}
        self._groups: dict[_Group, dict[Client, None]] = {}
        # Listening clients by what they look through, and by the player whose place they look from.
        self._listening_on: dict[Outbox, Client] = {}
        self._looking: dict[str, dict[Client, None]] = {}
        # Where each looks from; None: from nowhere yet. Of clients that see all there is none.
        self._viewpoints: dict[Client, Cell | None] = {}
        # Of clients that are behind: whom each knew when it fell behind.
        self._known: dict[Outbox, set[str]] = {}
        # Entries of ticks, of everybody's last position as far as it was encoded.
        self._entries: dict[Encoding, dict[str, bytes]] = {encoding: {} for encoding in Encoding}

    # -- clients -----------------------------------------------------------------------------------------------------

    def listen(self, client: Client) -> None:
        """Let a client have every frame from now on."""
        super().listen(client)
        if client.outbox in self._listening_on:
            return
        self._listening_on[client.outbox] = client
        if _sees_all(client):
            self._groups.setdefault((None, client.outbox.encoding), {})[client] = None
        else:
            self._looking.setdefault(client.player, {})[client] = None
            self._look_from(client, self._viewpoints.setdefault(client, None))

    def leave(self, client: Client) -> None:
        """A client went, after :meth:`hide`."""
        super().leave(client)
        self._known.pop(client.outbox, None)
        if self._listening_on.pop(client.outbox, None) is None:
            self._viewpoints.pop(client, None)
            return
        if client in self._viewpoints:
            self._look_from(client, None)
            del self._viewpoints[client]
            looking = self._looking[client.player]
            del looking[client]
            if not looking:
                del self._looking[client.player]
        else:
            self._leave_group(client, None)

    def positions(self, client: Client) -> list[tuple[str, Any]]:
        """Last known position of everyone in view of a client, which is what it knows from now on."""
        if _sees_all(client):
            return super().positions(client)
        cell = self._grid.cell_of(client.player)
        if client.outbox not in self._listening_on:
            self._viewpoints[client] = cell
        latest = self._latest
        return [(player, latest[player]) for player in self._view(cell) if player in latest]

    def load_positions(self, positions: Mapping[str, Any]) -> None:
        """Take in positions of players here that were published before this gateway listened; newer ones win."""
        before = set(self._latest)
        super().load_positions(positions)
        for player in self._latest.keys() - before:
            self._put(player, self._latest[player])

    # -- fan-out -----------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> tuple[int, int]:
        """Send what moved to everyone who sees it and is not behind; returns the number of entries and of frames."""
        moved, self.moved = self.moved, {}
        self._tick_ms = max(now_ms, self._tick_ms + 1)
        self._move(moved)
        count = 0
        looking = self._looking
        arrived: list[tuple[Client, Cell | None]] = []
        for player in self._came_from:
            for client in looking.get(player, ()):
                before, after = self._viewpoints[client], self._grid.cell_of(player)
                self._look_from(client, None)
                arrived.append((client, after))
                frame = self._frame(*self._news_of_a_new_view(before, after, moved), client.outbox.encoding)
                if frame is not None:
                    count += 1
                    self._send(client.outbox, frame, before)
        parts: dict[_Group, tuple[int, bytes]] = {}
        for (cell, encoding), clients in self._groups.items():
            if cell is None:
                frame = self._frame(*self._news(moved), encoding)
            else:
                frame = self._frame_of_a_view(cell, moved, encoding, parts)
            if frame is None:
                continue
            count += len(clients)
            for client in clients:
                outbox = client.outbox
                if outbox.writable:
                    outbox.write(frame)
                else:
                    self._send(outbox, frame, cell)
        for client, after in arrived:
            self._look_from(client, after)
        return len(moved), count

    def pass_over(self) -> int:
        """Keep what moved as last known without sending it, because it is no news any more; returns the number of positions."""
        for encoded in self._entries.values():
            for player in self.moved:
                encoded.pop(player, None)
        return super().pass_over()

    def catch_up(self, outbox: Outbox) -> bytes | None:
        """The whole view of a client that was behind, as of the last tick, and null for whom it knew; None: there is nothing."""
        client, known = self._listening_on.get(outbox), self._known.pop(outbox, set())
        if client is None:
            return None
        view = set(self._grid.names) if _sees_all(client) else self._view(self._viewpoints[client])
        return self._frame(view, known - view, outbox.encoding)

    def _send(self, outbox: Outbox, frame: bytes, viewpoint: Cell | None) -> None:
        if outbox.writable:
            outbox.write(frame)
        elif outbox not in self._known and outbox.miss_tick(self):
            sees_all = _sees_all(self._listening_on[outbox])
            self._known[outbox] = self._everyone_before() if sees_all else self._view_before(viewpoint)

    # -- who sees whom -----------------------------------------------------------------------------------------------

    def _look_from(self, client: Client, cell: Cell | None) -> None:
        before = self._viewpoints[client]
        if before is not None:
            self._leave_group(client, before)
        self._viewpoints[client] = cell
        if cell is not None and client.outbox in self._listening_on:
            self._groups.setdefault((cell, client.outbox.encoding), {})[client] = None

    def _leave_group(self, client: Client, cell: Cell | None) -> None:
        group = (cell, client.outbox.encoding)
        clients = self._groups.get(group, {})
        clients.pop(client, None)
        if not clients:
            self._groups.pop(group, None)

    def _move(self, moved: Mapping[str, Any]) -> None:
        came_from: dict[str, Cell | None] = {}
        left: dict[Cell, list[str]] = {}
        for player, data in moved.items():
            before, after = self._put(player, data)
            if before != after:
                came_from[player] = before
                if before is not None:
                    left.setdefault(before, []).append(player)
        self._came_from, self._left = came_from, left
        self._remember(moved)
        used = {encoding for _, encoding in self._groups}
        for encoding, encoded in self._entries.items():
            if encoding in used:
                encoded.update(
                    (player, encode_entry(player, data, encoding))
                    for player, data in moved.items()
                    if self._grid.cell_of(player) is not None
                )
            else:
                encoded.clear()

    def _put(self, player: str, data: Any) -> tuple[Cell | None, Cell | None]:
        try:
            cell = None if data is None else self._grid.cell_at(data)
        except (TypeError, LookupError, ValueError):
            # No position: somebody else writes to the topic. It stands nowhere, so nobody is sent it.
            cell = None
        return self._grid.put(player, cell), cell

    def _view(self, cell: Cell | None) -> set[str]:
        return set() if cell is None else self._grid.in_view(cell)

    def _view_before(self, cell: Cell | None) -> set[str]:
        """Who was in view from a cell before the last tick."""
        if cell is None:
            return set()
        view = self._grid.in_view(cell) - self._came_from.keys()
        for near in self._grid.around(cell):
            view.update(self._left.get(near, ()))
        return view

    def _everyone_before(self) -> set[str]:
        gone = {player for players in self._left.values() for player in players}
        return (self._grid.names - self._came_from.keys()) | gone

    def _news(self, moved: Mapping[str, Any]) -> tuple[Collection[str], Collection[str]]:
        """For those who see all: who moved, and who is no longer known."""
        here = [player for player in moved if self._grid.cell_of(player) is not None]
        return here, [player for player, before in self._came_from.items() if before and player not in self._grid.names]

    def _news_of_a_new_view(
        self, before: Cell | None, after: Cell | None, moved: Mapping[str, Any]
    ) -> tuple[Collection[str], Collection[str]]:
        known, view = self._view_before(before), self._view(after)
        return [player for player in view if player not in known or player in moved], known - view

    # -- frames ------------------------------------------------------------------------------------------------------

    def _frame_of_a_view(
        self, cell: Cell, moved: Mapping[str, Any], encoding: Encoding, parts: dict[_Group, tuple[int, bytes]]
    ) -> bytes | None:
        """What moved around a cell; `parts` holds, for each cell, what moved in it, as entries in one piece."""
        around = self._grid.around(cell)
        count, pieces = 0, []
        for near in around:
            part = parts.get((near, encoding))
            if part is None:
                encoded = self._entries[encoding]
                entries = [encoded[player] for player in self._grid.in_cell(near) if player in moved]
                part = parts[near, encoding] = len(entries), join_entries(entries, encoding)
            if part[0]:
                count += part[0]
                pieces.append(part[1])
        for near in around if self._left else ():
            for player in self._left.get(near, ()):
                if self._grid.cell_of(player) not in around:
                    count += 1
                    pieces.append(encode_entry(player, None, encoding))
        return tick_frame(self.name, self._tick_ms, count, join_entries(pieces, encoding), encoding) if count else None

    def _frame(self, here: Collection[str], gone: Collection[str], encoding: Encoding) -> bytes | None:
        encoded, latest = self._entries[encoding], self._latest
        entries: list[bytes] = []
        for player in here:
            entry = encoded.get(player)
            if entry is None:
                # Absent while the news of its leave waits for the next tick.
                if player not in latest:
                    continue
                entry = encoded[player] = encode_entry(player, latest[player], encoding)
            entries.append(entry)
        entries += (encode_entry(player, None, encoding) for player in gone)
        if not entries:
            return None
        return tick_frame(self.name, self._tick_ms, len(entries), join_entries(entries, encoding), encoding)


def _sees_all(client: Client) -> bool:
    return client.role is not Role.PLAYER
