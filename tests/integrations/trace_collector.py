"""A collector of traces: OTLP over HTTP with protobuf, as OpenTelemetry's exporters send it."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from tests.support.serving import until
from worker.observability import tracing
from worker.settings import WorkerSettings


class ReceivedSpan(NamedTuple):
    service: str
    name: str
    trace: str
    id: str
    parent: str  # id of the parent; empty for a root
    attributes: dict[str, Any]
    links: list[str]  # ids of the linked traces
    failed: bool
    began: int  # ns
    ended: int


class Collector:
    """Answers requests only while `is_open` is set."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.is_open = threading.Event()
        self.is_open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.is_open.wait()
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.spans += read_spans(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ACGAN_TRACING": "on",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.address,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, number: int = 1) -> list[ReceivedSpan]:
        until(f"{number} spans {name!r} arrive", lambda: len(self.named(name)) >= number)
        return self.named(name)

    def tree(self) -> set[tuple[str, str]]:
        """Pairs: the path of a span's ancestors, and its name. Ancestors that were not received are `?`."""
        known = {span.id: span for span in self.spans}

        def path(span: ReceivedSpan) -> str:
            if not span.parent:
                return ""
            above = known.get(span.parent)
            return f"{path(above)}/{above.name}" if above else "?"

        return {(path(span), span.name) for span in self.spans}


def read_spans(body: bytes) -> Iterator[ReceivedSpan]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = attributes_of(resource.resource)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    attributes_of(span),
                    [link.trace_id.hex() for link in span.links],
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                )


def attributes_of(described: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in described.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.is_open.set()
        collector.server.shutdown()
        collector.server.server_close()


@contextmanager
def exporting(collector: Collector, settings: WorkerSettings, service: str) -> Iterator[Collector]:
    """Export the spans of this process. They have arrived when the context ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in collector.environment.items():
            patch.setenv(name, value)
        tracing.start(settings.model_copy(update={"tracing": True}), service)
        try:
            yield collector
        finally:
            tracing.stop()
