"""The Prometheus metrics of the API, with the labelled children that are updated on every request.

Other modules call `inc`, `set` or `observe` on the names in this module. These calls take only a short lock.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

import worker.observability.prometheus  # noqa: F401  # must be imported before the first metric
from models.sampling.formats import FORMATS

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series of counters and have no use here

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DIGITS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# ----------------------------------------------------------------------------
# Requests: see app/middleware/request_log.py.

REQUESTS = Counter("acgan_http_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "acgan_http_request_seconds",
    "Seconds from the arrival of a request to the start of its response.",
    ["route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
REQUESTS_IN_FLIGHT = Gauge(
    "acgan_http_requests_in_flight", "Requests in progress, including streams.", registry=REGISTRY
)

_refused = Counter(
    "acgan_http_refusals",
    "Connections closed with an error because a request was malformed, too large or too slow, or there were too many.",
    ["status"],
    registry=REGISTRY,
)
REFUSED = {status: _refused.labels(status) for status in ("400", "408", "413", "431", "503")}

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count a response. `route` is the template of the route, so the number of series is bounded."""
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
# Drawing: updated by the drawing code. Gauges such as the stock are read when Prometheus scrapes:
# see app/api/metrics_collector.py.

DIGITS_DRAWN = Counter("acgan_digits_drawn", "Digits drawn.", registry=REGISTRY)
DRAWING_BATCH = Histogram("acgan_drawing_batch_digits", "Digits per batch.", buckets=DIGITS, registry=REGISTRY)
STOCK_HITS = Counter("acgan_stock_hits", "Requests served from pre-generated digits.", registry=REGISTRY)
STOCK_MISSES = Counter(
    "acgan_stock_misses", "Requests for which there were too few pre-generated digits.", registry=REGISTRY
)

_bytes = Counter("acgan_drawing_bytes", "Bytes of files of digits returned.", ["format"], registry=REGISTRY)
DRAWING_BYTES = {form: _bytes.labels(form) for form in FORMATS}
_loads = Counter("acgan_generator_loads", "Attempts to load a generator, by outcome.", ["outcome"], registry=REGISTRY)
LOADS = {
    outcome: _loads.labels(outcome) for outcome in ("ok", "damaged", "missing", "invalid", "refused", "unreadable")
}
