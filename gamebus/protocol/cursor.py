"""Cursor of a room: a place in its durable events.

A cursor holds, for every durable topic, the offset of the next record to read in the room's partition. It is valid for any
client of that room on any gateway of the same catalog, and never longer than 200 characters. It survives new topics in the
catalog: they are read from their beginning, where nothing of the room was missed. What it cannot vouch for it refuses: a cursor of
another room, a damaged one; and a topic whose partition count changed counts as new.

Layout before base64url: version (1 byte), CRC-32 of the room and what follows (4), then per topic, sorted by name: tag (3 bytes of
the CRC-32 of name and partition count), offset (6, big-endian: 2^48 records).
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.errors import CatalogError

MAX_CHARACTERS: Final = 200
"""What the wire protocol promises to clients."""

_VERSION: Final = 1
_HEADER_BYTES: Final = 5
_TAG_BYTES: Final = 3
_OFFSET_BYTES: Final = 6
_ENTRY_BYTES: Final = _TAG_BYTES + _OFFSET_BYTES
MAX_TOPICS: Final = (MAX_CHARACTERS // 4 * 3 - _HEADER_BYTES) // _ENTRY_BYTES


class CursorCodec:
    """Writes and reads the cursors of one catalog.

    Raises:
        CatalogError: more durable topics than a cursor of 200 characters can hold.
    """

    def __init__(self, catalog: Catalog) -> None:
        topics = catalog.event_topics(DeliveryClass.AT_LEAST_ONCE)
        self._tags = {
            topic.name: _checksum(f"{topic.name}/{topic.partitions}".encode())[-_TAG_BYTES:] for topic in topics
        }
        self._names = {tag: name for name, tag in self._tags.items()}
        if len(topics) > MAX_TOPICS or len(self._names) < len(topics):
            raise CatalogError(
                f"at most {MAX_TOPICS} topics carry at-least-once events, of distinct tags (a cursor is bounded): let "
                "types share a topic, or rename one",
                file="in use",
            )

    def encode(self, room: str, offsets: Mapping[str, int]) -> str:
        """Cursor of a place in `room`. `offsets`: next offset to read, by durable topic; 0 where a topic is missing."""
        entries = b"".join(
            tag + offsets.get(name, 0).to_bytes(_OFFSET_BYTES, "big") for name, tag in self._tags.items()
        )
        return urlsafe_b64encode(_header(room, entries) + entries).decode().rstrip("=")

    def parse(self, room: str, text: str) -> dict[str, int] | None:
        """The offsets of a cursor, every durable topic by name (0 where the cursor does not know it); None for garbage."""
        if len(text) > MAX_CHARACTERS:
            return None
        try:
            raw = b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        entries = raw[_HEADER_BYTES:]
        if raw[:_HEADER_BYTES] != _header(room, entries) or len(entries) % _ENTRY_BYTES:
            return None
        offsets = dict.fromkeys(self._tags, 0)
        for start in range(0, len(entries), _ENTRY_BYTES):
            tag, offset = entries[start : start + _TAG_BYTES], entries[start + _TAG_BYTES : start + _ENTRY_BYTES]
            name = self._names.get(tag)
            if name is not None:
                offsets[name] = int.from_bytes(offset, "big")
        return offsets


def _header(room: str, entries: bytes) -> bytes:
    return bytes((_VERSION,)) + _checksum(room.encode() + entries)


def _checksum(data: bytes) -> bytes:
    return crc32(data).to_bytes(4, "big")
