"""Collects the metrics for one Prometheus scrape: those of the process, and those read from Redis on demand."""

import asyncio
import logging
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from app import metrics
from app.api.dependencies import Services
from models.config import NUM_CLASSES
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Standing

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.5


class Scrape:
    """A collector for one scrape. If Redis does not answer, its metrics are omitted and `acgan_redis_up` is 0."""

    def __init__(self, services: Services, standing: Standing | None) -> None:
        self.services = services
        self.standing = standing

    @classmethod
    async def take(cls, services: Services) -> "Scrape":
        """Read the state of the queue from Redis, with a timeout of half a second."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return cls(services, await services.jobs.standing())
        except (StoreUnavailable, TimeoutError, OSError) as error:
            logger.debug("the metrics of Redis are omitted: %s", error)
            return cls(services, None)

    def collect(self) -> Iterator[Metric]:
        yield from metrics.REGISTRY.collect()
        yield GaugeMetricFamily("acgan_event_streams", "Open event streams.", self.services.events.streams)
        yield from drawing(self.services)
        yield GaugeMetricFamily("acgan_redis_up", "Whether Redis answers.", float(self.standing is not None))
        if self.standing is not None:
            yield from families(self.standing)


def drawing(services: Services) -> Iterator[Metric]:
    inference, serving = services.inference, services.inference.models.serving
    yield InfoMetricFamily(
        "acgan_serving", "The checkpoint being served.", {"checkpoint": serving} if serving else None
    )
    yield GaugeMetricFamily("acgan_drawing_queue_digits", "Requested digits that wait to be drawn.", inference.pending)
    stock = GaugeMetricFamily("acgan_stock_digits", "Pre-generated digits.", labels=["label"])
    for label in range(NUM_CLASSES):
        stock.add_metric([str(label)], inference.stock_level(label))
    yield stock


def families(standing: Standing) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("acgan_jobs", "Jobs that have not ended, by status.", labels=["status"])
    jobs.add_metric(["queued"], sum(standing.ready.values()) + standing.delayed)
    jobs.add_metric(["running"], standing.running)
    yield jobs
    depth = GaugeMetricFamily("acgan_queue_depth", "Jobs ready to be claimed, by kind of worker.", labels=["runs_on"])
    for runs_on, number in standing.ready.items():
        depth.add_metric([runs_on], number)
    yield depth
    workers = GaugeMetricFamily("acgan_workers", "Live workers, by kind.", labels=["kind"])
    for kind, number in standing.workers.items():
        workers.add_metric([kind], number)
    yield workers
    yield GaugeMetricFamily(
        "acgan_jobs_delayed", "Jobs that wait for their back-off after their worker was lost.", standing.delayed
    )
    yield GaugeMetricFamily(
        "acgan_oldest_queued_job_seconds",
        "Seconds since the oldest waiting job was accepted; 0 if none waits.",
        standing.oldest,
    )
    yield GaugeMetricFamily(
        "acgan_webhooks_waiting", "Messages about ends of jobs that are not delivered yet.", standing.undelivered
    )
    yield CounterMetricFamily("acgan_jobs_accepted", "Jobs accepted, also those deleted later.", standing.accepted)
