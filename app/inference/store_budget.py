"""Checks whether the store has room within ACGAN_STORE_LIMIT, for new jobs and for `trouble`."""

import logging
import time
from collections.abc import Collection, Mapping

import anyio.to_thread

from models.registry.retention import StoreFull, check_room
from models.registry.store import CheckpointStore

logger = logging.getLogger(__name__)

CHECK_SECONDS = 60.0  # between two checks for `trouble`: a check lists the whole store


class Budget:
    def __init__(self, store: CheckpointStore, limit: int | None) -> None:
        self.store = store
        self.limit = limit
        self._problem: str | None = None
        self._next = 0.0

    async def check(
        self, unfinished: Collection[str], needed: int = 0, reserved: Mapping[str, int] | None = None
    ) -> None:
        """Raises StoreFull if the store has no room for new work. If it cannot be listed, new work is accepted.

        `reserved` maps the jobs of unfinished data sets to the bytes of each.
        """
        if self.limit is None:
            return
        try:
            await anyio.to_thread.run_sync(check_room, self.store, self.limit, unfinished, needed, reserved)
        except OSError as error:
            logger.warning("cannot check whether the store has room: %s", error)

    def problems(self) -> list[str]:
        """Return why new work is refused, from a check at most a minute old. Raises OSError."""
        if self.limit is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + CHECK_SECONDS
            self._problem = self._look(self.limit)
        return [self._problem] if self._problem else []

    def _look(self, limit: int) -> str | None:
        try:
            check_room(self.store, limit, unfinished=())
        except StoreFull as error:
            return str(error)
        return None
