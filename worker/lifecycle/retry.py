"""Retries of writes to Redis."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from worker.jobs.errors import StoreUnavailable

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
Result = TypeVar("Result")


def pause(seconds: float, check: Callable[[], None]) -> None:
    """Wait; `check` is called every 0.1 s and may end the wait by raising."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check()
        time.sleep(0.1)


def retry_until_stored(write: Callable[[], Result], check: Callable[[], None] = lambda: None) -> Result:
    """Return the first result of `write`. Raises StoreUnavailable after ten minutes, and what `check` raises."""
    deadline, logged = time.monotonic() + PATIENCE_SECONDS, ""
    while True:
        try:
            return write()
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != logged:
                logger.warning("writing to Redis failed; retrying: %s", error)
            logged = str(error)
        check()
        time.sleep(1.0)
