"""Publishing by one connection: which types, into which rooms, in whose name, how large, how often.

`accept` is the gateway's hottest path: one method call per event, two look-ups instead of a regular expression for a room that is
known, and no allocation beyond the effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgpack

from gamebus.catalog import Catalog, EventType, Role
from gamebus.errors import PayloadError
from gamebus.events import is_event_id, is_player_id, is_room, is_text
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import ErrorCode
from gamebus.protocol.effects import PublishDurable, PublishRealtime
from gamebus.protocol.rate_limit import TokenBucket
from gamebus.protocol.refusals import Refused

MAX_SEQUENCES: Final = 16_384
"""Pairs of room and player whose last `seq` is remembered; a connection that publishes for more forgets the oldest pair."""

MAX_CHECKED_ROOMS: Final = 1_024
"""Rooms that a game server publishes into without joining and whose check is remembered."""

_ORDERED_TYPE: Final = "position"
# Largest msgpack encoding of what these validators let pass: arrays of so many numbers, which need no measuring.
_BOUNDED_BYTES: Final[Mapping[str, int]] = {"position": 1 + 8 * 9, "heartbeat": 1 + 3 * 9}

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class _TypeRights:
    """What the connection may do with one event type."""

    __slots__ = ("allowed", "bucket", "durable", "event_type", "measured", "ordered", "validate")

    def __init__(self, event_type: EventType, role: Role) -> None:
        self.event_type = event_type
        self.allowed = role in event_type.roles
        self.bucket = TokenBucket(event_type.per_second, max(1.0, 2 * event_type.per_second))
        self.durable = event_type.durable
        self.measured = _BOUNDED_BYTES.get(event_type.name, event_type.max_bytes + 1) > event_type.max_bytes
        self.ordered = event_type.name == _ORDERED_TYPE
        self.validate = event_type.validate


class Publishing:
    """Checks publishes in the order of the wire protocol.

    Args:
        rooms: the joined rooms; the session owns and changes them.
    """

    __slots__ = ("_catalog", "_checked_rooms", "_claims", "_rights", "_rooms", "_seqs", "_stale", "_sub")

    def __init__(self, catalog: Catalog, claims: Claims, rooms: AbstractSet[str]) -> None:
        self._catalog = catalog
        self._claims = claims
        self._sub = claims.sub
        self._rooms = rooms
        # Not joined, but a server may publish there: name and permission were checked.
        self._checked_rooms: dict[str, None] = {}
        # By type, made when the type is first used.
        self._rights: dict[str, _TypeRights] = {}
        # Last `seq` of positions per room and player. Survives leaving the room: it counts within the connection.
        self._seqs: dict[tuple[str, str], int] = {}
        self._stale = 0

    @property
    def stale(self) -> int:
        """Positions dropped because their `seq` did not rise."""
        return self._stale

    def refresh(self, claims: Claims) -> None:
        """Hold the connection to other claims from now on. What its rates have used up stays used up."""
        self._claims = claims
        self._checked_rooms.clear()
        for rights in self._rights.values():
            rights.allowed = claims.role in rights.event_type.roles

    def accept(self, fields: list[Any], now: float) -> PublishRealtime | PublishDurable | None:
        """Check one publish, given without its leading `"pub"`. None: a stale position, dropped without a word.

        Raises:
            Refused: a check failed; it is the first in the order of the wire protocol.
        """
        if len(fields) == 3:
            type_, room, data = fields
            id_, player = None, self._sub
        else:
            type_, room, data, id_, player = self._long_form(fields)
        known_room = type(room) is str and (room in self._rooms or room in self._checked_rooms)
        if type(type_) is not str or not (known_room or is_room(room)):
            raise Refused(ErrorCode.BAD_REQUEST, "type is a string, room 1..128 of A-Z a-z 0-9 . _ - : /")
        rights = self._rights.get(type_)
        if rights is None or rights.durable is (id_ is None):
            rights = self._rights_for(type_, id_)
        if not (known_room and rights.allowed and player == self._sub):
            self._check_permission(rights, room, player)
        try:
            data = rights.validate(data)
        except PayloadError as error:
            raise Refused(ErrorCode.BAD_DATA, error.rule) from None
        if rights.measured and len(_pack(data)) > rights.event_type.max_bytes:
            limit = rights.event_type.max_bytes
            raise Refused(ErrorCode.TOO_LARGE, f"data of {type_} is at most {limit} bytes of msgpack")
        if not rights.bucket.take(now):
            retry_ms = rights.bucket.retry_after_ms(now) if rights.durable else None
            rate = rights.event_type.per_second
            raise Refused(ErrorCode.RATE_LIMITED, f"more than {rate:g} {type_} a second", retry_ms=retry_ms)
        if rights.ordered:
            stream = (room, player)
            if data[0] <= self._seqs.get(stream, -1):
                self._stale += 1
                return None
            self._seqs[stream] = data[0]
            if len(self._seqs) > MAX_SEQUENCES:
                del self._seqs[next(iter(self._seqs))]
        if id_ is None:
            return PublishRealtime(rights.event_type, room, player, data)
        return PublishDurable(rights.event_type, room, player, self._sub, data, id_)

    def _long_form(self, fields: list[Any]) -> tuple[Any, Any, Any, str | None, str]:
        if len(fields) == 4:
            type_, room, data, id_ = fields
            player = self._sub
            id_valid = is_event_id(id_)
        elif len(fields) == 5:
            type_, room, data, id_, player = fields
            id_valid = id_ is None or is_event_id(id_)
        else:
            raise Refused(ErrorCode.BAD_REQUEST, "a publish has type, room, data, and for some id and player")
        if not id_valid:
            raise Refused(ErrorCode.BAD_REQUEST, "id is a string of 1..64 characters without control characters")
        if not is_player_id(player):
            raise Refused(ErrorCode.BAD_REQUEST, "player is 1..64 of A-Z a-z 0-9 . _ -")
        return type_, room, data, id_, player

    def _rights_for(self, type_: str, id_: str | None) -> _TypeRights:
        rights = self._rights.get(type_)
        if rights is None:
            event_type = self._catalog.types.get(type_)
            if event_type is None:
                if not is_text(type_):
                    raise Refused(ErrorCode.BAD_REQUEST, "type is not valid Unicode")
                raise Refused(ErrorCode.UNKNOWN_TYPE, "the catalog has no such type; `welcome` lists them")
            rights = self._rights[type_] = _TypeRights(event_type, self._claims.role)
        if rights.durable is (id_ is None):
            wanted = "at-least-once and needs an id" if rights.durable else "at-most-once and takes no id"
            raise Refused(ErrorCode.BAD_REQUEST, f"{type_} is {wanted}")
        return rights

    def _check_permission(self, rights: _TypeRights, room: str, player: str) -> None:
        role = self._claims.role
        if not rights.allowed:
            raise Refused(ErrorCode.FORBIDDEN, f"role {role} may not publish {rights.event_type.name}")
        if player != self._sub and role is not Role.SERVER:
            raise Refused(ErrorCode.FORBIDDEN, "only role server publishes in the name of others")
        if room in self._rooms or room in self._checked_rooms:
            return
        if not self._claims.allows(room):
            raise Refused(ErrorCode.FORBIDDEN, "the token does not allow this room")
        if role is not Role.SERVER:
            raise Refused(ErrorCode.NOT_JOINED, "join the room before publishing into it")
        if len(self._checked_rooms) >= MAX_CHECKED_ROOMS:
            self._checked_rooms.clear()
        self._checked_rooms[room] = None
