"""Every view that lists jobs shows a record of another version with the reason, and the other jobs as always."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import redis
from playwright.sync_api import Browser, Page, Route, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_run import DESK, run_of
from tests.browser.test_weights import confirm
from tests.support.serving import serving
from worker.jobs.keys import job_key

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

FOREIGN = json.dumps({"recipe": "of a newer version"})
REASON = "This version does not understand the record"


@pytest.fixture
def records(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def shows_no_gaps(page: Page) -> None:
    """Nothing on the page comes from a field that the record does not have."""
    text = page.locator("main").inner_text() + page.title()
    assert [word for word in ("undefined", "NaN", "null", "1970", "[object") if word in text] == []


@pytest.mark.parametrize("order", ['{"per_class": "many"}', "no JSON"])
def test_an_unreadable_data_set_is_shown_with_its_trouble(
    browser: Browser, settings: AppSettings, store: CheckpointStore, records: Any, order: str
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        sizes = {"per_class": 2, "test_per_class": 1}
        plain, strange = (httpx2.post(f"{address}/datasets", json=sizes).json()["id"] for _ in range(2))
        records.hset(job_key(strange), mapping={"order": order, "created_at": "long ago"})
        page.goto("/#/datasets")
        entry = page.locator(f"[data-id='{strange}']")
        expect(entry).to_contain_text(REASON)
        expect(entry.get_by_role("heading")).to_have_text(f"Data set {strange} queued")
        expect(page.locator(f"[data-id='{plain}']")).to_contain_text("30 digits queued")
        expect(page.get_by_text("70,000 digits, about 29 MB.")).to_be_visible()  # of the form
        shows_no_gaps(page)
        entry.get_by_role("button", name="Cancel").click()
        expect(entry).to_contain_text("cancelled")
        expect(entry.get_by_role("button", name="Resume")).to_have_count(0)
        entry.get_by_role("button", name="Remove").click()
        confirm(page, "Remove data set")
        expect(entry).to_have_count(0)
        expect(page.locator(f"[data-id='{plain}']")).to_be_visible()


@pytest.mark.parametrize("config", [FOREIGN, '{"epochs": "many"}', "no JSON"])
def test_an_unreadable_run_is_shown_in_every_view(
    browser: Browser, settings: AppSettings, store: CheckpointStore, records: Any, config: str
) -> None:
    strange, plain = (run_of(settings, store, 2, name=name, recipe="sharp") for name in ("strange", "plain"))
    records.hset(job_key(strange), mapping={"config": config, "created_at": "long ago", "status": "failed"})
    with serving(settings) as address, visiting(browser, address, **DESK) as page:
        row = page.locator(".job").filter(has=page.get_by_role("link", name=f"Run {strange}"))
        expect(row).to_contain_text(REASON)
        expect(row.get_by_role("button")).to_have_text(["Delete"])  # its labels are unknown, and would be lost
        expect(page.locator(".job")).to_have_count(2)
        shows_no_gaps(page)

        row.get_by_role("link").click()
        expect(page.locator(".troubles")).to_contain_text(REASON)
        expect(page.get_by_role("img", name="Images of epoch 2")).to_be_visible()
        expect(page.get_by_role("link", name="Full plot")).to_be_visible()
        page.get_by_text("Download weights").click()
        expect(page.get_by_role("link", name="manifest.json")).to_be_visible()
        shows_no_gaps(page)
        page.wait_for_timeout(6000)  # the view has read the record again
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {strange}")
        expect(page.get_by_role("button", name="Name and notes")).to_have_count(0)

        page.goto(f"/#/compare?runs={plain},{strange}")
        expect(page.get_by_role("img", name=f"Images of Run {strange}, epoch 2")).to_be_visible()
        expect(page.locator(".pair figure").nth(1)).to_contain_text(REASON)
        page.goto("/#/new")
        expect(page.locator(".cost")).to_contain_text("based on plain")
        shows_no_gaps(page)


@pytest.mark.parametrize("status", ["failed", "paused"])
def test_an_unreadable_import_is_shown_with_its_trouble(
    browser: Browser, settings: AppSettings, store: CheckpointStore, records: Any, status: str
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        sent = httpx2.put(f"{address}/training-data/mine?file=mine.zip", content=b"PK", headers=BYTES)
        job = sent.raise_for_status().json()["id"]
        records.hset(job_key(job), mapping={"training_data": '{"name": 7}', "config": FOREIGN, "status": status})
        page.goto("/#/training-data")
        entry = page.locator(f"[data-id='{job}']")
        expect(entry).to_contain_text(REASON)
        expect(entry.get_by_role("button", name="Resume")).to_have_count(0)
        expect(entry.locator("progress")).to_be_hidden()
        expect(page.locator("[data-name='mnist']")).to_be_visible()
        shows_no_gaps(page)


BYTES = {"Content-Type": "application/octet-stream"}


def test_an_unreadable_evaluation_is_shown_with_its_trouble(
    browser: Browser, settings: AppSettings, store: CheckpointStore, records: Any
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        checkpoint = httpx2.get(f"{address}/serving").json()["serving"]
        made = httpx2.post(f"{address}/evaluations", json={"checkpoint": checkpoint}).raise_for_status().json()["id"]
        records.hset(job_key(made), "evaluation", '{"effort": "of a newer version"}')

        def answer_for_all(route: Route) -> None:  # the service lists it, but does not know of which checkpoint it is
            route.fulfill(json=httpx2.get(f"{address}/evaluations").json())

        page.route("**/evaluations?*", answer_for_all)
        page.goto("/#/checkpoints")
        entry = page.locator(f"[data-id='{checkpoint}'] .evaluation")
        entry.locator("summary").click()
        expect(entry).to_contain_text(f"Evaluation {made}: queued. {REASON}")
        expect(entry.get_by_role("button", name="Evaluate quickly")).to_be_visible()
        shows_no_gaps(page)
