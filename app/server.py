"""Uvicorn, taught that streams do not end by themselves, and that requests have bounds."""

import functools
import gc
import logging
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.edge.connections import BoundedProtocol, Line
from app.events import Events

try:
    import resource
except ImportError:  # not on this system
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

GRACE_SECONDS = 20  # for the requests in hand: a hundred sheets of digits take a slow machine that long
FILES_BESIDE = 200  # that a process has open beside its callers' connections
FILES_AT_REST = 32  # of these, what it has open when there is nothing to do
TICKS_A_LOOK = 5  # of uvicorn's tenths of a second


class Server(uvicorn.Server):
    """Ends whom it streams to before it ends itself: they would hold it up, only to be cut off after all.

    On SIGTERM it is no longer ready, and goes on serving for `drain_seconds`: time for whoever shares requests out to
    hear of it. Every answer then closes its connection, so that the next request finds another replica. Ctrl-C, and
    whoever asks twice, need not wait.
    """

    def __init__(self, app: FastAPI, drain_seconds: float = 0.0, **options: Any) -> None:
        self.app = app
        self.drain_seconds = drain_seconds
        self.asked_at: float | None = None
        self.line = Line(app.state.bounds)
        options["http"] = functools.partial(BoundedProtocol, line=self.line)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ws="none",
                proxy_headers=False,  # app/edge/forwarded.py reads them
                **options,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.bound_connections(allow_files(self.line.bounds.connections + FILES_BESIDE))
        if (
            hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
        ):  # a closed terminal: end like on SIGTERM, instead of at once
            signal.signal(signal.SIGHUP, lambda _sig, frame: self.handle_exit(signal.SIGTERM, frame))
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what was loaded by now stays: to look through it again and again took a third of the time

    def bound_connections(self, files: int) -> None:
        """Keep as many connections as the limit of open files has room for, beside what else is open."""
        bounds = self.line.bounds
        room = max(4, files - FILES_BESIDE if files > 2 * FILES_BESIDE else (files - FILES_AT_REST) // 2)
        if room < bounds.connections:
            logger.warning(
                "this process may have %d files open, so it keeps %d connections at a time instead of %d: raise the "
                "limit of open files (`ulimit -n`, LimitNOFILE=)",
                files,
                room,
                bounds.connections,
            )
            self.line.bounds = bounds._replace(connections=room)
            self.config.backlog = max(1, room // 2)  # asyncio accepts as many at once before it refuses any

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_LOOK == 0:
            self.line.look(self.server_state.connections)
        if not await super().on_tick(counter):
            return False
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.stop_being_ready()
        return time.monotonic() >= self.asked_at + self.drain_seconds

    def stop_being_ready(self) -> None:
        self.app.state.draining = True
        self.config.encoded_headers.append((b"connection", b"close"))  # of every answer, from the next second on
        if self.drain_seconds:
            logger.info("asked to end: no longer ready, and serving for %g seconds more", self.drain_seconds)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit or sig != signal.SIGTERM:
            self.drain_seconds = 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        events: Events = self.app.state.services.events
        events.let_go()
        await super().shutdown(sockets)


def allow_files(wanted: int) -> int:
    """Raise the limit of open files of this process, usually 1024, as far as needed and allowed. Returns the limit."""
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
