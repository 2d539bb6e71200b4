"""Deduplicates concurrent loads of a key, with a deadline for callers, and remembers recent failures."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from cachetools import TTLCache

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
        self._problems: TTLCache[Key, str] = TTLCache(MOST_PROBLEMS, REMEMBERED_SECONDS)
        self._limiter: anyio.CapacityLimiter | None = None

    def loading(self) -> list[Key]:
        """The keys that are being loaded."""
        return list(self._tasks)

    def problems(self) -> list[str]:
        """Return the failures of the last minute, at most four."""
        return [problem for key in list(self._problems) if (problem := self._problems.get(key))]

    async def get(self, key: Key) -> Value:
        """Load a key. Raises the error of the load, and Unreachable if it takes longer than ten seconds."""
        task = self._tasks.get(key) or self._start(key)
        done, _ = await asyncio.wait([task], timeout=LOAD_SECONDS)
        if not done:
            problem = f"{key} cannot be loaded: the store did not answer within {LOAD_SECONDS:g} s"
            self._problems[key] = problem
            raise Unreachable(problem)
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
        else:
            self.report(key, error)

    def report(self, key: Key, error: BaseException) -> None:
        """Remember an error of the store or of a checkpoint for a minute; others are not problems of the service."""
        if isinstance(error, OSError | CheckpointDamaged):
            self._problems[key] = f"{key} cannot be loaded: {error}"
