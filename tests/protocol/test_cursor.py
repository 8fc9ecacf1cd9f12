"""Cursors of rooms."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.catalog import with_partitions
from gamebus.catalog_file import parse_catalog
from gamebus.errors import CatalogError
from gamebus.protocol.cursor import MAX_CHARACTERS, MAX_TOPICS, CursorCodec

CATALOG = parse_catalog()
OFFSETS = st.fixed_dictionaries(
    {"gamebus.chat": st.integers(0, 2**48 - 1), "gamebus.combat": st.integers(0, 2**48 - 1)}
)
ROOMS = st.text(string.ascii_letters + string.digits + "._-:/", min_size=1, max_size=128)


def durable(name: str) -> str:
    return f'[types.{name}]\ndelivery = "at-least-once"\ntopic = "gamebus.{name}"\n'


class TestCursorCodec:
    @given(room=ROOMS, offsets=OFFSETS)
    def test_reads_what_it_wrote(self, room: str, offsets: dict[str, int]) -> None:
        """A cursor covers all durable topics of a room, on any gateway (Hypothesis)."""
        cursor = CursorCodec(CATALOG).encode(room, offsets)

        assert CursorCodec(parse_catalog()).parse(room, cursor) == offsets

    @given(room=ROOMS, one=OFFSETS, other=OFFSETS)
    def test_tells_places_apart(self, room: str, one: dict[str, int], other: dict[str, int]) -> None:
        """Receivers tell events apart by `cursor` (Hypothesis)."""
        codec = CursorCodec(CATALOG)

        assert (codec.encode(room, one) == codec.encode(room, other)) is (one == other)

    def test_fits_with_the_most_topics_that_a_catalog_may_have(self) -> None:
        """A cursor is an opaque string of up to 200 characters."""
        names = [f"loot-{number}" for number in range(MAX_TOPICS - 2)]
        catalog = parse_catalog("\n".join(map(durable, names)))
        topics = ["gamebus.chat", "gamebus.combat", *(f"gamebus.{name}" for name in names)]

        cursor = CursorCodec(catalog).encode("r" * 128, dict.fromkeys(topics, 2**48 - 1))

        assert len(cursor) <= MAX_CHARACTERS == 200

    def test_more_durable_topics_are_refused_at_start(self) -> None:
        """A catalog whose cursors would not fit stops the process, not a player's resume."""
        catalog = parse_catalog("\n".join(durable(f"loot-{number}") for number in range(MAX_TOPICS - 1)))

        with pytest.raises(CatalogError, match="let types share a topic"):
            CursorCodec(catalog)

    @given(text=st.text(max_size=300))
    def test_garbage_is_none(self, text: str) -> None:
        """Cursors that are unknown, too old or garbage: `recovered` false (Hypothesis)."""
        assert CursorCodec(CATALOG).parse("arena:1", text) is None

    @given(raw=st.binary(max_size=64))
    def test_garbage_in_the_right_alphabet_is_none(self, raw: bytes) -> None:
        """Other people's base64 is garbage too (Hypothesis)."""
        assert CursorCodec(CATALOG).parse("arena:1", raw.hex()) is None

    def test_of_another_room_is_none(self) -> None:
        """Offsets of another room's partition would skip events unseen, so they are no cursor here."""
        codec = CursorCodec(CATALOG)
        cursor = codec.encode("arena:1", {"gamebus.chat": 5, "gamebus.combat": 7})

        assert codec.parse("arena:2", cursor) is None

    def test_survives_a_new_topic_in_the_catalog(self) -> None:
        """After a deployment that adds a type, players resume; of the new topic nothing was missed before its beginning."""
        cursor = CursorCodec(CATALOG).encode("arena:1", {"gamebus.chat": 5, "gamebus.combat": 7})

        parsed = CursorCodec(parse_catalog(durable("loot"))).parse("arena:1", cursor)

        assert parsed == {"gamebus.chat": 5, "gamebus.combat": 7, "gamebus.loot": 0}

    def test_does_not_vouch_for_a_topic_whose_partition_count_changed(self) -> None:
        """Another partition count moves rooms, so the old offsets mean nothing."""
        cursor = CursorCodec(CATALOG).encode("arena:1", {"gamebus.chat": 5, "gamebus.combat": 7})

        parsed = CursorCodec(with_partitions(CATALOG, 3)).parse("arena:1", cursor)

        assert parsed == {"gamebus.chat": 0, "gamebus.combat": 0}

    def test_cut_is_none(self) -> None:
        """A cursor that was cut on its way is garbage."""
        codec = CursorCodec(CATALOG)
        cursor = codec.encode("arena:1", {"gamebus.chat": 5, "gamebus.combat": 7})

        assert all(codec.parse("arena:1", cursor[:length]) is None for length in range(len(cursor)))
