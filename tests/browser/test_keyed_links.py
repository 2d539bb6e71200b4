"""Where reading needs a key, which a link cannot send, every file of the API is fetched with the key and then saved."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pydantic import SecretStr

from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import serious
from tests.browser.test_run import DESK, run_of
from tests.support.many_runs import evaluate
from tests.support.serving import serving
from worker.jobs.consumer import JobConsumer
from worker.runner import run_next_job

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

KEY, ENTRY = make_key("reader", Role.READ)
LINKS = "all => all.map((link) => link.getAttribute('href')).filter((address) => !/^(#|page[/])/.test(address))"


class Made(NamedTuple):
    run: str  # of two epochs, whose second checkpoint is evaluated
    dataset: str


@pytest.fixture
def made(settings: AppSettings, store: CheckpointStore) -> Made:
    run = run_of(settings, store, 2, name="two")
    consumer = JobConsumer.connect(settings.redis_url)
    with ThreadPoolExecutor(1) as thread:  # the caller's has the event loop of playwright
        thread.submit(evaluate, settings, consumer, store, f"{run}-e002").result()
    consumer.close()
    with serving(settings) as address:
        order = {"per_class": 1, "test_per_class": 1}
        dataset = httpx2.post(f"{address}/datasets", json=order).raise_for_status().json()["id"]
    run_next_job(settings)
    return Made(run, dataset)


def visit(page: Page, made: Made, view: str) -> None:
    """Open a view and the parts of it that have links to files."""
    page.goto(f"/#/{view}")
    match view.partition("/")[0].partition("?")[0]:
        case "runs":
            expect(page.get_by_role("img", name="Digits of epoch 2")).to_be_visible()
            page.get_by_text("Download weights").click()
            expect(page.get_by_text("manifest.json")).to_be_visible()
        case "datasets":
            expect(page.locator(f"[data-id='{made.dataset}']")).to_contain_text("succeeded")
        case "checkpoints":
            entry = page.locator(f"[data-id='{made.run}-e002']")
            entry.get_by_text("Download", exact=True).click()
            entry.get_by_text("Evaluate", exact=True).click()
            expect(entry.get_by_text("All figures")).to_be_visible()
        case "play":
            expect(page.locator(".drawing img[src]")).to_have_count(2)
        case _:
            expect(page.locator(".job, .cost b, .sheet img[src]").first).to_be_visible()


def views(made: Made) -> list[str]:
    return ["", f"runs/{made.run}", "datasets", "checkpoints", "play?number=42&seed=1", "training-data", "new", "draw"]


def test_no_link_to_the_api_remains_where_reading_needs_a_key(
    browser: Browser, settings: AppSettings, made: Made
) -> None:
    guarded = settings.model_copy(update={"api_keys": SecretStr(str(ENTRY)), "read_needs_key": True})
    with serving(settings) as open_address, visiting(browser, open_address, **DESK) as page:
        for view in views(made)[:5]:
            visit(page, made, view)
            assert page.locator("a[href]").evaluate_all(LINKS) != [], view
    with serving(guarded) as address, visiting(browser, address, **DESK, refused=address) as page:
        page.get_by_label("Key", exact=True).fill(KEY)
        page.get_by_role("button", name="Use key").click()
        for view in views(made):
            visit(page, made, view)
            assert page.locator("a[href]").evaluate_all(LINKS) == [], view
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
            assert serious(page) == [], view
        saves_all(page, address, made)


def saves_all(page: Page, address: str, made: Made) -> None:
    """Every file is the one that a program gets with the key."""
    run, main, key = made.run, page.locator("main"), {"Authorization": f"Bearer {KEY}"}

    def check(button: Locator, name: str, path: str) -> None:
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == name
        stored = httpx2.get(f"{address}/{path}", headers=key).raise_for_status()
        assert Path(download.value.path()).read_bytes() == stored.content, path

    check(page.get_by_role("button", name="API"), "openapi.json", "openapi.json")
    visit(page, made, f"runs/{run}")
    expect(main.get_by_text(f"acgan follow {run}")).to_be_visible()
    record, history = main.get_by_role("button", name="JSON", exact=True).all()
    check(record, f"{run}-record.json", f"jobs/{run}")
    check(history, f"{run}-history.json", f"jobs/{run}/history.json")
    check(main.get_by_role("button", name="CSV"), f"{run}-history.csv", f"jobs/{run}/history.csv")
    manifest = f"{run}-e002-manifest.json", f"checkpoints/{run}-e002/manifest.json"
    check(main.get_by_role("button", name="manifest.json"), *manifest)
    main.get_by_label("Epoch", exact=True).fill("1")
    check(main.get_by_role("button", name="Full plot"), f"{run}-e001.png", f"jobs/{run}/epochs/1/samples.png")
    seed = httpx2.get(f"{address}/jobs/{run}", headers=key).json()["config"]["seed"]
    check(
        main.get_by_role("button", name="Film"), f"{run}.gif", f"jobs/{run}/evolution/0?seed={seed}&format=gif&scale=6"
    )
    visit(page, made, "checkpoints")
    (found,) = httpx2.get(f"{address}/evaluations", headers=key).raise_for_status().json()["evaluations"]
    place = f"evaluations/{found['id']}"
    check(main.get_by_role("button", name="Charts"), f"{found['id']}-picture.png", f"{place}/picture.png")
    check(main.get_by_role("button", name="All figures"), f"{found['id']}-result.json", f"{place}/result.json")
    visit(page, made, "play?number=42&seed=1")
    for button, name in zip(main.locator(".drawing button").all(), ("42.png", "3-to-8.webp"), strict=True):
        check(button, name, button.inner_text().removeprefix(f"{address}/"))
