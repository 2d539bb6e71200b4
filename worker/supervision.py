"""Background loops that do not end unnoticed: a loop that fails is logged and restarted, and its state is readable.

Used by the API (asyncio tasks) and by the Celery parent process (threads). A loop calls `beat` after each round; a loop
whose last beat is too old counts as stuck.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0  # before the first restart; doubled for each failure in a row
LONGEST_RESTART_SECONDS = 30.0
STUCK_SECONDS = 60.0

Beat = Callable[[], None]


class Loop:
    """The state of one background loop. Safe to read from any thread."""

    def __init__(self, name: str, stuck_seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.stuck_seconds = stuck_seconds
        self.clock = clock
        self.failures = 0  # in a row
        self.error: str | None = None
        self.last_beat = clock()

    def beat(self) -> None:
        """Record a completed round."""
        self.last_beat, self.failures, self.error = self.clock(), 0, None

    def fail(self, error: BaseException | None) -> float:
        """Record and log a failure. Returns the seconds to wait before the restart."""
        message = "it ended" if error is None else f"{type(error).__name__}: {error}"
        is_known, self.error = message == self.error, message
        self.failures += 1
        trace = None if is_known else error  # one traceback for each error
        logger.error("background loop %r failed and is restarted: %s", self.name, message, exc_info=trace)
        return float(min(RESTART_SECONDS * 2.0 ** (self.failures - 1), LONGEST_RESTART_SECONDS))

    @property
    def trouble(self) -> str | None:
        """Why the loop does not do its work, or None if it does."""
        if self.error is not None:
            return f"failed and is restarted: {self.error}"
        silent = self.clock() - self.last_beat
        return f"stuck: no completed round for {silent:.0f} s" if silent > self.stuck_seconds else None


class Supervisor:
    """Runs loops until `stop`. A loop that ends is started again after a growing pause. Only a thread may return."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.loops: dict[str, Loop] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()

    def report(self) -> dict[str, str]:
        """Return the state of each loop by name: `running`, or why it does not work."""
        return {name: loop.trouble or "running" for name, loop in self.loops.items()}

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
        """Run a function on a daemon thread. A function that returns has ended on purpose."""
        loop = self._add(name, stuck_seconds)

        def keep() -> None:
            while not self._stopping.is_set():
                try:
                    run(loop.beat)
                    return
                except Exception as error:
                    self._stopping.wait(loop.fail(error))

        thread = threading.Thread(target=keep, name=name, daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Restart no loop any more."""
        self._stopping.set()

    async def cancel_tasks(self, again_seconds: float) -> None:
        """Cancel all tasks until they end: redis-py may lose a cancellation while it connects."""
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
