"""Parts of a run add up to the run."""

from __future__ import annotations

import json
from collections import Counter

from gamebus_bots.latency import Latency
from gamebus_bots.tally import Point, Tally


def part(count: int, samples: list[float], spans: list[float]) -> Tally:
    tally = Tally(counts=Counter(sent=count), dropped=Counter(congested=1), errors=Counter({"close 4001": 1}))
    for sample in samples:
        tally.latencies["ack.response"].record(sample)
    for span_s in spans:
        latency = Latency()
        latency.record(samples[0])
        tally.points.append(Point(span_s, Counter(sent=count), {"ack": latency.encoded()}))
    return tally


class TestSum:
    def test_counts_histograms_and_intervals_add_up(self) -> None:
        """Two processes measure the same second: there are twice as many events in it, and not twice as many seconds."""
        parts = [part(3, [0.1], [1.0, 1.0]), part(4, [0.2, 0.3], [1.0])]
        whole = Tally.sum(Tally.decoded(json.loads(json.dumps(one.encoded()))) for one in parts)
        assert whole.counts["sent"] == 7
        assert (whole.dropped, whole.errors) == (Counter(congested=2), Counter({"close 4001": 2}))
        assert len(whole.latencies["ack.response"]) == 3
        assert [point.counts["sent"] for point in whole.points] == [7, 3]
        assert [len(Latency.decoded(point.latencies["ack"])) for point in whole.points] == [2, 1]
        assert whole.seconds == 2.0

    def test_problems_are_kept_up_to_a_bound_and_all_counted(self) -> None:
        """A thousand players without a gateway are a number, not a thousand lines."""
        tally = Tally()
        for number in range(1000):
            tally.problem(f"bot-{number}", "not connected")
        tally.problem("bot-1", "and again")
        tally.problem("bot-999", "and again")
        assert tally.counts["problems"] == 1000
        assert len(tally.problems) == 20
        assert tally.problems["bot-1"] == "not connected; and again"
