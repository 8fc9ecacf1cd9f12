"""Requirements of the choice of a partition."""

from __future__ import annotations

import pytest

from gamebus.delivery import partitioner
from gamebus.delivery.partitioner import Partitioner


class TestPartitioner:
    # Vectors of Kafka's own test (org.apache.kafka.common.utils.UtilsTest.testMurmur2), as signed 32-bit hashes.
    @pytest.mark.parametrize(
        ("key", "murmur2"),
        [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ],
    )
    def test_is_kafkas_own_choice(self, key: str, murmur2: int) -> None:
        """Every Kafka client finds the room in the same partition."""
        assert Partitioner({"t": 12}).partition("t", key) == (murmur2 & 0x7FFFFFFF) % 12

    def test_every_topic_has_its_own_count(self) -> None:
        """The hash is shared, the partition is not."""
        made = Partitioner({"one": 1, "many": 1000})
        assert made.partition("one", "foobar") == 0
        assert made.partition("many", "foobar") == (-790332482 & 0x7FFFFFFF) % 1000

    def test_refuses_an_unknown_topic(self) -> None:
        """A topic without a known count has no partition to give."""
        with pytest.raises(KeyError):
            Partitioner({"t": 1}).partition("other", "key")

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys without end, such as players who come and go, do not pile up; the choice stays the same."""
        monkeypatch.setattr(partitioner, "MAX_CACHED_KEYS", 10)
        made = Partitioner({"t": 7})
        first = [made.partition("t", f"room-{number}") for number in range(100)]

        assert len(made._hashes) <= 10
        assert [made.partition("t", f"room-{number}") for number in range(100)] == first
