"""Tracing: spans of OpenTelemetry for an event's way from the gateway through Kafka to the processor.

Guarantees: who does not ask for it pays nothing (OpenTelemetry is not even imported), and no exporter can hold an event up: spans
wait in a bounded queue for a thread of their own, and past its bound they are dropped.

Every event that is sampled makes one trace, by the conventions for messaging:

==================  ========  =======================================================================
publish {topic}     producer  from taking the event to its outcome; its context travels in the record
send {topic}        client    below it, one for each time that Kafka was handed the record
process {topic}     consumer  below it, and linked to it: from reading the record to its end
==================  ========  =======================================================================

The context is the header `traceparent` of the Kafka record (W3C Trace Context). Readers that do not know it ignore it.

Sources: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from gamebus.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

T = TypeVar("T")
Headers = Sequence[tuple[str, bytes]]

TRACEPARENT: Final = "traceparent"

_EXPORT_TIMEOUT_S: Final = 2.0
_CLOSE_TIMEOUT_S: Final = 5.0


class ReadRecord(Protocol):
    """A record as read from Kafka."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Tracing:
    """Makes the spans of one process.

    Args:
        provider: where spans go.
        durable_ratio, realtime_ratio: which share of the events of a class is sampled, 0..1. The gateway decides, and everyone after
            it keeps to that: what is not sampled carries no context.
    """

    def __init__(self, provider: TracerProvider, *, durable_ratio: float, realtime_ratio: float) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.durable_ratio = durable_ratio
        self.realtime_ratio = realtime_ratio
        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("gamebus", version("gamebus"))
        self._propagator = TraceContextTextMapPropagator()
        # Spans of what is processed now. Bounded as that is.
        self._processing: dict[tuple[str, int, int], Span] = {}

    @staticmethod
    def sampled(ratio: float) -> bool:
        """Whether the event at hand is traced."""
        return random.random() < ratio  # noqa: S311 - a sample is no secret

    def publish(self, topic: str, *, type_: str, room: str, id_: str | None = None) -> tuple[Span, Headers]:
        """Begin the span of an event that was taken; whoever asks ends it. Returns the headers that carry its context, too."""
        attributes: dict[str, Any] = {"gamebus.event.type": type_, "gamebus.room": room}
        if id_ is not None:
            attributes["messaging.message.id"] = id_
        span = self._start("publish", "create", topic, self._trace.SpanKind.PRODUCER, **attributes)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._trace.set_span_in_context(span))
        return span, [(name, value.encode()) for name, value in carrier.items()]

    async def sending(self, topic: str, partition: int, records: Iterable[Headers], sent: Awaitable[T]) -> T:
        """Await a batch that Kafka was handed, within a span for each record that is traced."""
        kind = self._trace.SpanKind.CLIENT
        contexts = [context for headers in records if (context := self._context(headers)) is not None]
        partition_id = {"messaging.destination.partition.id": str(partition)}
        spans = [self._start("send", "send", topic, kind, context, **partition_id) for context in contexts]
        return await self._within(spans, sent)

    async def processing(self, group: str, records: Iterable[ReadRecord], processed: Awaitable[T]) -> T:
        """Await the end of the work on records, within a span for each of them that is traced.

        An error that the work returns counts for all of them, as one that it raises.
        """
        spans = {}
        for record in records:
            context = self._context(record.headers)
            if context is not None:
                spans[record.topic, record.partition, record.offset] = self._start(
                    "process",
                    "process",
                    record.topic,
                    self._trace.SpanKind.CONSUMER,
                    context,
                    links=[self._trace.Link(self._trace.get_current_span(context).get_span_context())],
                    **{
                        "messaging.consumer.group.name": group,
                        "messaging.destination.partition.id": str(record.partition),
                        "messaging.kafka.offset": record.offset,
                    },
                )
        self._processing |= spans
        try:
            return await self._within(list(spans.values()), processed)
        finally:
            for place in spans:
                self._processing.pop(place, None)

    def refused(self, record: ReadRecord, error: BaseException) -> None:
        """Say of a record that is processed now that it could not be."""
        span = self._processing.get((record.topic, record.partition, record.offset))
        if span is not None:
            self.fail(span, _kind(error), str(error))

    def fail(self, span: Span, kind: str, message: str | None = None) -> None:
        """Say in a span that it ends with an error."""
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.StatusCode.ERROR, message)

    async def close(self) -> None:
        """Export what is left, within a deadline. Spans that end later are dropped."""

        def shut_down() -> None:
            self._provider.force_flush(int(_EXPORT_TIMEOUT_S * 1000))
            self._provider.shutdown()

        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.to_thread(shut_down)
        except TimeoutError:
            pass

    def _start(
        self,
        operation: str,
        type_: str,
        topic: str,
        kind: Any,
        context: Context | None = None,
        links: Any = (),
        **more: Any,
    ) -> Span:
        return self._tracer.start_span(
            f"{operation} {topic}",
            # Not what happens to be current in this task: an event is a trace of its own.
            context=context if context is not None else self._trace.set_span_in_context(self._trace.INVALID_SPAN),
            kind=kind,
            links=links,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": operation,
                "messaging.operation.type": type_,
                "messaging.destination.name": topic,
                **more,
            },
        )

    def _context(self, headers: Headers) -> Context | None:
        """The context that a record carries; None when it carries none that can be read."""
        for name, _ in headers:
            if name == TRACEPARENT:
                break
        else:
            return None
        carrier = {name: value.decode("latin-1") for name, value in headers if value is not None}
        context = self._propagator.extract(carrier)
        return context if self._trace.get_current_span(context).get_span_context().is_valid else None

    async def _within(self, spans: Sequence[Span], work: Awaitable[T]) -> T:
        error: BaseException | None = None
        try:
            result = await work
        except BaseException as raised:
            error = raised
            raise
        else:
            error = result if isinstance(result, Exception) else None
            return result
        finally:
            for span in spans:
                if error is not None:
                    self.fail(span, _kind(error), str(error))
                span.end()


def _kind(error: BaseException) -> str:
    return type(error).__name__


def open_tracing(*, service: str, instance: str, endpoint: str, durable_ratio: float, realtime_ratio: float) -> Tracing:
    """Trace by OTLP over HTTP. The usual `OTEL_...` variables of the exporter (headers, certificates) count, too.

    Args:
        service, instance: name the process among others.
        endpoint: URL of the collector, path included.
    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import DEFAULT_ON
    except ImportError as error:
        raise ConfigurationError(
            f"tracing is on, and OpenTelemetry is not installed ({error}): pip install 'gamebus[tracing]', or set "
            "GAMEBUS_TRACING__ENABLED=false"
        ) from None
    resource = Resource.create(
        {
            "service.name": service,
            "service.namespace": "gamebus",
            "service.instance.id": instance,
            "service.version": version("gamebus"),
        }
    )
    provider = TracerProvider(resource=resource, sampler=DEFAULT_ON, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)))
    return Tracing(provider, durable_ratio=durable_ratio, realtime_ratio=realtime_ratio)
