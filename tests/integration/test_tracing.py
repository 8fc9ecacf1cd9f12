"""Traces through a real gateway, Kafka and processor, as a collector receives them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topics
from tests.integration.gateway_kit import GatewayProcess, environment, player

PATIENCE_S = 60.0


@contextmanager
def collector() -> Iterator[tuple[str, queue.Queue[tuple[str, Any]]]]:
    """A collector of OTLP over HTTP: its URL, and the spans that it is sent, each with the name of its service."""
    spans: queue.Queue[tuple[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in request.resource_spans:
                (service,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        spans.put((service, span))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class TestTracing:
    async def test_an_event_is_one_trace_from_the_gateway_to_the_processor(
        self, bootstrap_servers: str, redis_url: str, topic_prefix: str, tmp_path: Path
    ) -> None:
        """Of both classes: the processor's span is in the trace of the gateway's and linked to it, by the record's header."""
        await create_topics(bootstrap_servers, parse_catalog(topic_prefix=topic_prefix))
        with collector() as (endpoint, spans):
            settings = environment(kafka=bootstrap_servers, redis=redis_url, prefix=topic_prefix) | {
                "GAMEBUS_KAFKA__GROUP_PREFIX": topic_prefix,
                "GAMEBUS_TRACING__ENABLED": "true",
                "GAMEBUS_TRACING__ENDPOINT": endpoint,
                "GAMEBUS_TRACING__REALTIME_RATIO": "1",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            }
            gateway = GatewayProcess(settings, tmp_path)
            processor = GatewayProcess(settings, tmp_path, command=("processor", "all"))
            try:
                gateway.wait_until_ready()
                processor.wait_until_ready()
                async with player(gateway.url, room="arena") as alice:
                    await alice.send("pub", "chat", "arena", {"text": "hello"}, "1")
                    await alice.wait_for("ack")
                    await alice.send("pub", "position", "arena", [1, 0.0, 0.0, 0.0])
                    await alice.ping()
                found: dict[str, Any] = {}
                wanted = {f"{name} {topic_prefix}{topic}" for name, topic in WANTED}
                deadline = time.monotonic() + PATIENCE_S
                while wanted - found.keys():
                    service, span = spans.get(timeout=max(0.1, deadline - time.monotonic()))
                    assert service == ("processor-all" if span.name.startswith("process ") else "gateway")
                    found[span.name] = span
            finally:
                gateway.close()
                processor.close()

        for topic in ("chat", "position"):
            publish, process = found[f"publish {topic_prefix}{topic}"], found[f"process {topic_prefix}{topic}"]
            assert process.trace_id == publish.trace_id
            assert process.parent_span_id == publish.span_id
            assert [link.span_id for link in process.links] == [publish.span_id]
        assert found[f"send {topic_prefix}chat"].parent_span_id == found[f"publish {topic_prefix}chat"].span_id


WANTED = (("publish", "chat"), ("send", "chat"), ("process", "chat"), ("publish", "position"), ("process", "position"))
