"""From statistics to Prometheus text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from gamebus.telemetry.metrics import StatisticsCollector, counter, gauge


@dataclass(frozen=True, slots=True)
class Sample:
    rooms: int = gauge("Rooms with members.")
    ticks_total: int = counter("Ticks sent.")
    dropped_total: Mapping[str, int] = counter("Events dropped.", label="reason")
    private: int = 0


def scrape(collector: StatisticsCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


class TestStatisticsCollector:
    def test_field_names_become_metric_names_and_kinds(self) -> None:
        """Counters end in _total, whether or not their field does; undeclared fields are not exported."""
        collector = StatisticsCollector()
        collector.add("hub", lambda: Sample(rooms=2, ticks_total=40, dropped_total={}))

        text = scrape(collector)

        assert "# TYPE gamebus_hub_rooms gauge\ngamebus_hub_rooms 2.0" in text
        assert "# TYPE gamebus_hub_ticks_total counter\ngamebus_hub_ticks_total 40.0" in text
        assert "private" not in text

    def test_a_mapping_becomes_one_sample_per_key(self) -> None:
        """Drops are exported by reason."""
        collector = StatisticsCollector()
        collector.add("hub", lambda: Sample(rooms=0, ticks_total=0, dropped_total={"expired": 3, "no_leader": 1}))

        text = scrape(collector)

        assert 'gamebus_hub_dropped_total{reason="expired"} 3.0' in text
        assert 'gamebus_hub_dropped_total{reason="no_leader"} 1.0' in text

    def test_components_of_one_kind_are_told_apart_by_labels(self) -> None:
        """Two tails in one process are two series of one metric."""
        collector = StatisticsCollector()
        for name in ("position", "chat"):
            collector.add("tail", lambda: Sample(rooms=1, ticks_total=0, dropped_total={"late": 2}), topic=name)

        text = scrape(collector)

        assert text.count("# TYPE gamebus_tail_rooms gauge") == 1
        assert 'gamebus_tail_rooms{topic="position"} 1.0' in text
        assert 'gamebus_tail_dropped_total{reason="late",topic="chat"} 2.0' in text

    def test_statistics_are_read_at_each_scrape(self) -> None:
        """Nothing is copied between scrapes."""
        current = [1]
        collector = StatisticsCollector()
        collector.add("hub", lambda: Sample(rooms=current[0], ticks_total=0, dropped_total={}))

        assert "gamebus_hub_rooms 1.0" in scrape(collector)
        current[0] = 7
        assert "gamebus_hub_rooms 7.0" in scrape(collector)
