"""Three users with 300 runs: one is new, one compares runs, one operates the service; and a user without a mouse."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from models.config import DatasetName
from models.registry.store import GENERATOR
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_first_screen import WORDS
from tests.e2e.test_service import DATA
from tests.support.many_runs import DIVERGED, Ids, filled
from tests.support.running_service import Service, running
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

DESK = {"viewport": {"width": 1200, "height": 900}}
FULL = "the disk is full: epoch 1 cannot be published until space is freed"


class World(NamedTuple):
    service: Service
    address: str
    redis_url: str
    ids: Ids


@pytest.fixture(scope="module")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A whole service with 300 runs, which judges its digits."""
    folder = tmp_path_factory.mktemp("users")
    with filled(folder) as (settings, ids):
        url = str(settings.redis_url)
        with running(folder / "home", ACGAN_REDIS_URL=url, ACGAN_JUDGE="true", **DATA) as service:
            yield World(service, str(service.client.base_url), url, ids)


def row(page: Page, name: str) -> Locator:
    return page.locator(".job").filter(has=page.get_by_role("link", name=name, exact=True))


def menu(page: Page, name: str) -> Locator:
    return page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)


def fill_in(page: Page, dataset: DatasetName, **numbers: int) -> None:
    page.get_by_label("Dataset").select_option(dataset)
    page.get_by_text("More options").click()
    for label, value in numbers.items():
        page.get_by_label(label.replace("_", " ").capitalize(), exact=True).fill(str(value))


