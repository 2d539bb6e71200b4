"""Accessibility: axe's rules in light and dark, wide and narrow; and the form for a key."""

import re
from contextlib import nullcontext
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr

from app.security.api_keys import make_key
from app.settings import AppSettings
from models.config import DatasetName
from models.registry.store import CheckpointStore
from tests.browser.conftest import visiting
from tests.models.registry.test_store import NEW, OLD, manifest
from tests.support.running_service import Service
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.browser

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 800}, "color_scheme": "light", "has_touch": True},
}


@pytest.fixture(scope="module")
def jobs(service: Service, dataset_name: DatasetName) -> list[str]:
    recipe = {"epochs": 2, "batch_size": 20, "train_examples": 60, "test_examples": 40, "dataset": dataset_name}
    made = [service.train(**recipe, name="one"), service.train(**recipe, seed=2)]
    for job in made:
        service.until_ended(job)
    return made


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_violation_and_the_page_fits_its_width(
    browser: Browser, service: Service, jobs: list[str], look: str
) -> None:
    views = {
        "": ".job",
        "new?batch_size=50": ".cost",
        f"runs/{jobs[0]}?real=1": ".chart polyline",
        f"compare?a={jobs[0]}&b={jobs[1]}": ".chart polyline",
        "draw?label=all&n=4&seed=1": ".sheet img[src]",
        "play?number=2718&seed=1": ".drawing img[src]",
        "datasets": ".nothing",
        "checkpoints": ".checkpoint",
    }
    with visiting(browser, str(service.client.base_url), **LOOKS[look]) as page:
        for view, ready in views.items():
            page.goto(f"/#/{view}")
            expect(page.locator(ready).first).to_be_attached()
            page.wait_for_timeout(300)
            assert serious(page) == [], view
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is too wide"


def test_axe_detects_a_planted_violation(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        page.goto("/#/new")
        expect(page.locator("main select").first).to_be_visible()
        page.evaluate("document.querySelector('h1').style.color = '#dddddd'")
        page.evaluate("document.querySelector('main select').labels.forEach((label) => label.remove())")
        assert {found.partition(":")[0] for found in serious(page)} == {
            "color-contrast",
            "select-name",
            "label-title-only",
        }
        page.close()


@pytest.mark.parametrize(
    "planted",
    [
        "append(false)",
        "append('Epoch undefined')",
        "append('named undefined_1, ACGAN_JUDGE=false')",
        "querySelector('h1').firstChild.data = '[object Object]'",
        "querySelector('h1').title = 'NaN %'",
    ],
)
def test_each_view_is_checked_for_words_that_only_a_mistake_shows(
    browser: Browser, settings: AppSettings, planted: str
) -> None:
    is_mistake = "named" not in planted
    with (
        serving(settings) as address,
        pytest.raises(AssertionError, match="#/new") if is_mistake else nullcontext(),
        visiting(browser, address) as page,
    ):
        page.goto("/#/new")
        expect(page.locator("main select").first).to_be_visible()
        page.evaluate(f"document.querySelector('main .view').{planted}")


def serious(page: Page) -> list[str]:
    """The violations that axe calls serious or critical: rule and element. Colours that still change are not judged."""
    page.wait_for_function("() => document.getAnimations().length === 0")
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_a_key_is_requested_kept_for_the_tab_and_sent(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    key, entry = make_key("ana")
    guarded = settings.model_copy(update={"api_keys": SecretStr(str(entry)), "read_needs_key": True})
    with serving(guarded) as address:
        context = browser.new_context(base_url=address)
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("dialog")).to_contain_text("This needs a key")
        page.get_by_label("Key", exact=True).fill(f"{key}x")
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_role("dialog")).to_contain_text("This key is unknown")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_text("No runs yet")).to_be_visible()
        expect(page.locator(".home img[src]")).to_be_visible()  # pictures are requested with the key too
        page.goto("/#/new?epochs=1")
        page.get_by_role("button", name="Start the run").click()
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        page.reload()
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        job = page.url.rpartition("/")[2]
        page.request.post(f"/jobs/{job}/cancel", headers={"Authorization": f"Bearer {key}"})
        expect(page.locator("h1 + .badge")).to_have_text("cancelled")  # the page follows it by polling
        assert context.cookies() == []
        assert page.evaluate("localStorage.length") == 0
        context.close()


