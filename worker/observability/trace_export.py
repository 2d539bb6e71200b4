"""The export of spans to an OpenTelemetry collector, by OTLP over HTTP. Needs the extra `tracing`.

OpenTelemetry's SDK reads its standard variables: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER
and others.
"""

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from models.version import code_version

logger = logging.getLogger(__name__)

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"  # its logger
UNNAMED = "unknown_service"  # the SDK's name if OTEL_SERVICE_NAME is not set


def make_provider(service: str, exporter: Any = None) -> TracerProvider | None:
    """Make a provider that exports by OTLP, or with another exporter. `service` applies if the environment has no name.

    Returns None, and logs the reason, if the SDK rejects a variable.
    """
    try:
        found = Resource.create({SERVICE_VERSION: code_version()})
        unnamed = str(found.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED)
        resource = found.merge(Resource({SERVICE_NAME: service})) if unnamed else found
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(ReportingExporter(exporter or OTLPSpanExporter())))
    except (ValueError, OSError) as error:
        logger.error("no traces are exported, because OpenTelemetry rejects its settings: %s", error)
        return None
    return provider


class FirstMessage(logging.Handler):
    """Keeps the first message of an export, which names the cause; the later ones name the retries."""

    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.message = self.message or record.getMessage()


class ReportingExporter(SpanExporter):
    """Logs the first failed export and the next that succeeds. The library would log each attempt."""

    def __init__(self, exporter: Any) -> None:
        self.exporter = exporter
        self.fails = False
        self.reason = FirstMessage()
        library = logging.getLogger(EXPORTER)
        library.handlers, library.propagate = [self.reason], False

    def export(self, spans: Sequence[Any]) -> Any:
        self.reason.message = ""
        result = self.exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self.fails:
            logger.warning("spans are lost until the collector of traces accepts them: %s", self.reason.message)
        elif self.fails and not fails:
            logger.info("the collector of traces accepts spans again")
        self.fails = fails
        return result

    def shutdown(self) -> None:
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        done: bool = self.exporter.force_flush(timeout_millis)
        return done
