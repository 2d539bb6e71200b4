"""Runs: start one, watch it."""

import logging
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Path, Query, Response
from kombu.exceptions import OperationalError

from app.dependencies import JobId, ServicesDep
from app.schemas import JobList, JobsQuery, JobView
from models.checkpoints import SAMPLES, CheckpointId
from models.config import TrainingConfig
from worker.queue import knock

router = APIRouter(tags=["training"])
logger = logging.getLogger(__name__)

EXAMPLES = {
    "the seed's recipe": {"value": {}},
    "a quick try": {"value": {"epochs": 2, "train_examples": 6000, "test_examples": 1000, "name": "first try"}},
    "without any files": {"value": {"epochs": 2, "dataset": "printed", "train_examples": 6000}},
}


@router.post("/train", status_code=202)
async def train(
    services: ServicesDep,
    response: Response,
    config: Annotated[TrainingConfig | None, Body(openapi_examples=EXAMPLES)] = None,
) -> JobView:
    """Start a run. An empty body is the seed's recipe: 100 epochs on MNIST."""
    job = await services.desk.create(config or TrainingConfig())
    try:
        await anyio.to_thread.run_sync(knock, services.celery)
    except OperationalError as error:  # the job is stored: the next knock, or a worker that starts, finds it
        logger.warning("job %s waits, but no worker could be told: %s", job.id, error)
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobView.of(job)


@router.get("/jobs")
async def jobs(services: ServicesDep, query: Annotated[JobsQuery, Query()]) -> JobList:
    """List the runs accepted last, newest first."""
    return JobList(jobs=[JobView.of(job) for job in await services.desk.newest(query.limit)])


@router.get("/jobs/{job_id}")
async def job(services: ServicesDep, job_id: JobId) -> JobView:
    """Tell where a run stands: its progress and each finished epoch's losses."""
    return JobView.of(await services.desk.get(job_id))


@router.get(
    "/jobs/{job_id}/epochs/{epoch}/samples.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "588 x 1120 pixels."}},
)
async def samples(services: ServicesDep, job_id: JobId, epoch: Annotated[int, Path(ge=1, le=1000)]) -> Response:
    """Show an epoch's plot: ten columns of generated digits, a white one, ten columns of real ones."""

    def read() -> bytes:
        manifest = services.store.manifest(CheckpointId(job_id, epoch))
        return services.store.read(manifest, SAMPLES)

    png = await anyio.to_thread.run_sync(read)
    return Response(png, media_type="image/png", headers={"Cache-Control": "public, max-age=31536000, immutable"})
