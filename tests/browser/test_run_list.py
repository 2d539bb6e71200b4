"""The list of runs with 300 of them: position kept, search, order, labels, selection, places in the queue, pictures."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.settings import AppSettings
from models.config import TrainingConfig
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.app.conftest import fresh_weights
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_late_answers import DESK, Late
from tests.models.registry.test_store import manifest
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import WORKERS

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

RUNS = 300
TOP = "(row) => row.getBoundingClientRect().top"


async def accept(url: str) -> None:
    """Queue 300 runs, of which every third is cancelled."""
    jobs = JobClient.connect(url, queue_limit=RUNS)
    for number in range(RUNS):
        job = await jobs.create(Order(TrainingConfig(name=f"run {number:03d}", epochs=3)))
        if number % 3 == 2:
            await jobs.cancel(job.id)
    await jobs.close()


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore) -> Iterator[str]:
    """A service with 300 runs. `run 000` runs, and has an epoch whose plot has a white first row."""
    with ThreadPoolExecutor(1) as thread:  # playwright has an event loop in this one
        thread.submit(lambda: asyncio.run(accept(settings.redis_url))).result()
    consumer = JobConsumer.connect(settings.redis_url)
    consumer.redis.zadd(WORKERS, {"cpu host:1": time.time() - 1})
    claim = consumer.claim(3600.0)
    assert claim
    store.take(claim.job.id, claim.fence)
    made = manifest(claim.job.id, 1).model_copy(update={"fence": claim.fence})
    plot = np.zeros((1120, 588), np.uint8)
    plot[:28] = 255
    store.publish(made, {GENERATOR: fresh_weights(2), SAMPLES: encode_png(plot)})
    consumer.add_epoch(claim, epoch_record(1).model_copy(update={"checkpoint": made.id}))
    consumer.close()
    with serving(settings) as found:
        yield found


def row(page: Page, name: str) -> Locator:
    return page.locator(".job").filter(has=page.get_by_role("link", name=name, exact=True))


def test_back_finds_the_position_in_a_long_list(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport={"width": 1200, "height": 900}) as page:
        rows = page.locator(".job")
        for shown in (10, 60, 110, 160):
            expect(rows).to_have_count(shown)
            page.get_by_role("button", name="Older runs").click()
        expect(rows).to_have_count(210)
        wanted = rows.nth(140)
        name = wanted.get_by_role("link").inner_text()
        wanted.evaluate("(row) => row.scrollIntoView({ block: 'center' })")
        before = wanted.evaluate(TOP)
        wanted.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        assert page.evaluate("scrollY") == 0
        page.go_back()
        expect(rows).to_have_count(210)
        expect(row(page, name)).to_be_in_viewport()
        assert abs(row(page, name).evaluate(TOP) - before) < 100
        page.get_by_role("navigation").get_by_role("link", name="Draw").click()
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        expect(rows).to_have_count(10)  # a link, unlike Back, begins at the top


def test_a_row_says_what_runs_and_what_starts_when(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport={"width": 1200, "height": 900}) as page:
        first = page.locator(".job").first
        expect(first).to_contain_text("run 000")  # the oldest, but it runs
        expect(first).to_contain_text("Starting.")
        expect(first.locator("img")).to_be_visible()
        page.wait_for_function("() => document.querySelector('.job img').naturalWidth > 0")
        assert first.locator("img").evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [140, 56]
        expect(row(page, "run 298")).to_contain_text("number 199 in the queue")
        height = row(page, "run 298").bounding_box()
        assert height
        assert 72 <= height["height"] <= 96
        row(page, "run 298").get_by_role("button", name="Move to front").click()
        expect(row(page, "run 298")).to_contain_text("next in the queue")


def test_search_order_and_filter_stay_in_the_address(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        rows = page.locator(".job")
        page.get_by_label("Search").fill("RUN 12")
        expect(rows).to_have_count(10)
        expect(page.get_by_label("Search")).to_be_focused()
        page.get_by_label("Sort").select_option("by name")
        expect(rows.first).to_contain_text("run 012")
        page.get_by_label("Show").select_option("cancelled")
        expect(rows).to_have_count(4)  # 122, 125, 128, 212
        page.reload()
        expect(rows).to_have_count(4)
        expect(page.get_by_label("Search")).to_have_value("RUN 12")
        page.get_by_label("Search").fill("nothing like it")
        expect(page.locator(".nothing")).to_have_text("No run matches.")


def test_a_run_is_named_and_tagged_with_the_keyboard_only(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        row(page, "run 000").get_by_role("button", name="Edit run 000").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("textbox", name="Name")).to_be_focused()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("my best")
        page.keyboard.press("Tab")
        page.keyboard.type("keep, sharp one")
        page.keyboard.press("Tab")
        page.keyboard.type("wide")
        page.keyboard.press("Enter")
        page.keyboard.type("batch")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(row(page, "my best").locator(".tag")).to_have_text(["keep", "sharp one"])
        job = page.request.get("/jobs?search=best").json()["jobs"][0]
        assert (job["notes"], job["config"]["name"]) == ("wide\nbatch", "run 000")
        row(page, "my best").get_by_role("button", name="sharp one").press("Enter")
        expect(page.locator(".job")).to_have_count(1)
        page.get_by_role("button", name="Show runs without the tag sharp one too").press("Enter")
        expect(page.locator(".job")).to_have_count(10)


def test_many_runs_are_archived_restored_and_deleted_and_another_tab_sees_it(browser: Browser, address: str) -> None:
    with visiting(browser, address, refused="/jobs/") as page, visiting(browser, address) as other:
        for tab in (page, other):
            tab.get_by_label("Search").fill("run 25")
            tab.get_by_label("Show").select_option("cancelled")
            expect(tab.locator(".job")).to_have_count(4)  # 125, 251, 254, 257
        expect(page.locator("#compare")).to_have_text("Select two runs to compare")
        for name in ("run 251", "run 254"):
            page.get_by_role("checkbox", name=f"Select {name}").check()
        expect(page.get_by_role("link", name="Compare selected runs")).to_have_attribute(
            "href", re.compile("#/compare\\?a=.+&b=.+")
        )
        page.get_by_role("button", name="Archive 2").click()
        expect(page.locator(".job")).to_have_count(2)
        expect(other.locator(".job")).to_have_count(2)
        page.get_by_label("Show").select_option("archived")
        expect(page.locator(".job")).to_have_count(2)
        page.get_by_role("checkbox", name="Select run 251").check()
        page.get_by_role("button", name="Restore 1").click()
        expect(page.locator(".job")).to_have_count(1)
        page.get_by_label("Show").select_option("cancelled")
        expect(page.locator(".job")).to_have_count(3)
        for name in ("run 251", "run 257"):
            page.get_by_role("checkbox", name=f"Select {name}").check()
        page.get_by_role("button", name="Delete 2").click()
        (elsewhere,) = page.request.get("/jobs?search=run+257").json()["jobs"]
        assert page.request.delete(f"/jobs/{elsewhere['id']}").ok
        page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator("#announcement")).to_have_text("2 runs deleted.")
        expect(page.get_by_role("alert")).to_be_empty()
        expect(page.locator(".job")).to_have_count(1)
        expect(other.locator(".job")).to_have_count(1)
        left = page.request.get("/jobs?search=run+25&status=cancelled").json()["jobs"]
        assert [(job["name"], job["archived"]) for job in left] == [("run 254", True), ("run 125", False)]


def test_older_runs_that_arrive_late_do_not_join_another_list(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/jobs[?].*before="))
        page.get_by_role("button", name="Older runs").click()
        late.wait()
        page.get_by_label("Search").fill("run 29")
        rows = page.locator(".job")
        expect(page.get_by_role("link", name="run 229", exact=True)).to_be_visible()
        for route in late.held:
            route.continue_()
        page.wait_for_timeout(300)
        assert all("29" in text for text in rows.all_inner_texts())
        expect(rows).to_have_count(10)
