"""The worker's port for Prometheus: a thread that answers, and one that counts what the training process reports.

Both are the Celery parent's, and a supervisor restarts them if they fail. Figures are worth no run: if the port is
taken, the worker logs that and works without.
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
QUIET_SECONDS = 60.0  # between two log lines about figures that are refused


def export(host: str, port: int, supervisor: Supervisor) -> Line | None:
    """Serve the figures from now on. Returns the line for the training process, or None if the port is taken."""
    try:
        server = MetricsServer(host, port, metrics.REGISTRY)
    except OSError as error:
        logger.error(
            "no figures for Prometheus: cannot listen on %s (%s); the worker goes on without. "
            "Choose another ACGAN_METRICS_PORT, a port for each worker of a machine",
            host_port(host, port),
            error.strerror,
        )
        return None
    line = Line()
    supervisor.start_thread("figures", lambda beat: listen(line, beat))
    supervisor.start_thread("metrics port", server.serve)
    logger.info("figures for Prometheus at %s/metrics", http_address(host, port))
    return line


def listen(line: Line, beat: Beat, clock: Callable[[], float] = time.monotonic) -> None:
    """Count what comes, for ever. A datagram that cannot be counted is logged, and changes nothing."""
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
                logger.warning("a figure is not counted: %s", error)
                quiet_until = clock() + QUIET_SECONDS
