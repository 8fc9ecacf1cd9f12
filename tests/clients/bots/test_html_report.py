"""The page of a run: what is in it, and that nothing in it can break out."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import gamebus_bots
from gamebus_bots.html_report import html
from gamebus_bots.report import BotsReport, conclude
from gamebus_bots.scenario import Scenario
from gamebus_bots.tally import Point, Tally
from gamebus_bots.threshold import Threshold

EVIL = "</script><img src=x onerror=alert(1)>"


def report(tally: Tally, scenario: Scenario | None = None) -> BotsReport:
    thresholds = [Threshold.parse("ack_p99<10ms")]
    return conclude(
        scenario or Scenario(), tally, thresholds=thresholds, interval_s=1.0, notes=("the broker was killed",)
    )


class TestPage:
    def test_says_what_the_report_says(self) -> None:
        """The document is in it as JSON; failures, notes and thresholds are in words."""
        tally = Tally(counts=Counter(gaps=3), points=[Point(1.0, Counter(sent=20))])
        tally.latencies["ack.response"].record(0.5)
        made = report(tally)
        page = html(made)
        embedded = re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
        assert embedded is not None
        assert json.loads(embedded[1]) == json.loads(json.dumps(made.to_dict()))
        for words in ("promise broken", "Promised and not kept: 3 gaps", "the broker was killed", "✗ crossed"):
            assert words in page

    def test_says_in_a_sentence_how_it_went(self) -> None:
        """For somebody who reads nothing else: whether promises held, and what players felt; or that one did not."""
        kept = Tally(counts=Counter(acked=1_234, delivered=9_876), points=[Point(1.0, Counter(sent=20))])
        kept.latencies["position.response"].record(0.05)
        page = html(report(kept))
        assert "Every promise was kept: 1,234 durable events were acknowledged and reached players 9,876 times" in page
        assert "Half of all positions were seen by the others within 50.0 ms" in page
        broken = html(report(Tally(counts=Counter(acked=1_234, gaps=1))))
        assert "A promise was broken." in broken
        assert "Every promise was kept" not in broken

    def test_names_from_outside_stay_text(self) -> None:
        """Of scenarios, players and refusals."""
        tally = Tally(problems={EVIL: EVIL})
        tally.errors[EVIL] = 1
        page = html(report(tally, Scenario(name=EVIL, about=EVIL)))
        assert "<img src=x" not in page

    def test_needs_nothing_else(self) -> None:
        """No address is loaded from: neither styles, scripts nor pictures."""
        page = html(report(Tally()))
        assert re.findall(r'(?:src|href)="(?!data:)', page) == []
        assert "@import" not in page

    def test_carries_the_dashboards_chart_library(self) -> None:
        """The same files, with their licence."""
        mine = Path(gamebus_bots.__file__).parent / "page" / "vendor"
        theirs = Path(__file__).parents[3] / "gamebus" / "dashboard" / "static" / "vendor"
        for name in ("uplot.js", "uplot.css", "LICENSE.uplot"):
            assert (mine / name).read_bytes() == (theirs / name).read_bytes()