def test_mistakes_are_shown_in_a_sentence_beside_the_field(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        page.goto("/#/draw")
        expect(page.get_by_role("main")).to_contain_text("No generator has been published yet")
        page.goto("/#/new?epochs=2000")
        page.get_by_role("button", name="Start the run").click()
        expect(page.get_by_label("Epochs")).to_have_accessible_description(re.compile("at most 1000"))
        expect(page.get_by_label("Epochs")).to_be_focused()
        page.goto("/#/new?epochs=1&train_examples=50")
        page.get_by_role("button", name="Start the run").click()
        images = page.get_by_label("Train examples")
        expect(images).to_have_accessible_description(re.compile("Train examples is 50, less than one batch of 100"))
        expect(images).to_be_focused()
        page.goto("/#/new?epochs=0")
        expect(page.locator(".cost")).to_have_text("Some fields are invalid.")
        page.get_by_label("Epochs").fill("")
        expect(page.get_by_placeholder("100").and_(page.get_by_label("Epochs"))).to_be_visible()
        expect(page.locator(".cost")).to_contain_text("for 100 epochs")
        page.goto("/#/runs/20200101-000000-aaaaaa")
        expect(page.get_by_role("main")).to_contain_text("There is no job")
        expect(page).to_have_title("acgan")
        page.close()


def test_an_empty_field_shows_its_default_and_an_estimate_uses_several_runs(
    browser: Browser, settings: AppSettings, store: CheckpointStore, redis_url: str
) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        consumer = JobConsumer.connect(redis_url)
        took = (("seed", 600.0), ("seed", 660.0), ("sharp", 60.0), ("seed", 6000.0))  # the last one was disturbed
        for recipe, seconds in took:
            page.request.post("/train", data={"epochs": 1, "recipe": recipe})
            claim = consumer.claim()
            assert claim
            consumer.add_epoch(claim, epoch_record(1).model_copy(update={"seconds": seconds}))
            consumer.finish(claim, JobStatus.SUCCEEDED)
        consumer.close()
        page.goto("/#/new?epochs=10")
        cost = page.locator(".cost")
        expect(cost).to_contain_text("About 1 h 50 min")  # ten times 660 seconds
        expect(cost).to_contain_text("based on the last 3 similar runs (91 images per second)")
        page.get_by_label("Recipe").select_option("sharp")
        expect(cost).to_contain_text("About 10 minutes")
        expect(cost.get_by_role("link")).to_be_visible()  # only one run of this kind exists
        epochs = page.get_by_label("Epochs")
        expect(epochs).not_to_have_accessible_description(re.compile("Empty means"))
        epochs.fill("")
        expect(epochs).to_have_accessible_description(re.compile(r"Empty means 100\.$"))
        expect(epochs).to_have_attribute("placeholder", "100")
        expect(cost).to_contain_text("for 100 epochs of 60,000 images")
        page.get_by_text("More options").click()
        expect(page.get_by_label("Train examples")).to_have_accessible_description(re.compile("Empty means all"))
        batch = page.get_by_label("Batch size")
        for name, size in (("thorough", "50"), ("sharp", "100")):  # the default of the recipe
            page.get_by_label("Recipe").select_option(name)
            expect(batch).to_have_value("")
            expect(batch).to_have_attribute("placeholder", size)
            expect(batch).to_have_accessible_description(re.compile(rf"Empty means {size}\.$"))
        page.get_by_role("button", name="Start the run").click()
        page.wait_for_url("**/#/runs/**")
        assert page.request.get(f"/jobs/{page.url.rpartition('/')[2]}").json()["config"]["epochs"] == 100
        page.close()


def test_a_long_name_stays_on_the_page(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address, viewport={"width": 390, "height": 844})
        name = 100 * "x"
        job = page.request.post("/train", data={"name": name}).json()["id"]
        for place in ("/#/", f"/#/runs/{job}"):
            page.goto(place)
            expect(page.get_by_role("heading", name=name)).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        page.close()


def test_a_mistake_in_the_drawing_form_is_shown_until_it_is_corrected(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        page.goto("/#/draw?label=3&n=2000&checkpoint=best")
        expect(page.get_by_role("main").get_by_text("should be at most 1000")).to_be_visible()
        expect(page.get_by_label("Permanent link")).to_be_hidden()
        page.get_by_label("Number of digits").fill("5")
        expect(page.get_by_role("img", name="5 times the digit 3")).to_be_visible()
        expect(page.get_by_role("main").get_by_text("should be at most 1000")).to_be_hidden()
        page.close()


def test_a_refused_checkpoint_shows_the_reason_and_cannot_be_served(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    refused = manifest(NEW, 2).model_copy(update={"refused": "its digits for 4 have collapsed"})
    store.publish(refused, {})
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/checkpoints")
        entry = page.locator(f"[data-id='{NEW}-e002']")
        expect(entry).to_contain_text("Not served: its digits for 4 have collapsed.")
        expect(entry.get_by_role("button", name="Serve this")).to_have_count(0)
        expect(page.locator(".served")).to_contain_text(f"Current model: {NEW}-e001")
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator(".served")).to_contain_text(f"Current model: {OLD}-e001")


def test_the_api_documentation_is_shown_without_a_network(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/docs")
        expect(page.get_by_text("/digits/{label}", exact=True)).to_be_visible()
