"""Whether the store still has room within ACGAN_STORE_LIMIT, for requests and for `trouble`."""

import logging
import time
from collections.abc import Collection

import anyio.to_thread

from models.checkpoints import CheckpointStore
from models.retention import StoreFull, check_room

logger = logging.getLogger(__name__)

CHECK_SECONDS = 60.0  # between two checks for `trouble`: a check lists the whole store


class Budget:
    def __init__(self, store: CheckpointStore, limit: int | None) -> None:
        self.store = store
        self.limit = limit
        self._problem: str | None = None
        self._next = 0.0

    async def check(self, unfinished: Collection[str], needed: int = 0) -> None:
        """Raises StoreFull if new work has no room. A store that cannot be listed refuses nothing."""
        if self.limit is None:
            return
        try:
            await anyio.to_thread.run_sync(check_room, self.store, self.limit, unfinished, needed)
        except OSError as error:
            logger.warning("it is unknown whether the store has room: %s", error)

    def problems(self) -> list[str]:
        """Why new work is refused, as found at most a minute ago. Raises OSError."""
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
