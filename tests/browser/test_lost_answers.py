"""A view that asks again and again keeps its last state while the service does not answer, and continues afterwards."""

import re
import time
from collections.abc import Callable

import httpx2
import pytest
import redis
from playwright.sync_api import Browser, Locator, Page, Route, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_run import DESK, run_of
from tests.browser.test_unreadable import BYTES
from tests.support.serving import serving
from worker.jobs.keys import job_key

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

LOSSES: dict[str, Callable[[Route], None]] = {
    "503": lambda route: route.fulfill(status=503, json={"detail": "Redis does not answer."}),
    "a restart": lambda route: route.abort("connectionrefused"),
    "half an answer": lambda route: route.fulfill(body='{"jobs": [', content_type="application/json"),
}


IS_BLANK = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.every((value) => value === 0);
}"""


def lose(page: Page, addresses: str, loss: str, times: int = 2) -> None:
    """Lose all answers until some requests of the view have failed, then no more."""
    lost: list[str] = []

    def fail(route: Route) -> None:
        lost.append(route.request.url)
        LOSSES[loss](route)

    page.route(addresses, fail)
    deadline = time.monotonic() + SLOW / 1000
    while len(lost) < times:
        assert time.monotonic() < deadline, f"the view asked {len(lost)} times"
        page.wait_for_timeout(50)
    page.wait_for_timeout(200)  # the view has seen it
    page.unroute(addresses)


def waiting_import(page: Page, address: str) -> tuple[str, Locator]:
    """Send a file of training data, and open the view that follows its job. Returns the job and its entry there."""
    sent = httpx2.put(f"{address}/training-data/mine?file=mine.zip", content=b"PK", headers=BYTES)
    job = sent.raise_for_status().json()["id"]
    page.goto("/#/training-data")
    entry = page.locator(f"[data-id='{job}']")
    expect(entry).to_contain_text("Waiting for a worker.")
    return job, entry


@pytest.mark.parametrize("loss", LOSSES)
def test_the_list_of_data_sets_stays(
    browser: Browser, settings: AppSettings, store: CheckpointStore, loss: str
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/datasets") as page:
        sizes = {"per_class": 2, "test_per_class": 1}
        made = httpx2.post(f"{address}/datasets", json=sizes).json()["id"]
        page.goto("/#/datasets")
        page.get_by_label("Seed").fill("77")
        entry = page.locator(".dataset")
        expect(entry).to_contain_text("30 digits queued")
        lose(page, "**/datasets?*", loss)
        expect(entry).to_contain_text("30 digits queued")
        httpx2.post(f"{address}/jobs/{made}/cancel").raise_for_status()
        expect(entry).to_contain_text("cancelled")
        expect(page.get_by_label("Seed")).to_have_value("77")


@pytest.mark.parametrize("loss", LOSSES)
def test_an_import_is_followed_to_its_end(
    browser: Browser, settings: AppSettings, store: CheckpointStore, loss: str
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/jobs/") as page:
        job, entry = waiting_import(page, address)
        lose(page, f"**/jobs/{job}", loss)
        expect(entry).to_contain_text("Waiting for a worker.")
        httpx2.post(f"{address}/jobs/{job}/cancel").raise_for_status()
        expect(entry.locator(".badge")).to_have_text("cancelled")
        httpx2.post(f"{address}/jobs/{job}/resume").raise_for_status()
        page.reload()
        expect(entry.locator(".badge")).to_have_text("queued")
        httpx2.post(f"{address}/jobs/{job}/cancel").raise_for_status()
        expect(entry.locator(".badge")).to_have_text("cancelled")


def test_an_import_that_was_deleted_elsewhere_is_not_asked_for_again(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/jobs/") as page:
        job, entry = waiting_import(page, address)
        with redis.Redis.from_url(settings.redis_url) as records:
            records.delete(job_key(job))
        expect(entry).to_contain_text(f"There is no job {job}")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2500)
        assert asked == []


@pytest.mark.parametrize("loss", LOSSES)
def test_an_evaluation_is_followed_to_its_end(
    browser: Browser, settings: AppSettings, store: CheckpointStore, loss: str
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/evaluations") as page:
        checkpoint = httpx2.get(f"{address}/serving").json()["serving"]
        order = {"checkpoint": checkpoint, "effort": "quick"}
        made = httpx2.post(f"{address}/evaluations", json=order).raise_for_status().json()["id"]
        page.goto("/#/checkpoints")
        entry = page.locator(f"[data-id='{checkpoint}'] .evaluation")
        page.route("**/evaluations?*", LOSSES[loss])
        entry.locator("summary").click()
        expect(entry.locator(".hint")).to_be_visible()  # it says why nothing is shown
        page.unroute("**/evaluations?*")
        expect(entry).to_contain_text("Evaluation (quick): queued")
        lose(page, "**/evaluations?*", loss)
        expect(entry).to_contain_text("Evaluation (quick): queued")
        entry.locator(".hint").evaluate("hint => { hint.dataset.kept = 'yes'; }")
        with page.expect_response("**/evaluations?*"):
            pass
        page.wait_for_timeout(100)  # it is drawn
        expect(entry.locator("[data-kept]")).to_have_count(1)  # screen readers do not read it again
        httpx2.post(f"{address}/jobs/{made}/cancel").raise_for_status()
        expect(entry).to_contain_text("Evaluation (quick): cancelled")
        expect(page.locator("#announcement")).to_have_text(f"The evaluation of {checkpoint} is cancelled.")
        expect(entry.get_by_role("button", name="Evaluate quickly")).to_be_visible()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_is_opened_during_a_loss_says_so_until_it_is_shown(
    browser: Browser, settings: AppSettings, store: CheckpointStore, loss: str
) -> None:
    run = run_of(settings, store, 2, name="two")
    with serving(settings) as address, visiting(browser, address, refused="/jobs/", **DESK) as page:
        page.route(f"**/jobs/{run}**", LOSSES[loss])
        page.goto(f"/#/runs/{run}")
        expect(page.locator("main .notice")).to_contain_text(re.compile("answer"))
        page.unroute(f"**/jobs/{run}**")
        expect(page.get_by_role("heading", name="two", exact=True)).to_be_visible()
        expect(page.locator("main .notice")).to_have_count(0)


def test_the_picture_of_an_epoch_does_not_stay_under_the_heading_of_another(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    run = run_of(settings, store, 2, name="two")
    with serving(settings) as address, visiting(browser, address, refused="/samples.png", **DESK) as page:
        page.goto(f"/#/runs/{run}")
        picture = page.locator(".named canvas")
        expect(picture).to_have_accessible_name(re.compile("^Digits of epoch 2"))
        page.route("**/epochs/1/samples.png", LOSSES["503"])
        page.get_by_role("slider", name="Epoch").press("Home")
        expect(page.get_by_role("heading", name="Epoch 1", exact=True)).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("Redis does not answer.")
        assert picture.evaluate(IS_BLANK)
        expect(picture).to_have_accessible_name("Redis does not answer.")
        page.unroute("**/epochs/1/samples.png")
        page.get_by_role("slider", name="Epoch").press("End")
        expect(picture).to_have_accessible_name(re.compile("^Digits of epoch 2"))
