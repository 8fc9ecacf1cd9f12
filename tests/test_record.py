"""The Kafka record of an event."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.errors import RecordError
from gamebus.events import MAX_INTEGER
from gamebus.record import (
    DurableRecord,
    RealtimeRecord,
    decode_durable,
    decode_realtime,
    encode_durable,
    encode_realtime,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
MS = st.integers(0, 2**45)
REALTIME = [1, "position", "arena:1", "alice", 1_800_000_000_000, "boot-1", 7, [1, 2.0, 3.0, 4.0]]
DURABLE = [1, "chat", "arena:1", "alice", 1_800_000_000_000, "alice", "msg-1", {"text": "hi"}]


class TestRealtime:
    @given(record=st.builds(RealtimeRecord, TEXT, TEXT, TEXT, MS, TEXT, st.integers(1, MAX_INTEGER), DATA))
    def test_reads_what_it_wrote(self, record: RealtimeRecord) -> None:
        """`[1, type, room, player, server_ms, boot, seq, data]`, there and back (Hypothesis)."""
        value = encode_realtime(
            record.type, record.room, record.player, record.server_ms, record.boot, record.seq, record.data
        )

        assert decode_realtime(value) == record

    def test_layout(self) -> None:
        """The layout is what other readers of the topic rely on."""
        value = encode_realtime("position", "arena:1", "alice", 1_800_000_000_000, "boot-1", 7, [1, 2.0, 3.0, 4.0])

        assert msgpack.unpackb(value) == REALTIME

    @pytest.mark.parametrize(
        ("place", "wrong"),
        [(0, 2), (0, "1"), (1, None), (2, 5), (3, b"a"), (4, "now"), (4, 1.5), (5, 1), (6, 0), (6, -1), (6, "7")],
    )
    def test_wrong_fields(self, place: int, wrong: Any) -> None:
        """A record whose fields are of the wrong kind is a poison record, not a crash."""
        fields = [*REALTIME]
        fields[place] = wrong

        with pytest.raises(RecordError, match="version 1"):
            decode_realtime(msgpack.packb(fields))


class TestDurable:
    @given(record=st.builds(DurableRecord, TEXT, TEXT, TEXT, MS, TEXT, TEXT, DATA))
    def test_reads_what_it_wrote(self, record: DurableRecord) -> None:
        """`[1, type, room, player, server_ms, publisher, id, data]`, there and back (Hypothesis)."""
        assert decode_durable(encode_durable(record)) == record

    def test_layout(self) -> None:
        """The layout is what other readers of the topic rely on."""
        record = DurableRecord("chat", "arena:1", "alice", 1_800_000_000_000, "alice", "msg-1", {"text": "hi"})

        assert msgpack.unpackb(encode_durable(record)) == DURABLE

    @pytest.mark.parametrize(
        ("place", "wrong"),
        [(0, 0), (0, None), (1, 1), (2, None), (3, []), (4, 1.5), (4, None), (5, None), (6, 7), (6, None)],
    )
    def test_wrong_fields(self, place: int, wrong: Any) -> None:
        """A record whose fields are of the wrong kind goes to the dead letters, and blocks nothing."""
        fields = [*DURABLE]
        fields[place] = wrong

        with pytest.raises(RecordError, match="version 1"):
            decode_durable(msgpack.packb(fields))

    @given(
        one=st.tuples(st.text("ab.-_", min_size=1), st.text("ab/", min_size=1)),
        other=st.tuples(st.text("ab.-_", min_size=1), st.text("ab/", min_size=1)),
    )
    def test_identity_tells_events_apart(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Publisher and id name the event: two publishers may use the same id (Hypothesis)."""
        first, second = (DurableRecord("chat", "r", "p", 0, publisher, id_, None) for publisher, id_ in (one, other))

        assert (first.identity == second.identity) is (one == other)


@pytest.mark.parametrize("decode", [decode_realtime, decode_durable])
class TestPoison:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            b"",
            b"\xc1",
            b"\x98",
            b"{}",
            b"\x01",
            b"\x80",
            msgpack.packb([1] * 7),
            msgpack.packb([1] * 9),
            b"\x91" * 5_000,
        ],
        ids=repr,
    )
    def test_is_a_record_error(self, decode: Any, value: bytes | None) -> None:
        """Decoding never trusts its input: a tombstone, other bytes, another length."""
        with pytest.raises(RecordError):
            decode(value)

    @given(value=st.binary(max_size=100))
    def test_any_bytes(self, decode: Any, value: bytes) -> None:
        """Arbitrary bytes are a record or a :exc:`RecordError` (Hypothesis)."""
        with suppress(RecordError):
            assert isinstance(decode(value), RealtimeRecord | DurableRecord)

    @pytest.mark.parametrize("tail", [b"\xc1", b"\xd4\xff\x00", b"\x81\x90\x01", b"\xa1\xff", b""])
    def test_behind_a_good_beginning(self, decode: Any, tail: bytes) -> None:
        """Data that cannot be read is a poison record too: reserved bytes, broken strings, keys that cannot be hashed."""
        head = b"\x98" + b"".join(
            msgpack.packb(field) for field in (REALTIME if decode is decode_realtime else DURABLE)[:7]
        )

        with pytest.raises(RecordError):
            decode(head + tail)


class TestKinds:
    def test_are_told_apart(self) -> None:
        """A record of the other class is no record of this one."""
        with pytest.raises(RecordError):
            decode_realtime(msgpack.packb(DURABLE))
        with pytest.raises(RecordError):
            decode_durable(msgpack.packb(REALTIME))
