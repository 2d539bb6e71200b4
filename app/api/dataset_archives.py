"""Archives of data sets, written while they are sent: in threads of their own, and a limited number at once."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from app.api.downloads import Download
from models.errors import Unavailable
from models.registry.storage.base import Folder
from models.registry.store import DATASET, CheckpointStore

logger = logging.getLogger(__name__)

AT_ONCE = 8  # one that is being sent takes about 10 MB of memory
THREADS = 2


class TooManyArchives(Unavailable, code="too-many-archives"):
    """As many archives as are allowed are being sent."""


class ArchiveLimits:
    """The archives that this process sends. Belongs to one event loop."""

    def __init__(self) -> None:
        self.sent_now = 0
        self.threads = anyio.CapacityLimiter(THREADS)

    @contextmanager
    def one_more(self, job_id: str) -> Iterator[None]:
        """Raises TooManyArchives."""
        if self.sent_now >= AT_ONCE:
            raise TooManyArchives(f"{AT_ONCE} archives are being downloaded, which is the limit", job=job_id)
        self.sent_now += 1
        try:
            yield
        finally:
            self.sent_now -= 1


class ArchiveResponse(Download):
    """Sends an archive. The first piece is written before the headers are sent, so that its errors are problems."""

    def __init__(
        self,
        limits: ArchiveLimits,
        store: CheckpointStore,
        job_id: str,
        pieces: Iterator[bytes],
        headers: dict[str, str],
    ) -> None:
        super().__init__(partial(store.reading, Folder(job_id, DATASET)), self._all(), 200, headers, "application/zip")
        self._limits = limits
        self._job_id = job_id
        self._pieces = pieces
        self._first = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._limits.one_more(self._job_id):
            self._first = await self._next()
            await super().__call__(scope, receive, send)

    async def _all(self) -> AsyncIterator[bytes]:
        piece = self._first
        while piece:
            yield piece
            piece = await self._next()

    async def _next(self) -> bytes:
        try:
            return await anyio.to_thread.run_sync(next, self._pieces, b"", limiter=self._limits.threads)
        except OSError as error:  # Starlette takes one for the end of the connection
            logger.error("the archive of data set %s is incomplete: %s", self._job_id, error)
            raise
