"""Requirements of the reports of publishers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamebus.delivery import reports
from gamebus.delivery.reports import LatestReports, Report, Reporter, StreamReport, decode_report, encode_report
from gamebus.errors import OutcomeUnknown, PublishFailed, RecordError

_COUNTS = st.integers(0, 2**40)


def _streams(boot: str) -> st.SearchStrategy[tuple[StreamReport, ...]]:
    drops = st.dictionaries(st.sampled_from(["expired", "no_leader"]), _COUNTS)
    stream = st.tuples(st.sampled_from(["t1", "t2"]), st.integers(0, 20), _COUNTS, drops)
    return st.lists(stream, unique_by=lambda item: item[:2]).map(
        lambda items: tuple(sorted((StreamReport(boot, *item) for item in items), key=lambda one: one.topic))
    )


def _report(boot: str, sent_ms: int = 2, *, final: bool = False) -> Report:
    return Report(boot, 1, sent_ms, final, (StreamReport(boot, "t", 0, 5, {"expired": 2}),))


class TestEncoding:
    @given(streams=_streams("boot"), started_ms=_COUNTS, sent_ms=_COUNTS, final=st.booleans())
    def test_what_is_sent_is_what_is_read(
        self, streams: tuple[StreamReport, ...], started_ms: int, sent_ms: int, final: bool
    ) -> None:
        """A report survives the way through Kafka."""
        report = Report("boot", started_ms, sent_ms, final, streams)
        assert decode_report(encode_report(report)) == report

    @pytest.mark.parametrize(
        "value",
        [
            None,
            b"",
            b"\xc1",
            msgpack.packb([2, "boot", 1, 2, False, []]),
            msgpack.packb([1, "boot", 1, 2, False]),
            msgpack.packb([1, "boot", 1, 2, False, [["t", [[0, 1]]]]]),
            msgpack.packb([1, "boot", 1, 2, False, [["t", [[0, 1, {"expired": "many"}]]]]]),
            msgpack.packb({"not": "a report"}),
        ],
    )
    def test_refuses_everything_else(self, value: bytes | None) -> None:
        """A poison record on the reports topic is named as such."""
        with pytest.raises(RecordError):
            decode_report(value)


class TestLatestReports:
    def test_keeps_the_newest_of_each_boot(self) -> None:
        """Reports are cumulative, so the last one says all."""
        latest = LatestReports()
        for report in (_report("a", 1), _report("b", 2), _report("a", 3)):
            assert latest.take(encode_report(report)) == report

        assert list(latest) == [_report("b", 2), _report("a", 3)]

    def test_passes_over_poison(self) -> None:
        """What is no report is counted and otherwise ignored."""
        latest = LatestReports()
        assert latest.take(b"poison") is None
        assert (latest.invalid, list(latest)) == (1, [])

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The boot that was silent for longest is forgotten first."""
        monkeypatch.setattr(reports, "MAX_BOOTS", 2)
        latest = LatestReports()
        for boot in "abac":
            latest.take(encode_report(_report(boot)))

        assert [report.boot for report in latest] == ["a", "c"]


class _Source:
    def stream_reports(self) -> list[StreamReport]:
        return [StreamReport("a", "t", 0, 5, {})]


class _Sink:
    """Takes reports; the first ones end with the errors it was given."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.reports: list[Report] = []

    def publish(self, topic: str, key: bytes, value: bytes) -> asyncio.Future[Any]:
        assert (topic, key) == ("reports", b"a")
        if self._errors and isinstance(self._errors[0], PublishFailed):
            raise self._errors.pop(0)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._errors:
            future.set_exception(self._errors.pop(0))
        else:
            self.reports.append(decode_report(value))
            future.set_result(None)
        return future


class TestReporter:
    async def test_the_final_report_is_repeated_until_it_is_acknowledged(self) -> None:
        """A stream that ended in order says so, also when a broker was away for a moment."""
        sink = _Sink(PublishFailed("overloaded", "full", retry_ms=1), OutcomeUnknown("who knows"))
        reporter = Reporter(_Source(), sink, topic="reports", boot="a")

        assert await reporter.finish()
        assert [report.final for report in sink.reports] == [True]
        assert (reporter.sent, reporter.failed) == (1, 2)

    async def test_says_the_generation_that_held_before_the_streams_were_looked_at(self) -> None:
        """So the streams are at least as far as what the generation promises is decided."""
        order: list[str] = []

        class Source:
            def stream_reports(self) -> list[StreamReport]:
                order.append("streams")
                return []

        def generation() -> int:
            order.append("generation")
            return 7

        sink = _Sink()
        reporter = Reporter(Source(), sink, topic="reports", boot="a", generation=generation)

        assert await reporter.finish()
        assert [report.generation for report in sink.reports] == [7]
        assert order == ["generation", "streams"]

    async def test_the_final_report_has_a_deadline(self) -> None:
        """A process does not hang in its shutdown because Kafka is away."""
        errors = [PublishFailed("unavailable", "away", retry_ms=None) for _ in range(1000)]
        reporter = Reporter(_Source(), _Sink(*errors), topic="reports", boot="a")

        assert not await reporter.finish(deadline_s=0.05)

    async def test_announces_its_process_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that waits for it is known before it publishes; a first report that fails is sent again without delay."""
        monkeypatch.setattr(reports, "INTERVAL_S", 3_600)
        sink = _Sink(PublishFailed("unavailable", "away", retry_ms=None), OutcomeUnknown("who knows"))
        reporter = Reporter(_Source(), sink, topic="reports", boot="a")
        running = asyncio.create_task(reporter.run())
        async with asyncio.timeout(30):
            await reporter.announced.wait()
        running.cancel()
        await asyncio.wait((running,))

        assert [report.final for report in sink.reports] == [False]
        assert reporter.failed == 2

    async def test_a_failed_report_does_not_end_the_reporting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next report says more than the one that failed."""
        monkeypatch.setattr(reports, "INTERVAL_S", 0.001)
        sink = _Sink(OutcomeUnknown("who knows"))
        reporter = Reporter(_Source(), sink, topic="reports", boot="a")
        running = asyncio.create_task(reporter.run())
        async with asyncio.timeout(30):
            while len(sink.reports) < 2:  # noqa: ASYNC110 - the sink has no event
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait((running,))

        assert reporter.failed == 1
        assert not any(report.final for report in sink.reports)
