"""Supervised background loops: a loop that fails is logged and restarted, and its state can be read.

Used by the API (asyncio tasks), the worker's parent process and its training process (threads). A loop calls `beat`
after each round; a loop whose last beat is too old counts as stuck. `report_process` returns the state of every loop
of this process; workers send it to Redis (worker/observability/loop_reports.py), and `/readyz` shows it.
"""

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol

from worker.jobs.loop_states import RUNNING

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0  # before the first restart; doubled for each failure in a row
LONGEST_RESTART_SECONDS = 30.0
STUCK_SECONDS = 60.0


class Beat(Protocol):
    def __call__(self, trouble: str | None = None) -> None:
        """Record a completed round. `trouble` is the reason if the round did not do its work."""


class Loop:
    """The state of one background loop. Safe to read from any thread."""

    def __init__(self, name: str, stuck_seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.stuck_seconds = stuck_seconds
        self.clock = clock
        self.failures = 0  # in a row
        self.error: str | None = None
        self.is_idle = False  # True if the loop has nothing to do, so that no beat is expected
        self.last_beat = clock()

    def beat(self, trouble: str | None = None) -> None:
        """Record a completed round. `trouble` is the reason if the round did not do its work."""
        self.last_beat, self.failures, self.error = self.clock(), 0, trouble

    @contextmanager
    def working(self) -> Iterator[None]:
        """Supervise work that is not a loop: it counts as stuck if it takes too long. Errors are not handled here."""
        self.last_beat, self.is_idle = self.clock(), False
        try:
            yield
        finally:
            self.is_idle = True

    def fail(self, error: BaseException | None) -> float:
        """Record and log a failure. Returns the seconds to wait before the restart."""
        message = "it ended" if error is None else f"{type(error).__name__}: {error}"
        message = f"failed and is restarted: {message}"
        is_known, self.error = message == self.error, message
        self.failures += 1
        trace = None if is_known else error  # one traceback for each error
        logger.error("background loop %r %s", self.name, message, exc_info=trace)
        return float(min(RESTART_SECONDS * 2.0 ** (self.failures - 1), LONGEST_RESTART_SECONDS))

    @property
    def trouble(self) -> str | None:
        """The reason why the loop does not work, or None if it works."""
        if self.error is not None:
            return self.error
        if self.is_idle:
            return None
        silent = self.clock() - self.last_beat
        return f"stuck: no completed round for {silent:.0f} s" if silent > self.stuck_seconds else None


_supervisors: "weakref.WeakSet[Supervisor]" = weakref.WeakSet()


def report_process() -> dict[str, str]:
    """Return the state of every loop of this process by name. If several have one name, a failing one is returned."""
    states: dict[str, str] = {}
    for supervisor in list(_supervisors):
        for name, state in supervisor.report().items():
            if states.get(name, RUNNING) == RUNNING:
                states[name] = state
    return states


class Supervisor:
    """Runs loops until `stop`, and restarts those that end, after a growing pause. Only threads may return."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.loops: dict[str, Loop] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        _supervisors.add(self)

    def report(self) -> dict[str, str]:
        """Return the state of each loop by name: `running`, or the reason why it does not work."""
        return {name: loop.trouble or RUNNING for name, loop in list(self.loops.items())}

    def start_task(
        self, name: str, run: Callable[[Beat], Coroutine[Any, Any, None]], stuck_seconds: float = STUCK_SECONDS
    ) -> None:
        """Run a coroutine function on the running event loop. It must not return."""
        loop = self._add(name, stuck_seconds)

        async def keep() -> None:
            while not self._stopping.is_set():
                error: Exception | None = None
                try:
                    await run(loop.beat)
                except Exception as raised:
                    error = raised
                if not self._stopping.is_set():
                    await asyncio.sleep(loop.fail(error))

        self._tasks.add(asyncio.create_task(keep(), name=name))

    def start_thread(
        self, name: str, run: Callable[[Beat], None], stuck_seconds: float = STUCK_SECONDS
    ) -> threading.Thread:
        """Run a function on a daemon thread. It is not restarted if it returns."""
        loop = self._add(name, stuck_seconds)

        def keep() -> None:
            while not self._stopping.is_set():
                try:
                    run(loop.beat)
                    loop.is_idle = True
                    return
                except BaseException as error:  # SystemExit, too, would end the thread without a log line
                    self._stopping.wait(loop.fail(error))

        # Log lines of the thread carry the fields that are bound here.
        thread = threading.Thread(target=copy_context().run, args=(keep,), name=name, daemon=True)
        thread.start()
        return thread

    def watch(self, name: str, stuck_seconds: float = STUCK_SECONDS) -> Loop:
        """Add a loop for work that another thread does. It is idle outside of `Loop.working`."""
        loop = self._add(name, stuck_seconds)
        loop.is_idle = True
        return loop

    def wait(self, seconds: float) -> bool:
        """Wait between two rounds of a thread. Returns whether the loop must end, because `stop` was called."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        """Stop restarting loops, and remove them from the report of the process. Loops that use `wait` end."""
        self._stopping.set()
        _supervisors.discard(self)

    async def cancel_tasks(self, again_seconds: float) -> None:
        """Cancel all tasks every `again_seconds` until they end: redis-py may lose a cancellation while it connects."""
        self.stop()
        tasks = set(self._tasks)
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=again_seconds)
        self._tasks.clear()

    def _add(self, name: str, stuck_seconds: float) -> Loop:
        self.loops[name] = Loop(name, stuck_seconds, self.clock)
        return self.loops[name]
