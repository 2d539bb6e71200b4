"""Every figure that the API tells Prometheus, and the children with labels that are fed on every request.

Whoever feeds one calls `inc`, `set` or `observe` of what is named here; none of them waits for anything but a lock.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

import worker.prometheus  # noqa: F401  # before the first figure

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody asks for

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DIGITS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# ----------------------------------------------------------------------------
# Requests: see app/edge/observation.py.

REQUESTS = Counter("acgan_http_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "acgan_http_request_seconds",
    "Seconds until an answer began.",
    ["route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
REQUESTS_IN_FLIGHT = Gauge(
    "acgan_http_requests_in_flight", "Requests being answered, streams among them.", registry=REGISTRY
)

_refused = Counter(
    "acgan_http_refusals",
    "Connections closed with an answer for what was no proper request, too large, too slow, or one too many.",
    ["status"],
    registry=REGISTRY,
)
REFUSED = {status: _refused.labels(status) for status in ("400", "408", "413", "431", "503")}

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer. `route` is one of the house's templates, of which there are few."""
    key = (method, route, status)
    children = _answered.get(key)
    if children is None:
        name = method if method in METHODS else "other"
        children = (REQUESTS.labels(name, route, str(status)), REQUEST_SECONDS.labels(route))
        if name == method:
            _answered[key] = children
    children[0].inc()
    children[1].observe(seconds)


# ----------------------------------------------------------------------------
# Drawing: fed as it happens. What can be looked up, like the stock, is asked for at the scrape: see app/scrape.py.

DIGITS_DRAWN = Counter("acgan_digits_drawn", "Digits that a generator has drawn.", registry=REGISTRY)
DRAWING_BATCH = Histogram("acgan_drawing_batch_digits", "Digits drawn at once.", buckets=DIGITS, registry=REGISTRY)
STOCK_HITS = Counter("acgan_stock_hits", "Requests that the stock had digits for.", registry=REGISTRY)
STOCK_MISSES = Counter("acgan_stock_misses", "Requests that the stock had too few for.", registry=REGISTRY)

_bytes = Counter("acgan_drawing_bytes", "Bytes of digits' files.", ["format"], registry=REGISTRY)
DRAWING_BYTES = {form: _bytes.labels(form) for form in ("png", "zip", "npy")}
_loads = Counter("acgan_generator_loads", "Generators loaded, and not loaded.", ["outcome"], registry=REGISTRY)
LOADS = {
    outcome: _loads.labels(outcome) for outcome in ("ok", "damaged", "missing", "invalid", "refused", "unreadable")
}
