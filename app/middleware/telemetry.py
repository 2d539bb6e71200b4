"""FastAPI's own OpenTelemetry traces of requests, without the names of hosts and without queries."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import Span, Tracer, TracerProvider, get_current_span

PROBES = ("/livez", "/readyz", "/metrics")
HIDDEN = ("server.address", "server.port", "url.query")  # a query may contain a key by mistake


def telemetry_config(provider: TracerProvider | None) -> TelemetryConfig:
    """Return FastAPI's configuration. Without a provider, no request has a span."""
    config = TelemetryConfig(
        tracing=provider is not None, metrics=False, logs=False, operation_spans=False, auto_configure=False
    )
    if provider is not None:
        config |= TelemetryConfig(tracer_provider=RequestTracerProvider(provider), exclude=is_probe)
    return config


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope["path"]
    return path.endswith(PROBES)


def name_span(method: str, route: str) -> None:
    """Name the current span after the template of the route. FastAPI does this for the routes that it selects."""
    current = get_current_span()
    if current.is_recording():
        current.update_name(f"{method} {route}")
        current.set_attribute("http.route", route)


class RequestTracerProvider(TracerProvider):
    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider

    def get_tracer(self, *arguments: Any, **options: Any) -> Tracer:
        return RequestTracer(self.provider.get_tracer(*arguments, **options))


class RequestTracer(Tracer):
    """Removes attributes with the name of the host and the query."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def start_span(self, *arguments: Any, **options: Any) -> Span:
        attributes = options.get("attributes") or {}  # FastAPI names its arguments
        options["attributes"] = {key: value for key, value in attributes.items() if key not in HIDDEN}
        return self.tracer.start_span(*arguments, **options)

    def start_as_current_span(self, *arguments: Any, **options: Any) -> Any:
        return self.tracer.start_as_current_span(*arguments, **options)
