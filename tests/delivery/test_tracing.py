"""What is published is traced, or is not touched."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gamebus.delivery.durable_outbox import Headers, Written
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.delivery.tracing import TracedDurablePublisher, TracedRealtimePublisher, tracing_by
from gamebus.errors import OutcomeUnknown, PublishFailed
from gamebus.record import DurableRecord, encode_durable
from gamebus.settings import TracingSettings
from tests.telemetry.tracing_kit import TOPIC, traced

VALUE = encode_durable(DurableRecord("chat", "arena", "ann", 5, "ann", "1", {"text": "hi"}))


class HandDurable:
    """Takes records; a test decides what becomes of them."""

    def __init__(self) -> None:
        self.headers: list[Headers] = []
        self.refusal: PublishFailed | None = None
        self.outcome: asyncio.Future[Written] = asyncio.get_running_loop().create_future()

    def publish(self, topic: str, key: bytes, value: bytes, headers: Headers = ()) -> asyncio.Future[Written]:
        self.headers.append(headers)
        if self.refusal is not None:
            raise self.refusal
        return self.outcome


class HandRealtime:
    """Takes events, or drops them."""

    def __init__(self) -> None:
        self.headers: list[Any] = []
        self.dropped: DropReason | None = None

    def topic(self, event_type: str) -> str:
        if event_type != "position":
            raise ValueError(event_type)
        return TOPIC

    def publish(self, event_type: str, *event: Any) -> DropReason | None:
        self.topic(event_type)
        self.headers.append(event[4] if len(event) > 4 else [])
        return self.dropped


class TestTracedDurablePublisher:
    async def test_the_span_lasts_until_the_ack(self) -> None:
        """From taking the event to its ack, with the place where it stands then."""
        tracing, ended = traced()
        inner = HandDurable()

        written = TracedDurablePublisher(cast("DurablePublisher", inner), tracing).publish(TOPIC, b"arena", VALUE)
        assert [name for name, _ in inner.headers[0]] == ["traceparent"]
        assert not ended()
        inner.outcome.set_result(Written(TOPIC, 3, 7, 5))
        await written
        await asyncio.sleep(0)

        attributes = ended()[f"publish {TOPIC}"].attributes or {}
        assert attributes["messaging.message.id"] == "1"
        assert attributes["messaging.kafka.offset"] == 7

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (PublishFailed("unavailable", "away", retry_ms=1), "unavailable"),
            (OutcomeUnknown("late"), "unknown_outcome"),
        ],
    )
    async def test_a_publish_that_fails_says_so(self, error: Exception, kind: str) -> None:
        """The span has the code that the client is told."""
        tracing, ended = traced()
        inner = HandDurable()

        written = TracedDurablePublisher(cast("DurablePublisher", inner), tracing).publish(TOPIC, b"arena", VALUE)
        inner.outcome.set_exception(error)
        await asyncio.wait([written])
        await asyncio.sleep(0)

        assert (ended()[f"publish {TOPIC}"].attributes or {})["error.type"] == kind
        assert written.exception() is error

    async def test_a_refusal_is_passed_on(self) -> None:
        """What was not even taken is a span, too, and the caller hears of it as ever."""
        tracing, ended = traced()
        inner = HandDurable()
        inner.refusal = PublishFailed("overloaded", "full", retry_ms=1)

        with pytest.raises(PublishFailed):
            TracedDurablePublisher(cast("DurablePublisher", inner), tracing).publish(TOPIC, b"arena", VALUE)

        assert (ended()[f"publish {TOPIC}"].attributes or {})["error.type"] == "overloaded"

    async def test_what_is_not_sampled_is_not_touched(self) -> None:
        """No span and no header, so nobody after the gateway makes a span either."""
        tracing, ended = traced(ratio=0)
        inner = HandDurable()

        TracedDurablePublisher(cast("DurablePublisher", inner), tracing).publish(TOPIC, b"arena", VALUE)

        assert inner.headers == [()]
        inner.outcome.cancel()
        assert not ended()


class TestTracedRealtimePublisher:
    def publisher(self, ratio: float = 1.0) -> tuple[HandRealtime, TracedRealtimePublisher, Any]:
        tracing, ended = traced(ratio=ratio)
        inner = HandRealtime()
        return inner, TracedRealtimePublisher(cast("RealtimePublisher", inner), tracing), ended

    def test_an_event_that_is_sampled_carries_its_context(self) -> None:
        """The processor continues the trace from the record."""
        inner, publisher, ended = self.publisher()

        assert publisher.publish("position", "arena", "ann", 5, [1, 0, 0, 0]) is None

        assert [name for name, _ in inner.headers[0]] == ["traceparent"]
        assert ended()[f"publish {TOPIC}"].status.is_ok

    def test_a_drop_says_why(self) -> None:
        """The reason of the drop is the error of the span."""
        inner, publisher, ended = self.publisher()
        inner.dropped = DropReason.BACKPRESSURE

        assert publisher.publish("position", "arena", "ann", 5, [1, 0, 0, 0]) is DropReason.BACKPRESSURE

        assert ended()[f"publish {TOPIC}"].attributes["error.type"] == "backpressure"

    @pytest.mark.parametrize("ratio", [0.0, 1.0])
    def test_a_type_that_moved_raises_as_ever(self, ratio: float) -> None:
        """The gateway publishes it as durable then; no span is left open."""
        _, publisher, ended = self.publisher(ratio)

        with pytest.raises(ValueError, match="chat"):
            publisher.publish("chat", "arena", "ann", 5, {})

        assert not ended()

    def test_what_is_not_sampled_is_not_touched(self) -> None:
        """At a ratio of zero nothing is added to any record."""
        inner, publisher, ended = self.publisher(0.0)

        publisher.publish("position", "arena", "ann", 5, [1, 0, 0, 0])

        assert inner.headers == [[]]
        assert not ended()


class TestTracingBy:
    def test_it_is_off_by_default(self) -> None:
        """Nobody traces who did not ask for it."""
        assert tracing_by(TracingSettings(), service="gateway", instance="1") is None
