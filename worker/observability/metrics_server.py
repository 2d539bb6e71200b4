"""The worker's HTTP server for Prometheus, with only `GET /metrics`. A slow client does not block others."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

PATH = "/metrics"
MOST_CONNECTIONS = 64  # a further one closes the oldest
CONNECTION_SECONDS = 15.0  # for a request and its response


class MetricsServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """Raises OSError if the port is taken."""
        self.registry = registry
        self._opened: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._beat: Callable[[], None] = lambda: None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, address = found[0][0], found[0][4]
        super().__init__((str(address[0]), port), Handler)

    def server_bind(self) -> None:
        """Bind without a DNS lookup of this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def verify_request(self, request: Any, _address: Any) -> bool:
        with self._lock:
            oldest = next(iter(self._opened)) if len(self._opened) >= MOST_CONNECTIONS else None
            self._opened[request] = time.monotonic()
            if oldest is not None:
                self._end(oldest)
        return True

    def _end(self, request: socket.socket) -> None:
        """Shut a connection down, which ends the thread that serves it."""
        self._opened.pop(request, None)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._opened.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that take too long: a client may send one byte at a time."""
        self._beat()
        oldest = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for request in [request for request, opened in self._opened.items() if opened < oldest]:
                self._end(request)

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Ignore lost connections: they are not an error of the worker."""

    def serve(self, beat: Callable[[], None]) -> None:
        """Serve until the process ends. Calls `beat` at least each second."""
        self._beat = beat
        self.serve_forever(poll_interval=0.5)


class Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "acgan"
    sys_version = ""
    timeout = CONNECTION_SECONDS

    def do_GET(self) -> None:  # the name is given by http.server
        is_metrics = self.path.partition("?")[0] == PATH
        body = generate_latest(self.server.registry) if is_metrics else b"the metrics are at GET /metrics\n"
        self.send_response(200 if is_metrics else 404)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST if is_metrics else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: Prometheus sends a request every few seconds."""
