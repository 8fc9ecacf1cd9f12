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
from gamebus.gateway.server_frame import encode_entry, tick_frame
from gamebus.protocol.frames import Encoding
from gamebus.room_types import RoomType


class GridRoom(Room):
    """A room whose players see their surroundings.

    Args:
        name: of the room.
        kind: the grid.
        tick_hz: ticks a second while something moves.
    """

    def __init__(self, name: str, kind: RoomType, tick_hz: float) -> None:
        super().__init__(name, tick_hz)
        # As of the last tick, like `_viewpoints`: together they are what each client knows.
        self._grid = Grid(kind.cell_size, kind.radius, kind.axes)
        # Player -> its cell before the last tick (None: it stood nowhere), for those that changed it then; and the reverse.
        self._came_from: dict[str, Cell | None] = {}
        self._left: dict[Cell, list[str]] = {}
        # Where a player's client looks from; None: from nowhere yet.
        self._viewpoints: dict[Client, Cell | None] = {}
        # Of clients that are behind: whom each knew when it fell behind.
        self._known: dict[Outbox, set[str]] = {}
        self._listening_on: dict[Outbox, Client] = {}
        self._entries: dict[Encoding, dict[str, bytes]] = {encoding: {} for encoding in Encoding}

    # -- clients -----------------------------------------------------------------------------------------------------

    def listen(self, client: Client) -> None:
        """Let a client have every frame from now on."""
        super().listen(client)
        self._listening_on[client.outbox] = client

    def leave(self, client: Client) -> None:
        """A client went, after :meth:`hide`."""
        super().leave(client)
        self._viewpoints.pop(client, None)
        self._listening_on.pop(client.outbox, None)
        self._known.pop(client.outbox, None)

    def positions(self, client: Client) -> list[tuple[str, Any]]:
        """Last known position of everyone in view of a client, which is what it knows from now on."""
        if _sees_all(client):
            return super().positions(client)
        cell = self._viewpoints[client] = self._grid.cell_of(client.player)
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
        # The same for all who saw from a cell before and after; None: nothing to tell them.
        frames: dict[tuple[Cell | None, Encoding], bytes | None] = {}
        count = 0
        for client in self._listening:
            outbox = client.outbox
            before = after = None
            if not _sees_all(client):
                before, after = self._viewpoints.get(client), self._grid.cell_of(client.player)
                if before is None and after is None:
                    continue
                self._viewpoints[client] = after
            if before != after:
                frame = self._frame(*self._news_of_a_new_view(before, after, moved), outbox.encoding)
            else:
                key = (after, outbox.encoding)
                if key not in frames:
                    news = self._news(moved) if after is None else self._news_of_a_view(after, moved)
                    frames[key] = self._frame(*news, outbox.encoding)
                frame = frames[key]
            if frame is None:
                continue
            count += 1
            if outbox.writable:
                outbox.write(frame)
            elif outbox not in self._known and outbox.miss_tick(self):
                self._known[outbox] = self._everyone_before() if _sees_all(client) else self._view_before(before)
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
        view = set(self._grid.names) if _sees_all(client) else self._view(self._viewpoints.get(client))
        return self._frame(view, known - view, outbox.encoding)

    # -- who sees whom -----------------------------------------------------------------------------------------------

    def _move(self, moved: Mapping[str, Any]) -> None:
        for encoded in self._entries.values():
            for player in moved:
                encoded.pop(player, None)
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

    def _news_of_a_view(self, cell: Cell, moved: Mapping[str, Any]) -> tuple[Collection[str], Collection[str]]:
        around = self._grid.around(cell)
        here = [player for near in around for player in self._grid.in_cell(near) if player in moved]
        near_now = set(around)
        gone = [
            player
            for near in around
            for player in self._left.get(near, ())
            if self._grid.cell_of(player) not in near_now
        ]
        return here, gone

    def _news_of_a_new_view(
        self, before: Cell | None, after: Cell | None, moved: Mapping[str, Any]
    ) -> tuple[Collection[str], Collection[str]]:
        known, view = self._view_before(before), self._view(after)
        return [player for player in view if player not in known or player in moved], known - view

    # -- frames ------------------------------------------------------------------------------------------------------

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
        return tick_frame(self.name, self._tick_ms, entries, encoding) if entries else None


def _sees_all(client: Client) -> bool:
    return client.role is not Role.PLAYER
