"""Tracing of what is published: publishers that stand before the plain ones when tracing is on, and not at all otherwise."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from gamebus.delivery.durable_outbox import Headers, Written
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_buffer import DropReason
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.errors import OutcomeUnknown, PublishFailed
from gamebus.record import decode_durable
from gamebus.settings import TracingSettings
from gamebus.telemetry.tracing import Tracing, open_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def tracing_by(settings: TracingSettings, *, service: str, instance: str) -> Tracing | None:
    """Tracing as the settings have it; None when it is off.

    Raises:
        ConfigurationError: it is on, and OpenTelemetry is not installed.
    """
    if not settings.enabled:
        return None
    return open_tracing(
        service=service,
        instance=instance,
        endpoint=settings.endpoint,
        durable_ratio=settings.durable_ratio,
        realtime_ratio=settings.realtime_ratio,
    )


class TracedDurablePublisher:
    """:meth:`DurablePublisher.publish`, within a span that ends with the outcome."""

    def __init__(self, publisher: DurablePublisher, tracing: Tracing) -> None:
        self._publisher = publisher
        self._tracing = tracing

    def publish(self, topic: str, key: bytes, value: bytes, headers: Headers = ()) -> asyncio.Future[Written]:
        """See :meth:`DurablePublisher.publish`."""
        if not self._tracing.sampled(self._tracing.durable_ratio):
            return self._publisher.publish(topic, key, value, headers)
        record = decode_durable(value)
        span, context = self._tracing.publish(topic, type_=record.type, room=record.room, id_=record.id)
        try:
            written = self._publisher.publish(topic, key, value, (*headers, *context))
        except PublishFailed as error:
            self._tracing.fail(span, error.code, str(error))
            span.end()
            raise
        written.add_done_callback(partial(self._end, span))
        return written

    def _end(self, span: Span, outcome: asyncio.Future[Written]) -> None:
        try:
            written = outcome.result()
        except PublishFailed as error:
            self._tracing.fail(span, error.code, str(error))
        except (OutcomeUnknown, asyncio.CancelledError) as error:
            self._tracing.fail(span, "unknown_outcome", str(error))
        else:
            span.set_attribute("messaging.destination.partition.id", str(written.partition))
            span.set_attribute("messaging.kafka.offset", written.offset)
        span.end()


class TracedRealtimePublisher:
    """:meth:`RealtimePublisher.publish`, with a span of the events that are sampled.

    The span ends when the event is buffered or dropped: nobody hears more of an event that is written once.
    """

    def __init__(self, publisher: RealtimePublisher, tracing: Tracing) -> None:
        self._publisher = publisher
        self._tracing = tracing

    def publish(self, event_type: str, room: str, player: str, server_ms: int, data: Any) -> DropReason | None:
        """See :meth:`RealtimePublisher.publish`."""
        tracing, publisher = self._tracing, self._publisher
        if not tracing.sampled(tracing.realtime_ratio):
            return publisher.publish(event_type, room, player, server_ms, data)
        span, context = tracing.publish(publisher.topic(event_type), type_=event_type, room=room)
        dropped = publisher.publish(event_type, room, player, server_ms, data, [*context])
        if dropped is not None:
            tracing.fail(span, dropped)
        span.end()
        return dropped
