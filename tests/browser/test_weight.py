"""The page's weight: requests and bytes of a first visit and of the next. benchmarks/page.py measures times."""

import time
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser

from app.main import create_app
from app.settings import AppSettings
from benchmarks.page import DESK, VIEWS, first_and_again
from models.records import Progress
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.app.conftest import fresh_weights
from tests.browser.conftest import SLOW
from tests.models.registry.test_store import manifest
from tests.support.api_clients import local_client
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer

pytestmark = pytest.mark.browser

EPOCHS = 12
BOUNDS = {  # requests, bytes of a first visit without the epoch's plot, bytes of the next visit
    "runs": (15, 48_000, 16_000),
    "a run": (17, 52_000, 28_000),
    "the form": (12, 43_000, 15_000),
}


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore) -> Iterator[str]:
    """A service with a running run, whose newest plot is empty and so adds almost no bytes."""
    with local_client(create_app(settings)) as client:
        job = client.post("/train", json={"name": "twelve epochs so far"}).json()["id"]
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim
    store.take(job, claim.fence)
    for epoch in range(1, EPOCHS + 1):
        made = manifest(job, epoch).model_copy(update={"fence": claim.fence})
        plot = encode_png(np.zeros((1120, 588), np.uint8))
        store.publish(made, {GENERATOR: fresh_weights(2), SAMPLES: plot})
        consumer.add_epoch(claim, epoch_record(epoch).model_copy(update={"checkpoint": made.id}))
    at = {"epoch": EPOCHS + 1, "epochs": 100, "batch": 5, "batches": 600}
    consumer.report(claim, Progress(**at, images_per_second=400.0, eta_seconds=9000.0))
    consumer.close()
    with serving(settings) as found:
        wait_for_styles(found)
        yield f"{found}/#/runs/{job}"


def wait_for_styles(address: str) -> None:
    """Wait until the styles of digits are measured: before, the page draws its first number more than once."""
    deadline = time.monotonic() + SLOW / 1000
    while (answer := httpx2.get(f"{address}/numbers/1")).status_code == 503:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    answer.raise_for_status()


def test_the_page_stays_light(browser: Browser, address: str) -> None:
    url, _, job = address.partition("/#/runs/")
    for view, (path, ready) in VIEWS.items():
        first, again = first_and_again(browser, f"{url}/#/{path.format(job=job)}", ready, DESK)
        requests, heaviest, heaviest_again = BOUNDS[view]
        assert 5 < first.requests <= requests, (view, first)
        assert 5_000 < first.bytes <= heaviest, (view, first)
        assert again.requests <= requests, (view, again)
        assert again.bytes <= heaviest_again, (view, again)
