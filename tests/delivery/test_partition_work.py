"""The unfinished work of one partition."""

from __future__ import annotations

from collections import defaultdict

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery.partition_work import KafkaRecord, PartitionWork, Unit
from gamebus.record import DurableRecord, encode_durable


def read(offset: int, room: str | None, id_: str = "id") -> KafkaRecord:
    """A record as a consumer reads it; without a room it is not decodable."""
    value = b"?" if room is None else encode_durable(DurableRecord("chat", room, "ann", 5, "ann", id_, {"text": "hi"}))
    return ConsumerRecord("t", 3, offset, 1000 + offset, 0, (room or "").encode(), value, None, 0, len(value), ())


class TestPartitionWork:
    def test_groups_a_poll_by_room(self) -> None:
        """A room's records of one poll are one call of the handler, in order; rooms are runnable side by side."""
        work = PartitionWork("t", 3, 10)

        units = work.take([read(10, "a", "1"), read(11, "b", "2"), read(12, "a", "3")], now=0.0)

        assert [(unit.room, [record.offset for record in unit.records]) for unit in units] == [
            ("a", [10, 12]),
            ("b", [11]),
        ]
        assert [record.record.id for record in units[0].records] == ["1", "3"]
        assert (units[0].records[0].topic, units[0].records[0].partition, units[0].records[0].timestamp_ms) == (
            "t",
            3,
            1010,
        )

    def test_a_room_runs_one_unit_after_the_other(self) -> None:
        """Records of a later poll wait for those of their room, and only for those."""
        work = PartitionWork("t", 3, 0)
        (first,) = work.take([read(0, "a")], now=0.0)

        assert [unit.room for unit in work.take([read(1, "a"), read(2, "b")], now=1.0)] == ["b"]

        second = work.finish(first)
        assert second is not None
        assert second.first_offset == 1
        assert work.finish(second) is None
        assert [unit.first_offset for unit in work.take([read(3, "a")], now=2.0)] == [3]

    def test_poison_is_work_too(self) -> None:
        """A record that cannot be decoded has a unit, so the watermark waits until it is dead-lettered."""
        work = PartitionWork("t", 3, 0)

        poison, good = work.take([read(0, None), read(1, "a")], now=0.0)

        assert len(poison.faults) == len(poison.source) == 1
        work.finish(good)
        assert work.committable == 0
        work.finish(poison)
        assert work.committable == 2

    def test_counts_what_is_in_flight(self) -> None:
        """Back-pressure counts records, from when they are read until they are done."""
        work = PartitionWork("t", 3, 0)
        (a,) = work.take([read(0, "a"), read(1, "a")], now=4.0)
        work.take([read(2, "a")], now=5.0)

        assert work.in_flight == 3
        assert work.oldest_taken_at() == 4.0
        following = work.finish(a)
        assert work.in_flight == 1
        assert work.oldest_taken_at() == 5.0
        assert following is not None
        work.finish(following)
        assert work.in_flight == 0
        assert work.idle
        assert work.oldest_taken_at() is None

    def test_drop_forgets_what_waits_but_not_what_runs(self) -> None:
        """A partition is taken up again only after the running handlers of its last life have ended."""
        work = PartitionWork("t", 3, 0)
        (running,) = work.take([read(0, "a")], now=0.0)
        work.take([read(1, "a")], now=0.0)

        work.drop()
        assert not work.idle

        assert work.finish(running) is None
        assert work.idle

    @given(data=st.data())
    def test_rooms_stay_in_order_and_the_watermark_is_safe(self, data: st.DataObject) -> None:
        """For every order of completion: each room in offset order, one unit at a time, and no unfinished offset committable."""
        work = PartitionWork("t", 3, 0)
        runnable: list[Unit] = []
        finished = set[int]()
        order: dict[str, list[int]] = defaultdict(list)
        offset = 0
        for rooms in data.draw(
            st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), max_size=6)
        ):
            runnable += work.take([read(offset + index, room) for index, room in enumerate(rooms)], now=0.0)
            offset += len(rooms)
            while len(runnable) > 0 and data.draw(st.booleans()):
                assert len({unit.room for unit in runnable}) == len(runnable)
                unit = runnable.pop(data.draw(st.integers(0, len(runnable) - 1)))
                order[unit.room] += [record.offset for record in unit.records]
                finished.update(order[unit.room])
                following = work.finish(unit)
                if following is not None:
                    runnable.append(following)
            assert finished.issuperset(range(work.committable))
            assert work.in_flight == offset - len(finished)
        assert all(offsets == sorted(offsets) for offsets in order.values())
