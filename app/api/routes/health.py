"""Health probes and metrics."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from app.api.dependencies import ServicesDep
from app.api.guarded_route import GuardedRoute
from app.api.metrics_collector import Scrape
from app.problems.redis_diagnosis import DISK_FULL, explain_error
from app.schemas.health import Readiness
from worker.jobs.errors import StoreUnavailable
from worker.jobs.redis_client import UnsafeRedisConfig

logger = logging.getLogger(__name__)

ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s'\",;)]+"  # of a bucket or a server
    r"|\[?[0-9a-f:]*:[0-9a-f:.]*:[0-9a-f:.]*\]?(?::\d+)?"  # IPv6
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"
    r"|(?<![\w/.])[\w-]+(?:\.[\w-]+)*:\d{2,5}\b",
    re.IGNORECASE,
)
FOLDER = re.compile(  # but not the path of a request, such as PUT /serving
    r"(?<![\w./)])(?<!GET )(?<!PUT )(?<!POST )(?<!PATCH )(?<!DELETE )/[\w.~@%+-]+(?:/[\w.~@%+-]*)*"
)

router = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/livez")
async def get_liveness() -> dict[str, str]:
    """Return 200 as long as the process runs."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def get_readiness(services: ServicesDep, request: Request, response: Response) -> Readiness:
    """Return whether this process is ready for requests, and which parts are unavailable.

    Digits need no Redis, and jobs need no generator, so one of the two is enough. After SIGTERM the process is not
    ready, but answers requests until it exits.
    """
    model_manager, draining = services.inference.models, request.app.state.draining
    hide = partial(without_addresses, places=request.app.state.hidden)
    worker_loops: dict[str, str] = {}
    try:
        await services.jobs.ping()
        redis_state = "up"
        with suppress(StoreUnavailable):  # an unreadable report is the same as none for callers
            worker_loops = await services.jobs.worker_loops()
    except UnsafeRedisConfig as error:
        redis_state = f"down: {error}"
    except StoreUnavailable as error:  # not shown, because its text may contain an address
        logger.debug("Redis failed: %s", error)
        refuses = "it refuses commands" if error.refuses else "it does not answer"
        full = explain_error(error, request.app.state.redis_folder) == DISK_FULL
        redis_state = f"down: {DISK_FULL if full else refuses}"
    ready = not draining and (redis_state == "up" or model_manager.serving is not None)
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Readiness(
        ready=ready,
        draining=draining,
        redis=redis_state,
        serving=model_manager.serving,
        trouble=model_manager.trouble and hide(model_manager.trouble),
        loops={name: hide(state) for name, state in services.supervisor.report().items()},
        worker_loops={name: hide(state) for name, state in worker_loops.items()},
    )


def without_addresses(text: str, places: Iterable[str] = ()) -> str:
    """Replace addresses of hosts and stores, and paths of folders, because probes need no key.

    `places` are paths that are recognised in any form, also relative ones and those with spaces.
    """
    for place in places:
        text = re.sub(rf"(?<![\w/.]){re.escape(place)}(?![\w.-])", "(address)", text)
    return FOLDER.sub("(address)", ADDRESS.sub("(address)", text))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def get_metrics(services: ServicesDep) -> Response:
    """Return the metrics of this process and, if Redis answers, of the queue."""
    metrics_text = generate_latest(await Scrape.take(services))
    return Response(metrics_text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
