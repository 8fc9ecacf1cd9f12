"""Spans of an event's way through Kafka."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from aiokafka import ConsumerRecord

from gamebus.errors import ConfigurationError
from gamebus.telemetry.tracing import Headers, open_tracing
from tests.telemetry.tracing_kit import TOPIC, traced


def read(headers: Headers, *, offset: int = 7) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(TOPIC, 3, offset, 1, 0, b"arena", b"", None, 5, 0, tuple(headers))


async def returning(value: object) -> object:
    return value


async def raising(error: Exception) -> None:
    raise error


class TestTracing:
    async def test_an_event_is_one_trace(self) -> None:
        """Publish, send and process have one trace id, by the header of the record; process is linked to what it came from."""
        tracing, ended = traced()

        span, headers = tracing.publish(TOPIC, type_="chat", room="arena", id_="1")
        await tracing.sending(TOPIC, 3, [headers, []], returning(None))
        span.end()
        await tracing.processing("group", [read(headers)], returning(None))

        publish, send, process = (ended()[f"{name} {TOPIC}"] for name in ("publish", "send", "process"))
        assert len({span.context.trace_id for span in (publish, send, process)}) == 1
        assert publish.parent is None
        assert send.parent is not None
        assert process.parent is not None
        assert send.parent.span_id == process.parent.span_id == publish.context.span_id
        assert [link.context.span_id for link in process.links] == [publish.context.span_id]

    def test_the_context_is_that_of_w3c(self) -> None:
        """One header, `traceparent`, as every tracer reads it."""
        tracing, _ = traced()

        span, ((name, value),) = tracing.publish(TOPIC, type_="chat", room="arena")

        context = span.get_span_context()
        assert name == "traceparent"
        assert value.decode() == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    async def test_attributes_are_those_of_the_messaging_conventions(self) -> None:
        """A backend knows topic, partition, offset and consumer group by their usual names."""
        tracing, ended = traced()

        _, headers = tracing.publish(TOPIC, type_="chat", room="arena", id_="1")
        await tracing.processing("gamebus.durable", [read(headers)], returning(None))

        assert dict(ended()[f"process {TOPIC}"].attributes or {}) == {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": TOPIC,
            "messaging.destination.partition.id": "3",
            "messaging.kafka.offset": 7,
            "messaging.consumer.group.name": "gamebus.durable",
        }

    async def test_a_failure_is_in_the_span(self) -> None:
        """What is raised, what is returned as an error, and what is refused alone: each span says so, and others do not."""
        tracing, ended = traced()
        _, headers = tracing.publish(TOPIC, type_="chat", room="arena")
        good, bad = read(headers, offset=1), read(headers, offset=2)

        async def refuse() -> None:
            tracing.refused(bad, ValueError("no weapon"))

        with pytest.raises(OSError, match="away"):
            await tracing.sending(TOPIC, 3, [headers], raising(OSError("away")))
        assert ended()[f"send {TOPIC}"].attributes is not None
        assert not ended()[f"send {TOPIC}"].status.is_ok

        await tracing.processing("group", [bad, good], refuse())
        assert ended()[f"process {TOPIC}"].status.is_ok, "the last one that ended is the good one"

        await tracing.processing("group", [good], returning(OSError("away")))
        assert ended()[f"process {TOPIC}"].status.description == "away"

    @pytest.mark.parametrize("header", [b"", b"00-0-0-00", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
    async def test_a_context_that_cannot_be_read_is_none(self, header: bytes) -> None:
        """Anything can write a header: the record is processed, without a span."""
        tracing, ended = traced()

        done = await tracing.processing("group", [read([("traceparent", header)]), read([])], returning("done"))

        assert done == "done"
        assert not ended()


class TestOpenTracing:
    def test_without_opentelemetry_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Switched on without the extra, a process ends with one line that says how to mend it."""
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

        with pytest.raises(ConfigurationError, match=re.escape("pip install 'gamebus[tracing]'")):
            open_tracing(
                service="gateway", instance="1", endpoint="http://127.0.0.1:1/", durable_ratio=1, realtime_ratio=1
            )

    def test_who_does_not_trace_does_not_import_it(self) -> None:
        """Off by default, and free: gateway and processor load nothing of it but what redis-py does where it is installed (metrics)."""
        code = (
            "import sys, gamebus.cli.gateway, gamebus.cli.processor\n"
            "loaded = [name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))]\n"
            "assert 'gamebus.telemetry.tracing' in sys.modules and not loaded, loaded"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    async def test_a_collector_that_is_away_does_not_hold_the_end_up(self) -> None:
        """A process ends although nobody takes its spans."""
        tracing = open_tracing(
            service="gateway", instance="1", endpoint="http://127.0.0.1:1/v1/traces", durable_ratio=1, realtime_ratio=1
        )
        span, _ = tracing.publish(TOPIC, type_="chat", room="arena")
        span.end()
        await tracing.close()
