"""Weights are downloaded from the page, and runs, checkpoints and data sets deleted, also with keys and a prefix."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import h5py
import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Request, expect
from pydantic import SecretStr

from app.main import create_app
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.app.conftest import fresh_weights
from tests.browser.conftest import SLOW, visiting
from tests.models.registry.test_store import manifest
from tests.support.api_clients import local_client
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus
from worker.runner import run_next_job

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)


@pytest.fixture
def job(settings: AppSettings, store: CheckpointStore) -> str:
    """An ended run with two checkpoints, the newest of the store."""
    with local_client(create_app(settings)) as client:
        job: str = client.post("/train", json={"epochs": 2, "name": "two epochs"}).json()["id"]
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim
    store.take(job, claim.fence)
    for epoch in (1, 2):
        made = manifest(job, epoch).model_copy(update={"fence": claim.fence})
        store.publish(made, {GENERATOR: fresh_weights(2), SAMPLES: encode_png(np.zeros((1120, 588), np.uint8))})
        consumer.add_epoch(claim, epoch_record(epoch).model_copy(update={"checkpoint": made.id}))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    consumer.close()
    return job


def saved(page: Page, role: str, name: str, exact: bool = True) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role(role, name=name, exact=exact).click()  # type: ignore[arg-type]
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def confirm(page: Page, verb: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=verb).click()


@pytest.fixture
def prefixed(settings: AppSettings) -> Iterator[str]:
    with serving(settings.model_copy(update={"root_path": "/acgan"})) as address:
        yield f"{address}/acgan/"


def test_weights_are_downloaded_and_checkpoints_and_runs_deleted(browser: Browser, prefixed: str, job: str) -> None:
    with visiting(browser, prefixed, viewport={"width": 1200, "height": 900}) as page:
        page.goto(f"./#/runs/{job}?epoch=1")
        page.get_by_text("Download weights").click()
        assert saved(page, "link", GENERATOR) == (f"{job}-e001-{GENERATOR}", fresh_weights(2))
        name, data = saved(page, "button", "Keras 3")
        assert name == f"{job}-e001-generator.weights.h5"
        with h5py.File(io.BytesIO(data)) as file:
            assert "layers/embedding/vars/0" in file

        page.get_by_role("link", name="Checkpoints").click()
        first = page.locator(f"[data-id='{job}-e001']")
        first.get_by_text("Download", exact=True).click()
        expect(first.get_by_role("link", name="manifest.json")).to_be_visible()
        first.get_by_role("button", name="Delete").click()
        confirm(page, "Keep")
        assert httpx2.get(f"{prefixed}checkpoints/{job}-e001").status_code == 200
        first.get_by_role("button", name="Delete").click()
        confirm(page, "Delete checkpoint")
        expect(first).to_have_count(0)
        assert httpx2.get(f"{prefixed}checkpoints/{job}-e001").status_code == 404
        expect(page.locator(f"[data-id='{job}-e002']").get_by_role("button", name="Delete")).to_have_count(0)  # served


def test_a_run_is_deleted_unless_it_is_in_use(browser: Browser, settings: AppSettings, job: str) -> None:
    with serving(settings) as address:
        again = httpx2.post(f"{address}/jobs/{job}/retry").json()["id"]
        httpx2.post(f"{address}/jobs/{again}/cancel").raise_for_status()
        page = browser.new_page(base_url=address)
        page.goto(f"/#/runs/{job}")
        page.get_by_role("button", name="Delete").click()
        confirm(page, "Delete run")
        expect(page.get_by_role("alert")).to_contain_text("is served: serve another checkpoint first")
        page.goto("/#/")
        rows = page.locator("li.job")
        expect(rows).to_have_count(2)
        rows.first.get_by_role("button", name="Delete").click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        rows.first.get_by_role("button", name="Delete").click()
        confirm(page, "Delete run")
        expect(rows).to_have_count(1)
        assert httpx2.get(f"{address}/jobs/{again}").status_code == 404
        page.close()


def test_a_data_set_is_deleted_first_its_files_then_its_order(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address:
        made = httpx2.post(f"{address}/datasets", json={"per_class": 1, "test_per_class": 1}).json()["id"]
        run_next_job(settings)
        with visiting(browser, address) as page:
            page.get_by_role("link", name="Data", exact=True).click()
            page.get_by_role("link", name="Generated data sets").click()
            entry = page.locator(".dataset")
            entry.get_by_role("button", name="Delete files").click()
            confirm(page, "Delete files")
            expect(entry.get_by_role("link")).to_have_count(0)
            entry.get_by_role("button", name="Remove").click()
            confirm(page, "Remove data set")
            expect(page.get_by_text("No data sets yet.")).to_be_visible()
        assert httpx2.get(f"{address}/jobs/{made}").status_code == 404


def test_a_key_is_sent_as_a_header_and_never_in_an_address(browser: Browser, settings: AppSettings, job: str) -> None:
    key, entry = make_key("reader", Role.READ)
    addresses: list[str] = []

    def see(request: Request) -> None:
        addresses.append(request.url)

    with serving(settings.model_copy(update={"api_keys": SecretStr(str(entry))})) as address:
        page = browser.new_page(base_url=address)
        page.on("request", see)
        page.goto(f"/#/runs/{job}?epoch=2")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use key").click()
        page.get_by_text("Download weights").click()
        name, data = saved(page, "button", GENERATOR)
        assert name == f"{job}-e002-{GENERATOR}"
        assert hashlib.sha256(data).hexdigest() == hashlib.sha256(fresh_weights(2)).hexdigest()
        page.get_by_role("button", name="Delete").click()
        confirm(page, "Delete run")
        expect(page.get_by_role("alert")).to_contain_text("role")
        page.close()
    assert any(found.endswith(GENERATOR) for found in addresses)
    assert not any(key in found for found in addresses)
