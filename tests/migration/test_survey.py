"""What a survey makes of the reports of gateways."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

from gamebus.delivery.reports import Report, StreamReport, encode_report
from gamebus.migration.survey import Survey
from gamebus.settings import Settings

LONG_AGO_MS = 60_000


@dataclass
class Record:
    """As the tail hands it over."""

    value: bytes


@dataclass
class Topic:
    """The reports topic, as far as a survey asks for it: where it ends, and how far it was read."""

    written: int = 0
    read: int = 0

    async def ends(self, topic: str, partitions: int) -> dict[int, int]:
        assert (topic, partitions) == ("reports", 1)
        return {0: self.written}

    def position(self, topic: str, partition: int) -> int:
        assert (topic, partition) == ("reports", 0)
        return self.read


def surveyed(*reports: Report, caught_up: bool = True, topic: Topic | None = None) -> Survey:
    """A survey that was given these reports, before or after it had caught up."""
    topic = topic or Topic()
    survey = Survey(Settings(), cast("Any", topic), cast("Any", None), reports_topic="reports", partitions=1)
    survey.reports_tail.position = topic.position  # type: ignore[method-assign]
    if caught_up:
        survey.reports_tail.caught_up.set()
    survey._on_reports("reports", 0, cast("Any", [Record(encode_report(report)) for report in reports]))
    return survey


def report(boot: str, generation: int, *, final: bool = False, age_ms: int = 0) -> Report:
    sent_ms = int(time.time() * 1000) - age_ms
    return Report(boot, 1, sent_ms, final, (StreamReport(boot, "t", 0, 5, {}),), generation)


class TestBehind:
    async def test_names_those_that_live_and_have_not_followed(self) -> None:
        """By their last report; whoever follows, or has ended, is not waited for."""
        survey = surveyed(report("old", 3), report("new", 4), report("gone", 3, final=True), report("late", 3))
        assert await survey.behind(4) == ("old", "late")

        survey._on_reports("reports", 0, cast("Any", [Record(encode_report(report("late", 4)))]))
        assert await survey.behind(4) == ("old",)

    async def test_a_gateway_that_was_silent_for_long_is_gone(self) -> None:
        """By the time of its last report, where that was read back."""
        survey = surveyed(report("killed", 3, age_ms=LONG_AGO_MS), report("lives", 3), caught_up=False)

        assert await survey.behind(4) == ("lives",)

    async def test_what_is_heard_now_is_alive_whatever_its_clock_says(self) -> None:
        """Its clock may be wrong; that it reports is not."""
        assert await surveyed(report("slow", 3, age_ms=LONG_AGO_MS)).behind(4) == ("slow",)

    async def test_reads_what_was_reported_before_it_was_asked(self) -> None:
        """A gateway that reported a moment ago, and was not read yet, is not passed over."""
        topic = Topic(written=1, read=0)
        survey = surveyed(topic=topic)
        asked = asyncio.create_task(survey.behind(4))
        await asyncio.wait((asked,), timeout=0.05)
        assert not asked.done()

        topic.read = 1
        survey._on_reports("reports", 0, cast("Any", [Record(encode_report(report("young", 3)))]))
        assert await asked == ("young",)
