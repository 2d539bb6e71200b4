"""The worker's Prometheus port: one thread serves requests, one counts what the training process sends.

Both run in the Celery parent, as supervised background loops. If the port is taken, the worker logs an
error and runs without metrics.
"""

import logging
import time
from collections.abc import Callable

from worker.observability import metrics
from worker.observability.addresses import host_port, http_address
from worker.observability.background_loops import Beat, Supervisor
from worker.observability.metrics_channel import Line
from worker.observability.metrics_server import MetricsServer

logger = logging.getLogger(__name__)

READ_SECONDS = 10.0
QUIET_SECONDS = 60.0  # between two log lines about invalid metrics


def export(host: str, port: int, supervisor: Supervisor) -> Line | None:
    """Start to serve the metrics. Returns the channel for the training process, or None if the port is taken."""
    try:
        server = MetricsServer(host, port, metrics.REGISTRY)
    except OSError as error:
        logger.error(
            "the worker runs without metrics: it cannot listen on %s (%s). "
            "Set another ACGAN_METRICS_PORT: each worker of a machine needs a different port",
            host_port(host, port),
            error.strerror,
        )
        return None
    line = Line()
    supervisor.start_thread("figures", lambda beat: listen(line, beat))
    supervisor.start_thread("metrics port", server.serve)
    logger.info("metrics at %s/metrics", http_address(host, port))
    return line


def listen(line: Line, beat: Beat, clock: Callable[[], float] = time.monotonic) -> None:
    """Apply incoming changes, forever. An invalid datagram is logged and changes nothing."""
    quiet_until = -QUIET_SECONDS
    while True:
        datagram = line.read(READ_SECONDS)
        beat()
        if datagram is None:
            continue
        try:
            metrics.count(datagram)
        except metrics.InvalidFigure as error:
            if clock() > quiet_until:
                logger.warning("a metric is not counted: %s", error)
                quiet_until = clock() + QUIET_SECONDS
