"""Tracing whose spans a test can look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gamebus.telemetry.tracing import Tracing

TOPIC: Final = "gamebus.chat"


def traced(*, ratio: float = 1.0) -> tuple[Tracing, Callable[[], dict[str, ReadableSpan]]]:
    """Tracing, and what gives its ended spans by name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider, durable_ratio=ratio, realtime_ratio=ratio)
    return tracing, lambda: {span.name: span for span in exporter.get_finished_spans()}
