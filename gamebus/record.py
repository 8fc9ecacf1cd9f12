"""The Kafka record of an event: value format, key, stream sequence.

A value is one msgpack array, self-contained (the key only chooses the partition, by Kafka's murmur2):

====================  ==================================================================================
at most once          `[1, type, room, player, server_ms, boot, seq, data]`
at least once         `[1, type, room, player, server_ms, publisher, id, data]`
====================  ==================================================================================

`server_ms`: when the gateway took the event (Unix milliseconds). `boot` and `seq` number the records of a stream, which is
one boot of one publishing process in one partition: the sequence counts from 1 what was attempted, local drops included, so
a reader can tell exactly what is missing (RFC 3550 sequence numbers, applied to Kafka). `publisher` (the token's `sub`), room
and `id` name a durable event across re-sends; `player` is whom it is about.

Pure. Decoding never trusts its input: anything that is not such an array is a :exc:`~gamebus.errors.RecordError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from gamebus.errors import RecordError

VERSION: Final = 1

_FIELDS: Final = 8
_packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpackb = msgpack.unpackb


@dataclass(slots=True)
class RealtimeRecord:
    """An at-most-once event as read from Kafka. Not frozen: one is made per record on the hottest path."""

    type: str
    room: str
    player: str
    server_ms: int
    boot: str
    seq: int
    data: Any


@dataclass(slots=True)
class DurableRecord:
    """An at-least-once event. Not frozen either: that would double the time of decoding one. Nobody changes it."""

    type: str
    room: str
    player: str
    server_ms: int
    publisher: str
    id: str
    data: Any

    @property
    def identity(self) -> str:
        """Names the event within its room; `/` cannot occur in a publisher, so two events never share one."""
        return f"{self.publisher}/{self.id}"


def encode_realtime(type_: str, room: str, player: str, server_ms: int, boot: str, seq: int, data: Any) -> bytes:
    """Encode an at-most-once event. `data` has passed its validator, so packing cannot fail."""
    encoded: bytes = _packb((VERSION, type_, room, player, server_ms, boot, seq, data))
    return encoded


def encode_durable(record: DurableRecord) -> bytes:
    """Encode an at-least-once event. `data` has passed its validator, so packing cannot fail."""
    encoded: bytes = _packb(
        (VERSION, record.type, record.room, record.player, record.server_ms, record.publisher, record.id, record.data)
    )
    return encoded


def decode_realtime(value: bytes | None) -> RealtimeRecord:
    """Decode the value of an at-most-once record.

    Raises:
        RecordError: not such a record; the message says what is wrong.
    """
    version, type_, room, player, server_ms, boot, seq, data = _fields(value)
    if not (
        version == VERSION
        and type(type_) is type(room) is type(player) is type(boot) is str
        and type(server_ms) is type(seq) is int
        and seq > 0
    ):
        raise RecordError(f"not an at-most-once record of version {VERSION}: fields of the wrong kind")
    return RealtimeRecord(type_, room, player, server_ms, boot, seq, data)


def decode_durable(value: bytes | None) -> DurableRecord:
    """Decode the value of an at-least-once record.

    Raises:
        RecordError: not such a record; the message says what is wrong.
    """
    version, type_, room, player, server_ms, publisher, id_, data = _fields(value)
    if not (
        version == VERSION
        and type(type_) is type(room) is type(player) is type(publisher) is type(id_) is str
        and type(server_ms) is int
    ):
        raise RecordError(f"not an at-least-once record of version {VERSION}: fields of the wrong kind")
    return DurableRecord(type_, room, player, server_ms, publisher, id_, data)


def _fields(value: bytes | None) -> list[Any]:
    if value is None:
        raise RecordError("a record without a value (a tombstone) is not an event")
    try:
        fields = _unpackb(value)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise RecordError(f"not msgpack: {error}") from error
    if type(fields) is not list or len(fields) != _FIELDS:
        raise RecordError(f"not an array of {_FIELDS} fields")
    return fields
