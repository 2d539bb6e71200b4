"""The uvicorn server, extended by limits on requests, a drain period and an early end of streams and long waits."""

import functools
import gc
import logging
import math
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.api.dependencies import Services
from app.problems.device_health import DeviceHealth
from app.server.protocol import BoundedProtocol, WaitQueue

try:
    import resource
except ImportError:  # not on this system
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

GRACE_SECONDS = 20  # for the requests in progress: a hundred sheets of digits take this long on a slow machine
FILES_BESIDE = 200  # open files besides the connections of clients
FILES_AT_REST = 32  # of these, the open files of an idle process
TICKS_A_LOOK = 5  # ticks of uvicorn, 0.1 s each, between two checks of the connections


class Server(uvicorn.Server):
    """Ends event streams and long waits before it shuts down, because they would delay the shutdown.

    After SIGTERM it reports not to be ready and serves requests for `drain_seconds`, so that load balancers notice.
    Every response then closes its connection, so that the next request goes to another replica. Ctrl-C or a second
    signal skips the wait.
    """

    def __init__(self, app: FastAPI, drain_seconds: float = 0.0, **options: Any) -> None:
        self.app = app
        self.drain_seconds = drain_seconds
        self.asked_at: float | None = None
        self.line = WaitQueue(app.state.bounds)
        options["http"] = functools.partial(BoundedProtocol, line=self.line)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=math.ceil(self.line.bounds.request_seconds),
                ws="none",
                proxy_headers=False,  # app/middleware/forwarded_headers.py reads them
                **options,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.bound_connections(allow_files(self.line.bounds.connections + FILES_BESIDE))
        if (
            hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
        ):  # when the terminal is closed, shut down as on SIGTERM
            signal.signal(signal.SIGHUP, lambda _sig, frame: self.handle_exit(signal.SIGTERM, frame))
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # excludes the loaded modules from garbage collection, which took a third of the time

    def bound_connections(self, files: int) -> None:
        """Lower the maximum number of connections to fit the limit of open files."""
        bounds = self.line.bounds
        room = max(4, files - FILES_BESIDE if files > 2 * FILES_BESIDE else (files - FILES_AT_REST) // 2)
        if room < bounds.connections:
            logger.warning(
                "this process may have %d files open, which limits it to %d connections instead of %d: raise the limit "
                "of open files (`ulimit -n`, LimitNOFILE=)",
                files,
                room,
                bounds.connections,
            )
            self.line.bounds = bounds._replace(connections=room)
            self.config.backlog = max(1, room // 2)  # asyncio accepts this number at once

    @property
    def device_is_broken(self) -> bool:
        """Whether this process can no longer use its device. The server then ends as after SIGTERM."""
        health: DeviceHealth = self.app.state.device_health
        return health.is_broken

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_LOOK == 0:
            self.line.look(self.server_state.connections)
        self.should_exit = self.should_exit or self.device_is_broken
        if not await super().on_tick(counter):
            return False
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.stop_being_ready()
        return time.monotonic() >= self.asked_at + self.drain_seconds

    def stop_being_ready(self) -> None:
        self.app.state.draining = True
        self.config.encoded_headers.append((b"connection", b"close"))  # of every response, within a second
        if self.drain_seconds:
            logger.info(
                "shutting down: /readyz returns 503, other requests are served for another %g s", self.drain_seconds
            )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit or sig != signal.SIGTERM:
            self.drain_seconds = 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Services = self.app.state.services
        services.events.let_go()
        services.inference.let_go()
        await super().shutdown(sockets)


def allow_files(wanted: int) -> int:
    """Raise this process' limit of open files, usually 1024, up to `wanted` and the hard limit. Returns the limit."""
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