@pytest.mark.timeout(600)
def test_a_newcomer_types_draws_trains_and_downloads(
    browser: Browser, world: World, dataset_name: DatasetName, tmp_path: Path
) -> None:
    with visiting(browser, world.address, **DESK) as page:
        expect(page.get_by_role("heading", name=WORDS)).to_be_visible()
        expect(page.get_by_role("img", name="31415926, written by the network")).to_be_visible()
        page.get_by_label("Type a number").fill("2026")
        expect(page.get_by_role("img", name="2026, written by the network")).to_be_visible()
        page.locator(".home").get_by_role("link", name="Draw").click()
        page.get_by_text("3", exact=True).click()
        expect(page.get_by_role("img", name="40 times the digit 3")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG").click()
        drawn = page.request.get(page.get_by_label("Permanent link").input_value()).body()
        assert Path(download.value.path()).read_bytes() == drawn
        page.get_by_role("link", name="Train", exact=True).click()
        page.get_by_role("button", name="A quick test").click()
        expect(page.locator(".cost")).to_contain_text("its digits will be grey clouds")
        page.get_by_label("Name").fill("my first")
        fill_in(page, dataset_name, train_examples=1500, test_examples=100)
        page.get_by_role("button", name="Start the run").click()
        watch_to_the_end(page)
        job = page.url.rpartition("/")[2].partition("?")[0]
        page.get_by_text("Download weights").click()
        with page.expect_download() as download:
            page.get_by_role("link", name=GENERATOR, exact=True).click()
        assert download.value.suggested_filename == f"{job}-e002-{GENERATOR}"
        served = page.request.get(f"{world.address}/checkpoints/{job}-e002/{GENERATOR}").body()
        assert Path(download.value.path()).read_bytes() == served
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert len(Path(download.value.path()).read_text().splitlines()) == 3


def watch_to_the_end(page: Page) -> None:
    """Losses and ten digits move before the first epoch ends; then the quality says that they are not served."""
    losses = page.get_by_role("img", name=re.compile(r"^Live losses, at iteration"))
    expect(losses).to_have_accessible_name(re.compile(r"generator \d.*, discriminator \d"))
    first = losses.get_attribute("aria-label")
    sample = page.get_by_role("img", name=re.compile("^The digits 0 to 9. After [0-9,]+ iterations of epoch 1"))
    expect(sample).to_be_visible()
    expect(losses).not_to_have_accessible_name(first or "")
    expect(page.locator("h1 + .badge")).to_have_text("succeeded", timeout=3 * SLOW)
    quality = page.get_by_role("region", name="Quality")
    accuracy = quality.get_by_role("img", name=re.compile("^Label accuracy, in epoch 2"))
    expect(accuracy).to_have_accessible_name(re.compile(r"all classes [\d.]+ %, the worst class [\d.]+ %"))
    expect(page.locator(".refused")).to_contain_text("Epoch 2 is not served:")
    expect(page.get_by_role("img", name=re.compile("^Digits of epoch 2"))).to_be_visible()


@pytest.mark.timeout(600)
def test_a_practitioner_finds_compares_repeats_and_labels(browser: Browser, world: World) -> None:
    with visiting(browser, world.address, **DESK) as page:
        names = page.locator(".job h2 a")
        page.get_by_label("Search").fill("width")
        expect(names).to_have_text(["width 32", "width 16", "width 8"])
        page.get_by_label("Sort").select_option("best Fréchet distance first")
        expect(names).to_have_text(["width 8", "width 16", "width 32"])
        for name in ("width 8", "width 16", "width 32"):
            page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()
        page.get_by_role("link", name="Compare selected runs").click()
        compare(page)
        page.locator("figcaption").get_by_role("link", name="width 8").click()
        page.get_by_text("Each class", exact=True).click()
        each = page.get_by_role("img", name=re.compile("^Recognised, in epoch 4: 0 70 %, 1 72.5 %"))
        expect(each.locator("polyline")).to_have_count(10)
        page.get_by_role("link", name="Edit and run again").click()
        expect(page.get_by_label("Epochs", exact=True)).to_have_value("4")
        page.get_by_label("Name", exact=True).fill("width 8 again")
        page.get_by_label("Batch size").fill("50")
        page.get_by_role("button", name="Start the run").click()
        expect(page.get_by_role("heading", level=1, name="width 8 again")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("h1 + .badge")).to_have_text("cancelled")
        label_and_archive(page)


def compare(page: Page) -> None:
    """Three runs by epoch and by time; the pointer, the scale and the smoothing of all charts."""
    figures = page.locator(".pair figure")
    expect(figures.locator("figcaption a")).to_have_text(["width 8", "width 16", "width 32"])
    expect(figures.nth(0)).to_contain_text("width 8, epoch 4")
    expect(figures.nth(1)).to_contain_text("width 16: no epoch 4, it has 3")
    loss = page.get_by_role("img", name=re.compile("^Loss, "))
    distance = page.get_by_role("img", name=re.compile("^Fréchet distance, "))
    expect(distance).to_have_accessible_name(re.compile("in epoch 4: width 8 6.2"))
    loss.hover(position={"x": 42, "y": 60})
    expect(distance).to_have_accessible_name(re.compile("in epoch 1: width 8 100, width 16 100, width 32 100"))
    page.locator("h1").hover()
    expect(distance).to_have_accessible_name(re.compile("in epoch 4"))
    scale = page.get_by_role("button", name="log scale")
    before = distance.locator("polyline").first.get_attribute("points")
    pressed = scale.get_attribute("aria-pressed")
    scale.click()
    expect(scale).not_to_have_attribute("aria-pressed", pressed or "")
    assert distance.locator("polyline").first.get_attribute("points") != before
    page.get_by_role("slider", name="Smoothing").press("End")
    expect(loss.locator("polyline.raw")).to_have_count(3)
    page.get_by_role("button", name="By time").click()
    expect(page.get_by_role("heading", name="After 4 minutes")).to_be_visible()
    expect(figures.nth(1)).to_contain_text("width 16, epoch 3")
    page.get_by_role("slider", name="Seconds").press("Home")
    expect(figures.nth(0)).to_contain_text("width 8: no epoch so early, it has 4")
    page.get_by_role("button", name="By epoch").click()
    expect(page.get_by_role("heading", name="Epoch 4")).to_be_visible()


def label_and_archive(page: Page) -> None:
    """Labels are in the view of the run, in the list, and in searches."""
    page.get_by_role("button", name="Name and notes").click()
    page.get_by_label("Tags").fill("keep, small batch")
    page.get_by_label("Notes").fill("Half the batch,\nthe same seed.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".notes")).to_have_text("Half the batch,\nthe same seed.")
    page.reload()
    expect(page.locator(".notes")).to_have_text("Half the batch,\nthe same seed.")
    page.get_by_role("link", name="small batch").click()
    expect(page.locator(".job h2 a")).to_have_text(["width 8 again"])
    page.get_by_role("checkbox", name="Select width 8 again").check()
    page.get_by_role("button", name="Archive 1").click()
    expect(page.get_by_text("No run matches.")).to_be_visible()
    page.get_by_label("Show").select_option("archived")
    expect(row(page, "width 8 again").locator(".tag")).to_have_text(["keep", "small batch"])


@pytest.mark.timeout(600)
def test_an_operator_acts_in_one_tab_and_sees_it_in_another(
    browser: Browser, world: World, dataset_name: DatasetName
) -> None:
    desk, address = DESK, world.address
    with visiting(browser, address, **desk) as page, visiting(browser, address, **desk) as other:
        serve(page, other, world.ids)
        job = world.service.train(
            dataset=dataset_name, epochs=500, batch_size=20, train_examples=60, test_examples=40, name="long"
        )
        other.goto(f"/#/runs/{job}")
        menu(page, "Runs").click()
        state = other.locator("h1 + .badge")
        for button, status in (("Cancel", "cancelled"), ("Resume", "running"), ("Cancel", "cancelled")):
            row(page, "long").get_by_role("button", name=button).click()
            expect(state).to_have_text(status)
            expect(row(page, "long").locator(".badge")).to_have_text(status)
        menu(other, "Runs").click()
        expect(row(other, "long")).to_be_visible()
        row(page, "long").get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete run").click()
        expect(row(other, "long")).to_have_count(0)
        see_trouble(page, other, world)


def serve(page: Page, other: Page, ids: Ids) -> None:
    """Serve an older epoch, pin it, and delete one; the other tab shows all of it without being touched."""
    first, second = f"{ids.widths[0]}-e001", f"{ids.widths[0]}-e002"
    for tab in (page, other):
        tab.goto("/#/checkpoints")
        tab.locator(f"[data-job='{ids.widths[0]}'] > summary").click()
    page.locator(f"[data-id='{second}']").get_by_role("button", name="Serve this").click()
    for tab in (page, other):
        expect(tab.locator(".served")).to_contain_text(f"Current model: {second}")
        expect(tab.locator(f"[data-id='{second}'] .badge")).to_have_text("served, pinned")
    page.locator(f"[data-id='{first}']").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete checkpoint").click()
    expect(other.locator(f"[data-id='{second}']")).to_be_visible()
    expect(other.locator(f"[data-id='{first}']")).to_have_count(0)
    page.get_by_role("button", name="Serve the best", exact=True).click()
    expect(other.locator(".served")).to_contain_text(f"Current model: {ids.widths[0]}-e004")
    page.get_by_role("button", name="Serve the newest").click()
    expect(other.locator(".served")).to_contain_text(f"Current model: {ids.widths[2]}-e002")


def see_trouble(page: Page, other: Page, world: World) -> None:
    """A run in trouble says so in full, in the list and in its own view, with the time of its last message."""
    job = world.service.train(name="stuck", runs_on="gpu")
    other.goto(f"/#/runs/{job}")
    expect(other.locator(".troubles")).to_contain_text(re.compile("no worker", re.IGNORECASE))
    consumer = JobConsumer.connect(world.redis_url)
    claim = consumer.claim(600.0, takes=("gpu",))
    assert claim
    consumer.set_trouble(claim, FULL)
    for tab in (page, other):
        expect(tab.get_by_text(f"{FULL[0].upper()}{FULL[1:]}.")).to_be_visible()
    expect(other.get_by_text(re.compile("^Last heard of"))).to_be_visible()
    other.get_by_role("button", name="Cancel").click()
    expect(row(page, "stuck").locator(".badge")).to_have_text("cancelling")
    consumer.finish(claim, JobStatus.CANCELLED)
    consumer.close()
    expect(other.locator("h1 + .badge")).to_have_text("cancelled")
    page.get_by_label("Show").select_option("failed")
    expect(page.locator(".job .line").first).to_contain_text(f"{DIVERGED[0].upper()}{DIVERGED[1:]}.")


# ----------------------------------------------------------------------------
# Without a mouse.

FOCUSED = """() => {
    const element = document.activeElement;
    const text = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
    const shown = element.type === "radio" ? element.nextElementSibling : element; // of a radio, its label is drawn
    return [text.trim(), getComputedStyle(shown).outlineStyle];
}"""


def reach(page: Page, name: str, key: str = "Tab", most: int = 80) -> None:
    """Press Tab until this has the focus, which is visible."""
    for _ in range(most):
        page.keyboard.press(key)
        text, outline = page.evaluate(FOCUSED)
        if text == name:
            assert outline != "none", f"the focus on {name} is not visible"
            return
    raise AssertionError(f"{name} has no focus after {most} times {key}; now it is on {page.evaluate(FOCUSED)[0]!r}")


@pytest.mark.timeout(600)
def test_runs_are_found_compared_drawn_and_started_without_a_mouse(
    browser: Browser, world: World, dataset_name: DatasetName
) -> None:
    with visiting(browser, world.address, **DESK) as page:
        press = page.keyboard.press
        expect(page.locator(".job")).to_have_count(10)
        reach(page, "Search")
        page.keyboard.type("width")
        expect(page.locator(".job")).to_have_count(3)
        for name in ("Select width 32", "Select width 16"):
            reach(page, name)
            press("Space")
        reach(page, "Compare selected runs", "Shift+Tab")
        press("Enter")
        expect(page.get_by_role("heading", name="Epoch 3")).to_be_visible()
        reach(page, "Epoch")
        press("Home")
        expect(page.get_by_role("heading", name="Epoch 1")).to_be_visible()
        reach(page, "log scale")
        press("Space")
        expect(page.get_by_role("button", name="log scale")).to_have_attribute("aria-pressed", "true")
        reach(page, "Draw", "Shift+Tab")
        press("Enter")
        expect(page.get_by_role("img", name="40 times the digit 7")).to_be_visible()
        reach(page, "7")
        press("ArrowRight")
        expect(page.get_by_role("img", name="40 times the digit 8")).to_be_visible()
        reach(page, "Train", "Shift+Tab")
        press("Enter")
        start_and_stop(page, dataset_name)
    assert len(world.service.client.get("/jobs?limit=100&search=typed").json()["jobs"]) == 1


def start_and_stop(page: Page, dataset: DatasetName) -> None:
    press = page.keyboard.press
    expect(page.locator(".cost b")).to_be_visible()
    reach(page, "Name")
    page.keyboard.type("typed")
    reach(page, "Dataset")
    page.keyboard.type(dataset)
    expect(page.get_by_label("Dataset")).to_have_value(dataset)
    reach(page, "Start the run")
    press("Enter")
    expect(page.get_by_role("heading", level=1, name="typed")).to_be_visible()
    for button, status in (("Cancel", "cancelled"), ("Resume", "running"), ("Cancel", "cancelled")):
        expect(page.get_by_role("button", name=button)).to_be_visible()
        reach(page, button, "Shift+Tab" if page.evaluate(FOCUSED)[0] == "Name and notes" else "Tab")
        press("Enter")
        expect(page.locator("h1 + .badge")).to_have_text(status)
        assert page.evaluate(FOCUSED)[0] == "Name and notes", "the focus stays beside what was pressed"
