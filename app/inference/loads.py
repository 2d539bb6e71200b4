"""Deduplicates concurrent loads of a key, with a deadline for callers, and remembers recent failures."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from models.registry.manifest import CheckpointDamaged
from models.registry.storage.base import Unreachable

Key = TypeVar("Key")
Value = TypeVar("Value")

AT_ONCE = 8  # threads
LOAD_SECONDS = 10.0  # that a caller waits; the load itself is not stopped
REMEMBERED_SECONDS = 60.0
MOST_PROBLEMS = 4


class Loads(Generic[Key, Value]):
    """Belongs to one event loop."""

    def __init__(self, load: Callable[[Key], Value]) -> None:
        self._load = load
        self._tasks: dict[Key, asyncio.Task[Value]] = {}
        self._problems: dict[Key, tuple[float, str]] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    def loading(self) -> list[Key]:
        """What is being loaded."""
        return list(self._tasks)

    def problems(self) -> list[str]:
        """Return the failures of the last minute, at most four."""
        since = time.monotonic() - REMEMBERED_SECONDS
        return [problem for when, problem in list(self._problems.values()) if when > since]

    async def get(self, key: Key) -> Value:
        """Load a key. Raises the error of the load, and Unreachable if it takes longer than ten seconds."""
        task = self._tasks.get(key) or self._start(key)
        done, _ = await asyncio.wait([task], timeout=LOAD_SECONDS)
        if not done:
            self._note(key, f"{key} cannot be loaded: the store did not answer within {LOAD_SECONDS:g} s")
            raise Unreachable(self._problems[key][1])
        return task.result()

    def _start(self, key: Key) -> asyncio.Task[Value]:
        self._limiter = self._limiter or anyio.CapacityLimiter(AT_ONCE)
        task = asyncio.create_task(anyio.to_thread.run_sync(self._load, key, limiter=self._limiter))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._ended(key, task))
        return task

    def _ended(self, key: Key, task: "asyncio.Task[Value]") -> None:
        self._tasks.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._problems.pop(key, None)
        elif isinstance(error, OSError | CheckpointDamaged):
            self._note(key, f"{key} cannot be loaded: {error}")

    def _note(self, key: Key, problem: str) -> None:
        self._problems.pop(key, None)
        self._problems[key] = (time.monotonic(), problem)
        while len(self._problems) > MOST_PROBLEMS:
            del self._problems[next(iter(self._problems))]
