"""Roster of a room: the players that are here, on this gateway and on others.

Local joins and leaves count at once; players of other gateways are what Redis said last. What was announced to the room's
clients is remembered, so a `presence` message is a difference and repeats itself never, however often both sources change
their mind in between.

Pure.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet


class Roster:
    """Players of one room.

    A player stays while any of its sessions here, or any other gateway, has it. Spectators and servers are the caller's
    business: they never come in here.
    """

    __slots__ = ("_announced", "_departing", "_local", "_remote")

    def __init__(self) -> None:
        # Player -> its sessions on this gateway, in order of joining: two during a takeover.
        self._local: dict[str, dict[str, None]] = {}
        self._remote: frozenset[str] = frozenset()
        # Left here, while Redis may still name them.
        self._departing: set[str] = set()
        self._announced: AbstractSet[str] = frozenset()

    @property
    def players(self) -> AbstractSet[str]:
        """Everyone here."""
        return self._local.keys() | self._remote

    @property
    def announced(self) -> AbstractSet[str]:
        """Everyone whom the clients of the room know; what :meth:`changes` returns next is the difference from this."""
        return self._announced

    @property
    def local(self) -> list[tuple[str, str]]:
        """(player, session) of this gateway."""
        return [(player, session) for player, sessions in self._local.items() for session in sessions]

    def join(self, player: str, session: str) -> None:
        """A player came in on this gateway."""
        self._local.setdefault(player, {})[session] = None
        self._departing.discard(player)

    def leave(self, player: str, session: str, *, replaced: bool) -> None:
        """A session of a player ended on this gateway.

        Args:
            player: whose session it was.
            session: the session.
            replaced: another connection took over, maybe on another gateway: the player is not gone until Redis says so.
        """
        sessions = self._local.get(player)
        if sessions is None:
            return
        sessions.pop(session, None)
        if sessions:
            return
        del self._local[player]
        if replaced:
            self._remote |= {player}
        else:
            self._remote -= {player}
            self._departing.add(player)

    def departed(self, player: str) -> None:
        """Redis knows that the player left this gateway, so from now on its word counts again."""
        self._departing.discard(player)

    def read(self, members: AbstractSet[str], *, complete: bool) -> None:
        """What Redis says about the room.

        Args:
            members: the players that it names.
            complete: those whom it does not name are gone. False while Redis may have forgotten players who are still here.
        """
        known = members if complete else members | self._remote
        self._remote = frozenset(known - self._departing)

    def changes(self) -> tuple[list[str], list[str]]:
        """Players that joined and left since the last call, each sorted."""
        players = self.players
        before, self._announced = self._announced, players
        return sorted(players - before), sorted(before - players)
