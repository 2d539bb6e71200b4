"""What the routes need, named once."""

from typing import Annotated, NamedTuple

from celery import Celery
from fastapi import Depends, Path, Request

from app.gallery import Gallery
from models.checkpoints import CheckpointStore
from worker.jobs import JOB_ID_PATTERN
from worker.store import JobDesk


class Services(NamedTuple):
    """What lives as long as the process."""

    desk: JobDesk
    celery: Celery
    store: CheckpointStore
    gallery: Gallery


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]
JobId = Annotated[str, Path(pattern=JOB_ID_PATTERN, examples=["20260131-120000-1a2b3c"])]
