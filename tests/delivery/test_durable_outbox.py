"""The outbox of records that Kafka has not acknowledged."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery.durable_outbox import Entry, Lane, Outbox


def entry(value: bytes = b"v", *, size_bytes: int = 10, deadline: float = 100.0) -> Entry:
    """A record; the outbox never touches its outcome, so the future belongs to a loop that never runs."""
    return Entry(
        key=b"k",
        value=value,
        headers=(),
        timestamp_ms=1,
        size_bytes=size_bytes,
        deadline=deadline,
        outcome=asyncio.Future(loop=_LOOP),
    )


_LOOP = asyncio.new_event_loop()
_LOOP.close()


def filled(count: int = 3, **limits: int) -> tuple[Outbox, Lane]:
    outbox = Outbox(limit_bytes=limits.get("limit_bytes", 1000), limit_records=limits.get("limit_records", 100))
    lane = outbox.open_lane("t", 0)
    for index in range(count):
        outbox.add(lane, entry(str(index).encode()))
    return outbox, lane


def values(entries: list[Entry]) -> list[bytes]:
    return [item.value for item in entries]


class TestBounds:
    def test_refuses_past_either_bound_and_keeps_what_it_has(self) -> None:
        """Overflow policy: what was accepted stays, the new record is refused."""
        outbox, _ = filled(3, limit_bytes=40)
        assert outbox.fits(10)
        assert not outbox.fits(11)

        outbox, _ = filled(3, limit_records=3)
        assert not outbox.fits(1)
        assert outbox.records == 3

    def test_all_lanes_share_the_bound(self) -> None:
        """One stuck partition cannot hold more than the process may hold."""
        outbox, _ = filled(3, limit_bytes=40)
        outbox.add(outbox.open_lane("t", 1), entry())

        assert not outbox.fits(1)

    def test_an_outcome_makes_room(self) -> None:
        """Acknowledged records are not counted any more."""
        outbox, lane = filled(3)
        for item in outbox.take(lane, limit_bytes=100, limit_records=10):
            assert outbox.settle(item)
        outbox.landed(lane)

        assert (outbox.records, outbox.bytes) == (0, 0)


class TestBatches:
    def test_takes_as_many_as_the_limits_allow(self) -> None:
        """A batch never outgrows what aiokafka was told to expect."""
        outbox, lane = filled(5)
        assert values(outbox.take(lane, limit_bytes=29, limit_records=10)) == [b"0", b"1"]
        outbox.give_back(lane)
        assert values(outbox.take(lane, limit_bytes=100, limit_records=1)) == [b"0"]

    def test_a_record_larger_than_a_batch_travels_alone(self) -> None:
        """It would be stuck for ever otherwise."""
        outbox, lane = filled(0)
        outbox.add(lane, entry(b"big", size_bytes=500))
        outbox.add(lane, entry(b"small"))

        assert values(outbox.take(lane, limit_bytes=100, limit_records=10)) == [b"big"]

    def test_what_comes_back_keeps_its_place(self) -> None:
        """The batch of a failed producer is sent again before everything behind it, in its old order."""
        outbox, lane = filled(4)
        outbox.take(lane, limit_bytes=25, limit_records=10)

        outbox.give_back(lane)

        assert values(outbox.take(lane, limit_bytes=100, limit_records=10)) == [b"0", b"1", b"2", b"3"]


class TestExpiry:
    def test_a_record_in_flight_expires_once_and_is_not_sent_again(self) -> None:
        """Its caller has been told; a re-send would only repeat what the caller now repeats itself."""
        outbox, lane = filled(2)
        (first, second) = outbox.take(lane, limit_bytes=100, limit_records=10)
        first.deadline = 1.0

        assert list(outbox.expire(2.0)) == [first]
        assert list(outbox.expire(2.0)) == []
        assert not outbox.settle(first)
        outbox.give_back(lane)
        assert outbox.take(lane, limit_bytes=100, limit_records=10) == [second]

    def test_tells_what_was_never_offered(self) -> None:
        """Only a record that no producer ever had was surely not written."""
        outbox, lane = filled(2)
        outbox.take(lane, limit_bytes=100, limit_records=1)
        outbox.give_back(lane)

        assert [item.offered for item in outbox.expire(1000.0)] == [True, False]
        assert (outbox.records, outbox.bytes) == (0, 0)

    def test_lists_what_is_open(self) -> None:
        """A stop waits for these and for nothing else."""
        outbox, lane = filled(3)
        (first,) = outbox.take(lane, limit_bytes=100, limit_records=1)
        outbox.settle(first)

        assert values(list(outbox.entries())) == [b"1", b"2"]


@given(data=st.data())
def test_every_record_leaves_once_and_in_order(data: st.DataObject) -> None:
    """For any history of batches that land, come back or expire: nothing is lost, doubled or overtaken, and the sums fit."""
    outbox, lane = filled(0)
    added, left, sent_order = 0, [], []
    for step in data.draw(st.lists(st.sampled_from(["add", "land", "return", "expire"]), max_size=40)):
        if step == "add":
            outbox.add(lane, entry(str(added).encode(), deadline=float(added)))
            added += 1
        elif step == "expire":
            left += [int(item.value) for item in outbox.expire(data.draw(st.integers(-1, added)))]
        else:
            batch = outbox.take(lane, limit_bytes=35, limit_records=10)
            expired = list(outbox.expire(data.draw(st.integers(-1, added)))) if data.draw(st.booleans()) else []
            left += [int(item.value) for item in expired]
            if step == "land":
                landed = [int(item.value) for item in batch if outbox.settle(item)]
                outbox.landed(lane)
                sent_order += landed
                left += landed
            else:
                outbox.give_back(lane)
        assert outbox.records == added - len(left) == len(list(outbox.entries()))
        assert outbox.bytes == 10 * outbox.records
    assert len(set(left)) == len(left)
    assert sent_order == sorted(sent_order)
