"""Waiting for what comes back: a Redis that does not answer, room on a disk."""

import logging
import time
from collections.abc import Callable

import redis

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0


def pause(seconds: float, check: Callable[[], None]) -> None:
    """Wait, but not longer than `check` allows."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check()
        time.sleep(0.1)


def persist(write: Callable[[], None], check: Callable[[], None] = lambda: None) -> None:
    """Write what must not be lost, waiting ten minutes for a Redis that does not answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("Redis does not take what must be told, trying again: %s", error)
        check()
        time.sleep(1.0)
