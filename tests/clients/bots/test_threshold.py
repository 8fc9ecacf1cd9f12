"""Thresholds: what is written, what it means, and what is refused."""

from __future__ import annotations

import pytest

from gamebus_bots.metrics import known_names, measure
from gamebus_bots.tally import Tally
from gamebus_bots.threshold import Threshold, ThresholdError


def figures(**given: float | None) -> dict[str, float | None]:
    return measure(Tally()) | given


class TestParse:
    @pytest.mark.parametrize(
        ("text", "metric", "operator", "limit", "percent"),
        [
            ("position_p99<100ms", "position_p99", "<", 100.0, False),
            ("position_p99 < 0.1s", "position_p99", "<", 100.0, False),
            ("send_lag_p99<=5", "send_lag_p99", "<=", 5.0, False),
            ("ack_service_p50<500us", "ack_service_p50", "<", 0.5, False),
            ("acked>=1000", "acked", ">=", 1000.0, False),
            ("gaps==0", "gaps", "==", 0.0, False),
            ("errors<1%", "errors", "<", 1.0, True),
            ("received_per_s>10.5", "received_per_s", ">", 10.5, False),
        ],
    )
    def test_what_it_means(self, text: str, metric: str, operator: str, limit: float, percent: bool) -> None:
        """Figure, comparison, number, unit."""
        parsed = Threshold.parse(text)
        assert (parsed.metric, parsed.operator, parsed.limit, parsed.percent) == (metric, operator, limit, percent)

    @pytest.mark.parametrize("name", known_names())
    def test_every_figure_can_be_asked_for(self, name: str) -> None:
        """And a run has each of them."""
        Threshold.parse(f"{name}<1").judge(figures())

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("position_p98<100ms", "did you mean position_p9"),
            ("wibble<1", "there are position, ack, chat"),
            ("position_p99", "position_p99<100ms"),
            ("position_p99<fast", "number"),
            ("gaps<1%", "only errors, dropped"),
            ("gaps<1ms", "gaps is no time"),
            ("position_p99<1%", "only errors"),
            ("", "is no threshold"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, words: str) -> None:
        """With what is known."""
        with pytest.raises(ThresholdError, match=words):
            Threshold.parse(text)


class TestJudge:
    def test_compares(self) -> None:
        """Kept or crossed, with the figure and its unit."""
        judged = Threshold.parse("ack_p99<10ms").judge(figures(ack_p99=10.0))
        assert (judged.kept, judged.value, judged.unit) == (False, 10.0, "ms")
        assert Threshold.parse("ack_p99<=10ms").judge(figures(ack_p99=10.0)).kept

    def test_a_share_is_of_what_was_tried(self) -> None:
        """Errors among all realtime and durable events."""
        judged = Threshold.parse("errors<1%").judge(figures(errors=2, attempted=150, published=50))
        assert (judged.kept, judged.value, judged.unit) == (False, 1.0, "%")

    def test_without_samples_it_is_crossed(self) -> None:
        """Nothing measured is nothing kept."""
        assert not Threshold.parse("ack_p99<10ms").judge(figures()).kept
        assert not Threshold.parse("errors<1%").judge(figures()).kept
