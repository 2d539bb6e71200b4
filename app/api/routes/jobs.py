"""Routes that read jobs: records, histories, events and plots."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.dependencies import JobId, ServicesDep, checked
from app.api.event_stream import Event
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import sends
from app.api.thumbnails import thumbnail
from app.middleware.authentication import caller_of
from app.problems import conditional
from app.problems.conditional import FOR_EVER, IfNoneMatch
from app.schemas.events import JobEvent
from app.schemas.jobs import AnyJobsQuery, AnyJobView, EpochView, JobHistory, JobList, view_of
from app.schemas.live import LiveQuery, LiveView
from models.records import to_csv
from models.registry.store import SAMPLES, CheckpointId
from worker.jobs.live import LiveReader
from worker.jobs.model import EpochRecord

router = APIRouter(tags=["jobs"], route_class=GuardedRoute)


@router.get("/jobs")
async def list_jobs(services: ServicesDep, query: Annotated[AnyJobsQuery, Query()]) -> JobList:
    """List runs, or the jobs of another kind: newest first, or in another order."""
    if query.before is not None:
        checked(query.before)
    page = await services.catalog.page(query.selection)
    return JobList.of(await services.catalog.with_places(page.jobs), page, query)


@router.get("/jobs/{job_id}", response_model=AnyJobView, responses={304: {"description": "Not modified."}})
async def get_job(services: ServicesDep, job_id: JobId, if_none_match: IfNoneMatch = None) -> Response:
    """Return a run: its status, its progress and the losses of each finished epoch."""
    (job,) = await services.catalog.with_places([await services.jobs.read(job_id)])
    body = view_of(job).model_dump_json().encode()
    headers = conditional.validators(body)
    return conditional.not_modified(headers, if_none_match) or Response(
        body, media_type="application/json", headers=headers
    )


@router.get("/jobs/{job_id}/live", responses={200: sends("Cache-Control")})
async def get_live(
    services: ServicesDep, job_id: JobId, query: Annotated[LiveQuery, Query()], response: Response
) -> LiveView:
    """Return what a running job shows between two epochs: losses of its last iterations, and a sample of ten images.

    A run adds losses about every second, and a sample about every five seconds, unless `ACGAN_LIVE=false`. `live` of
    its progress, which `events` sends, is the number of the newest entry. All of it is deleted when the job ends.
    """
    response.headers["Cache-Control"] = "no-store"
    return LiveView.of(await LiveReader(services.jobs.redis).read(job_id, query.after, query.limit))


@router.get("/jobs/{job_id}/history.json")
async def get_history(services: ServicesDep, job_id: JobId) -> JobHistory:
    """Download a run's configuration, with the losses and metrics of each finished epoch, as JSON."""
    return JobHistory.of(await services.jobs.get(job_id))


@router.get(
    "/jobs/{job_id}/history.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One line per epoch."}},
)
async def get_history_csv(services: ServicesDep, job_id: JobId) -> Response:
    """Download the losses and metrics of each finished epoch as CSV, for spreadsheets and data frames."""
    return Response(to_csv((await services.jobs.get(job_id)).epochs), media_type="text/csv")


async def followed(
    request: Request,
    services: ServicesDep,
    job_id: JobId,
    last_event_id: Annotated[str | None, Header(max_length=50)] = None,
) -> AsyncIterator[AsyncIterator[Event]]:
    async with services.events.follow(job_id, last_event_id, caller_of(request.scope)) as events:
        yield events


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"model": JobEvent, **sends("Cache-Control")},
        204: {"description": "The run has ended, and `Last-Event-ID` is its last event."},
    },
)
async def follow_job(
    job_id: JobId,
    services: ServicesDep,
    stream: Annotated[AsyncIterator[Event], Depends(followed)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run as server-sent events: first `job`, the whole record; then `progress`, `epoch`, `status`, `trouble`.

    The stream ends when the run ends, and after ten minutes. Reconnect with `Last-Event-ID`, as browsers do, to get the
    events since then. If the run has ended and no event is left, the response is 204.
    """
    async for event in stream:
        if event.kind == "job":
            (job,) = await services.catalog.with_places([event.data])
            event = event._replace(data=job)
        yield ServerSentEvent(data=view(job_id, event), event=event.kind, id=event.id)


def view(job_id: str, event: Event) -> Any:
    """Convert an event's data to the form that it has in the job record."""
    match event.kind:
        case "job":
            return view_of(event.data)
        case "epoch":
            return EpochView.of(job_id, EpochRecord.model_validate(event.data))
    return event.data


@router.get(
    "/jobs/{job_id}/epochs/{epoch}/samples.png",
    response_class=Response,
    responses={
        200: {
            "content": {"image/png": {}},
            "description": "Of ten classes, 588 x 1120 pixels.",
            **sends("Cache-Control"),
        }
    },
)
async def get_epoch_plot(services: ServicesDep, job_id: JobId, epoch: Annotated[int, Path(ge=1, le=1000)]) -> Response:
    """Return an epoch's plot: one column of generated images per class, a white column, one of real images per class.

    An imported checkpoint has no real images: its plot ends before the white column.
    """

    def read() -> bytes:
        manifest = services.store.manifest(CheckpointId(job_id, epoch))
        return services.store.read(manifest, SAMPLES)

    png = await anyio.to_thread.run_sync(read)
    return Response(png, media_type="image/png", headers={"Cache-Control": FOR_EVER})


@router.get(
    "/jobs/{job_id}/epochs/{epoch}/thumbnail.png",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}, "description": "At most 4,000 bytes.", **sends("Cache-Control")},
    },
)
async def get_thumbnail(services: ServicesDep, job_id: JobId, epoch: Annotated[int, Path(ge=1, le=1000)]) -> Response:
    """Return generated images of an epoch in two rows: the first of its plot, of the first ten classes."""

    def make() -> bytes:
        manifest = services.store.manifest(CheckpointId(job_id, epoch))
        return thumbnail(services.store.read(manifest, SAMPLES), len(manifest.class_names))

    png = await anyio.to_thread.run_sync(make)
    return Response(png, media_type="image/png", headers={"Cache-Control": FOR_EVER})
