"""From two snapshots to what is added to the charts."""

from __future__ import annotations

from gamebus.telemetry.histogram import Distribution, Histogram, quantile
from gamebus.telemetry.series import amounts, buckets


def acks(*seconds: float) -> Distribution:
    histogram = Histogram()
    for second in seconds:
        histogram.observe(second)
    return histogram.snapshot()


class TestAmounts:
    def test_counters_give_what_happened_between(self) -> None:
        """The samples of all labels of a counter are one amount."""
        before = {"realtime_publisher_dropped_total{reason=expired}": 5, "realtime_publisher_attempted_total": 100}
        now = {
            "realtime_publisher_dropped_total{reason=expired}": 7,
            "realtime_publisher_dropped_total{reason=no_leader}": 1,
            "realtime_publisher_attempted_total": 160,
        }

        assert amounts(before, now) == {"realtime_dropped": 3, "realtime_attempted": 60}

    def test_gauges_give_what_there_is(self) -> None:
        """A level does not depend on what was before."""
        assert amounts({"gateway_connections": 9}, {"gateway_connections": 7}) == {"connections": 7}

    def test_a_counter_that_began_anew_gives_nothing(self) -> None:
        """A component that was rebuilt counts from zero again; a chart does not go below zero."""
        assert amounts({"gateway_messages_total": 900}, {"gateway_messages_total": 3}) == {}

    def test_distributions_give_their_new_durations(self) -> None:
        """Only what was observed within the second is in its percentiles."""
        before = {"gateway_ack_seconds": acks(2.0, 2.0)}
        now = {"gateway_ack_seconds": acks(2.0, 2.0, 0.004)}

        taken = amounts(before, now)

        assert sum(taken.values()) == 1
        assert 0.003 <= (quantile(buckets(taken, "ack"), 0.99) or 0) <= 0.005
