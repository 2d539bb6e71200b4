"""The worker's port for Prometheus: a thread that answers, and one that hears what the training process counts.

Both are the Celery parent's. Figures are worth no run: where the port is taken, the worker says so and works without.
"""

import contextlib
import logging
import socket
import threading

from prometheus_client import start_http_server

from worker import metrics
from worker.addresses import host_port, http_address

logger = logging.getLogger(__name__)


def export(host: str, port: int) -> bool:
    """Serve the figures from now on, and say whether that is possible."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        ear.bind((metrics.LOOPBACK, port))
        start_http_server(port, host, metrics.REGISTRY)
    except OSError as error:
        ear.close()
        logger.error(
            "no figures for Prometheus: cannot listen on %s (%s); the worker goes on without. "
            "Choose another ACGAN_METRICS_PORT, a port for each worker of a machine",
            host_port(host, port),
            error.strerror,
        )
        return False
    threading.Thread(target=listen, args=(ear,), name="figures", daemon=True).start()
    logger.info("figures for Prometheus at %s/metrics", http_address(host, port))
    return True


def listen(ear: socket.socket) -> None:
    while True:
        datagram = ear.recv(4096)
        with contextlib.suppress(ValueError):  # whatever else came to this port
            metrics.hear(datagram)
