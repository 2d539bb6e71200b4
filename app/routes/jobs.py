"""Runs, watched."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.dependencies import JobId, ServicesDep, checked
from app.edge.door import caller_of
from app.events import Event
from app.routes.guarded import GuardedRoute
from app.schemas import AnyJobView, EpochView, JobHistory, JobList, JobsQuery, view_of
from app.wire import etags
from models.checkpoints import SAMPLES, CheckpointId
from models.history import to_csv
from worker.jobs import EpochRecord

router = APIRouter(tags=["jobs"], route_class=GuardedRoute)


@router.get("/jobs")
async def jobs(services: ServicesDep, query: Annotated[JobsQuery, Query()]) -> JobList:
    """List the runs accepted last, newest first."""
    if query.before is not None:
        checked(query.before)
    found = await services.desk.newest(query.limit + 1, query.status, query.before)
    return JobList.of(found, query)


@router.get("/jobs/{job_id}", response_model=AnyJobView, responses={304: {"description": "As it was."}})
async def job(
    services: ServicesDep, job_id: JobId, if_none_match: Annotated[str | None, Header(max_length=1000)] = None
) -> Response:
    """Tell where a run stands: its progress and each finished epoch's losses."""
    body = view_of(await services.desk.read(job_id)).model_dump_json().encode()
    tag = etags.name(body)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if etags.is_known(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get("/jobs/{job_id}/history.json")
async def history(services: ServicesDep, job_id: JobId) -> JobHistory:
    """Tell a run's recipe and every finished epoch's losses and figures, as a file to keep."""
    return JobHistory.of(await services.desk.get(job_id))


@router.get(
    "/jobs/{job_id}/history.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A line an epoch."}},
)
async def history_csv(services: ServicesDep, job_id: JobId) -> Response:
    """Tell every finished epoch's losses and figures as CSV, a line each, for spreadsheets and data frames."""
    return Response(to_csv((await services.desk.get(job_id)).epochs), media_type="text/csv")


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
    responses={204: {"description": "The run has ended, and `Last-Event-ID` says that you know."}},
)
async def events(
    job_id: JobId,
    stream: Annotated[AsyncIterator[Event], Depends(followed)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a run as server-sent events: first `job`, the whole record; then `progress`, `epoch`, `status`, `trouble`.

    The stream ends with the run, and after ten minutes. Come again with `Last-Event-ID`, as browsers do by themselves,
    to get what was missed; once it has ended and you know, the answer is 204.
    """
    async for event in stream:
        yield ServerSentEvent(data=view(job_id, event), event=event.kind, id=event.id)


def view(job_id: str, event: Event) -> Any:
    """Show an event's data as the record shows it."""
    match event.kind:
        case "job":
            return view_of(event.data)
        case "epoch":
            return EpochView.of(job_id, EpochRecord.model_validate(event.data))
    return event.data


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
