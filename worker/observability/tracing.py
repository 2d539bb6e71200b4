"""Traces of requests and jobs with OpenTelemetry. They are off by default; nothing here then imports OpenTelemetry.

The trace of a job begins with the request for it. The record of the job carries the context of its trace to the worker
(`traceparent`, as in W3C Trace Context), and the message of a shard carries it to other workers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from worker.observability.background_loops import Supervisor
from worker.settings import WorkerSettings

if TYPE_CHECKING:  # slow to load
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Attributes = Mapping[str, str | int | float | bool]

TRACEPARENT = "traceparent"
JOB, ATTEMPT, EPOCH, PART = "acgan.job", "acgan.attempt", "acgan.epoch", "acgan.part"  # attributes
FLUSH_SECONDS = 3.0  # for the spans that are left at the end of a process

_provider: Any = None  # of the SDK; None if tracing is off
_tracer: Any = None  # of the provider


def start(settings: WorkerSettings, service: str) -> "TracerProvider | None":
    """Begin to export spans of this process, under this name of a service. Returns None if tracing is off."""
    global _provider, _tracer
    if settings.tracing:
        from worker.observability import trace_export

        _provider = trace_export.make_provider(service)
        _tracer = _provider and _provider.get_tracer("acgan")
    provider: TracerProvider | None = _provider
    return provider


def stop() -> None:
    """Export the spans that are left, and end. Waits at most FLUSH_SECONDS for the collector."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        supervisor = Supervisor()
        supervisor.start_thread("trace flush", lambda _: provider.shutdown()).join(FLUSH_SECONDS)
        supervisor.stop()


def span(
    name: str, attributes: Attributes | None = None, parent: str | None = None
) -> AbstractContextManager[object, bool | None]:
    """Measure the `with` block as a child of the current span, or of `parent`, a `traceparent`.

    An empty or invalid `parent` begins a new trace.
    """
    return nullcontext() if _provider is None else _measured(name, attributes or {}, parent)


def traced(name: str, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function whose calls are measured."""

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with span(name):
            return function(*args, **kwargs)

    return call


@contextmanager
def _measured(name: str, attributes: Attributes, parent: str | None) -> Iterator[None]:
    from opentelemetry.trace import StatusCode

    context = None if parent is None else _context(parent)
    with _tracer.start_as_current_span(
        name,
        context,
        attributes=attributes,
        record_exception=False,  # its message may contain addresses and passwords
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(StatusCode.ERROR)
            raise


def record(name: str, began: datetime, ended: datetime, attributes: Attributes, parent: str) -> None:
    """Add a span of the past."""
    if _provider is not None:
        past = _tracer.start_span(name, _context(parent), attributes=attributes, start_time=_nanoseconds(began))
        past.end(_nanoseconds(ended))


def note(attributes: Attributes, failed: bool = False) -> None:
    """Add attributes to the current span."""
    if _provider is not None:
        from opentelemetry.trace import StatusCode, get_current_span

        current = get_current_span()
        current.set_attributes(attributes)
        if failed:
            current.set_status(StatusCode.ERROR)


def link(traceparent: str | None) -> None:
    """Link the current span to that of another trace. Ignores an invalid `traceparent`."""
    if _provider is not None:
        from opentelemetry.trace import get_current_span

        other = get_current_span(_context(traceparent or "")).get_span_context()
        if other.is_valid:
            get_current_span().add_link(other)


def traceparent() -> str:
    """Return the context of the current span, 55 characters; empty if there is none, or if tracing is off."""
    carrier = dict[str, str]()
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT, "")


def headers() -> dict[str, str]:
    """Return the headers of a message that belongs to the current span."""
    current = traceparent()
    return {TRACEPARENT: current} if current else {}


def trace_id() -> str:
    """Return the id of the current trace, 32 hexadecimal digits; empty if there is none, or if tracing is off."""
    if _provider is None:
        return ""
    from opentelemetry.trace import format_trace_id, get_current_span

    current = get_current_span().get_span_context()
    return format_trace_id(current.trace_id) if current.is_valid else ""


def _context(traceparent: str) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}, Context())


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e6) * 1000
