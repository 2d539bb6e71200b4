"""Creates the API: services, error handlers, middleware and routes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.to_thread
from fastapi import FastAPI

from app.api.dataset_archives import ArchiveLimits
from app.api.dependencies import Services
from app.api.errors import EXPECTED, add_error_handlers, answer_known
from app.api.event_stream import Events
from app.api.exploration.training_images import TrainingImagesCache
from app.api.openapi.document import describe, operation_id
from app.api.routes import (
    checkpoints,
    compositions,
    datasets,
    digits,
    evaluations,
    health,
    images,
    jobs,
    problems,
    static,
    training,
    training_data,
    training_data_uploads,
    weights,
)
from app.api.training_data_previews import Previews
from app.api.uploads.receiving import Uploads
from app.inference.service import InferenceService
from app.middleware import cors
from app.middleware.authentication import AuthenticationMiddleware
from app.middleware.body_limit import BodyLimit
from app.middleware.forwarded_headers import ForwardedHeaders
from app.middleware.head import HeadAsGet
from app.middleware.json_newline import JSONNewlineMiddleware
from app.middleware.origin import OriginCheck
from app.middleware.request_log import RequestLogMiddleware
from app.middleware.response_headers import RateHeaders
from app.middleware.root_path import RootPath
from app.middleware.route_cache import RouteCacheMiddleware
from app.middleware.telemetry import telemetry_config
from app.problems.device_health import DeviceHealth
from app.security.api_keys import Keyring
from app.security.rate_limit import LocalRate, SharedRate
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from models.torch_device import find_device
from models.version import code_version
from worker.celery_app import make_celery
from worker.jobs.client import JobClient
from worker.jobs.lists.catalog import JobCatalog
from worker.observability import tracing
from worker.observability.background_loops import Supervisor

logger = logging.getLogger(__name__)

GROUPS = (
    training,
    training_data,
    training_data_uploads,
    jobs,
    digits,
    compositions,
    images,
    datasets,
    checkpoints,
    weights,
    evaluations,
    health,
    problems,
    static,
)
CANCEL_AGAIN_SECONDS = 0.1
CLEANUP_SECONDS = 5.0


def make_services(
    settings: AppSettings,
    store: CheckpointStore,
    inference: InferenceService,
    supervisor: Supervisor,
    keyring: Keyring | None,
) -> Services:
    """Create what the routes of one process use. Nothing is sent to Redis yet."""
    has_shares = keyring is not None and len(keyring.names) > 1
    jobs = JobClient.connect(settings.redis_url, settings.queue_limit, has_shares)
    return Services(
        jobs,
        JobCatalog(jobs),
        make_celery(settings),
        store,
        inference,
        Events(settings.redis_url, jobs, settings.event_streams, has_shares),
        supervisor,
        Uploads(store.storage.incoming, settings.upload_limit, settings.upload_stall_seconds),
        ArchiveLimits(),
        Previews(settings.data_dir, settings.cache_dir),
        TrainingImagesCache(settings.data_dir, settings.cache_dir, store.training_data),
        SharedRate(settings.works, jobs.redis) if settings.works else None,
        webhook_hosts=settings.webhook_receivers,
        judges_imports=settings.judge,
    )


def create_app(settings: AppSettings) -> FastAPI:
    """Create the API application. Raises DeviceUnavailable."""
    device, keyring = find_device(settings.device), settings.keyring

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = settings.open_store()
        supervisor = Supervisor()
        inference = InferenceService(store, device, settings, supervisor, app.state.device_health.note)
        services = make_services(settings, store, inference, supervisor, keyring)
        app.state.services = services
        with suppress(OSError), anyio.move_on_after(CLEANUP_SECONDS):  # a store may hang
            await anyio.to_thread.run_sync(services.uploads.remove_unfinished, abandon_on_cancel=True)
        await inference.start(supervisor)
        supervisor.start_task("events", services.events.read)
        yield
        await supervisor.cancel_tasks(CANCEL_AGAIN_SECONDS)
        inference.close()
        await services.events.close()
        await services.jobs.close()
        await anyio.to_thread.run_sync(tracing.stop)

    app = FastAPI(
        title="acgan",
        summary="Train and serve a class-conditional digit generator.",
        version=code_version(),
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,  # FastAPI's redirects contain the client's Host; ours are relative
        telemetry=telemetry_config(tracing.start(settings, "acgan-api")),
        openapi_url=None,  # app/api/routes/static.py serves it with an ETag
    )
    app.state.bounds = settings.bounds
    app.state.redis_folder = settings.home / "redis"  # of the server that `acgan up` starts
    app.state.hidden = settings.places  # in responses that need no key
    app.state.device_health = DeviceHealth(device)
    app.state.draining = False  # set by app/server/server.py
    add_error_handlers(app)
    add_middleware(app, settings, keyring)
    for group in GROUPS:
        app.include_router(group.router)
    describe(app, needed=keyring is not None, for_reading=settings.reading_needs_key)
    return app


def add_middleware(app: FastAPI, settings: AppSettings, keyring: Keyring | None) -> None:
    """Add the middleware from the innermost to the outermost."""
    app.add_middleware(JSONNewlineMiddleware)
    app.add_middleware(RouteCacheMiddleware, errors=EXPECTED, answer_error=answer_known)
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(RateHeaders)
    if keyring or settings.reads:
        reads = LocalRate(settings.reads) if settings.reads else None
        app.add_middleware(
            AuthenticationMiddleware, keyring=keyring, read_needs_key=settings.reading_needs_key, reads=reads
        )
    if keyring and (names := keyring.without_role):
        logger.warning(
            "keys without a role have the role admin: %s; `acgan key NAME --role` sets a role", ", ".join(names)
        )
    app.add_middleware(OriginCheck, allowed=settings.hosts, trusted_origins=settings.trusted_origins)
    if settings.trusted_origins:
        app.add_middleware(cors.CrossOrigin, allow_origins=settings.trusted_origins, **cors.OPTIONS)
    app.add_middleware(RequestLogMiddleware)
    if settings.root_path or settings.forwarded_allow_ips:
        app.add_middleware(RootPath, root_path=settings.root_path)
    if settings.forwarded_allow_ips:
        app.add_middleware(ForwardedHeaders, proxies=settings.proxies)
