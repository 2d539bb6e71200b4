"""A response with a file of a data set, which is not deleted meanwhile."""

from functools import partial
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from models.registry.storage.base import Folder
from models.registry.store import DATASET, CheckpointStore


class DatasetDownload(StreamingResponse):
    """Prevents deletion of the data set until the last byte has been sent."""

    def __init__(self, store: CheckpointStore, job_id: str, *content: Any) -> None:
        super().__init__(*content)
        self.being_read = partial(store.reading, Folder(job_id, DATASET))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.being_read():
            await super().__call__(scope, receive, send)
