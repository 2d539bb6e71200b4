"""The page, used by a new user: from an empty service to digits, and back to older ones."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from models.config import DatasetName
from tests.browser.conftest import SLOW, visiting
from tests.support.running_service import Service

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

FIRST_PAINT = 50_000  # bytes
TRANSFERRED = """() => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""


@pytest.mark.timeout(600)
def test_a_new_user_trains_draws_and_compares(
    browser: Browser, service: Service, dataset_name: DatasetName, tmp_path: Path
) -> None:
    with visiting(browser, str(service.client.base_url), viewport={"width": 1200, "height": 900}) as page:
        expect(page.get_by_text("No runs yet")).to_be_visible()
        assert 5_000 < page.evaluate(TRANSFERRED) < FIRST_PAINT
        job = start(page, dataset_name)
        watch(page)
        look_back(page)
        stop_and_go_on(page, service, job)
        draw(page, tmp_path)
        choose(page, service, job)
        again_and_compare(page, service)


def start(page: Page, dataset: DatasetName) -> str:
    """Fill in the form: it shows an estimate of the duration, and a mistake in a sentence beside its field."""
    page.get_by_role("link", name="Train", exact=True).first.click()
    page.get_by_role("button", name="a quick test").click()
    expect(page.get_by_label("Epochs")).to_have_value("2")
    expect(page.locator(".cost")).to_contain_text("2 epochs of 6,000 images")
    page.get_by_label("Name").fill("a story")
    page.get_by_label("Dataset").select_option(dataset)
    page.get_by_label("Epochs").fill("400")  # it is cancelled before their end
    page.get_by_text("More options").click()
    for label, value in (("Batch size", 20), ("Train examples", 60), ("Test examples", 40)):
        page.get_by_label(label).fill(str(value))
    page.reload()  # the URL contains the values of the form
    expect(page.get_by_label("Name")).to_have_value("a story")
    expect(page.get_by_label("Train examples")).to_have_value("60")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url("**/#/runs/**")
    return page.url.rpartition("/")[2]


def watch(page: Page) -> None:
    """Curves grow by themselves, and a reload in between loses nothing."""
    expect(page.get_by_role("heading", level=1)).to_have_text("a story")
    loss = page.get_by_role("img", name=re.compile("^Loss, in epoch"))
    expect(loss).to_have_accessible_name(re.compile(r"in epoch ([2-9]|\d\d+): generator \(train\) \d"))
    page.evaluate("window.same = true")
    before = loss.get_attribute("aria-label")
    expect(loss).not_to_have_accessible_name(before or "")
    expect(loss).to_have_accessible_name(re.compile(r"in epoch ([4-9]|\d\d+):"))
    assert page.evaluate("window.same"), "the page was reloaded: its curves did not grow by themselves"
    losses = page.get_by_role("region", name="Losses", exact=True)
    for curve in losses.locator("polyline").all():
        assert len((curve.get_attribute("points") or "").split()) >= 4
    assert losses.locator("polyline").count() == 12  # four rows, three losses
    assert page.title().endswith("a story · acgan")
    expect(page.locator(".standing")).to_contain_text("left")
    page.reload()
    expect(loss).to_have_accessible_name(re.compile(r"in epoch ([4-9]|\d\d+):"))


def reaches(page: Page, epochs: int) -> None:
    """Wait until the slider has this number of epochs. It may have more: an epoch takes less than a second."""
    slider = page.get_by_role("slider", name="Epoch")
    expect(slider).to_be_visible()
    page.wait_for_function(
        "([slider, epochs]) => Number(slider.max) >= epochs", arg=[slider.element_handle(), epochs], timeout=SLOW
    )


def look_back(page: Page) -> None:
    """The slider, by keyboard, selects an epoch for the digits, the curves, the table and the URL."""
    slider = page.get_by_role("slider", name="Epoch")
    digits = page.get_by_role("img", name=re.compile("^Digits of epoch"))
    slider.press("Home")
    expect(digits).to_have_accessible_name(re.compile("^Digits of epoch 1:"))
    first = page.evaluate("document.querySelector('canvas').toDataURL()")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(digits).to_have_accessible_name(re.compile("^Digits of epoch 3:"))
    assert page.evaluate("document.querySelector('canvas').toDataURL()") != first
    expect(page.get_by_role("columnheader", name="epoch 3")).to_be_visible()
    expect(page).to_have_url(re.compile("epoch=3"))
    page.reload()
    expect(digits).to_have_accessible_name(re.compile("^Digits of epoch 3:"))
    page.get_by_label("show real digits").check()
    expect(digits).to_have_accessible_name(re.compile("real digits"))


def stop_and_go_on(page: Page, service: Service, job: str) -> None:
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 + .badge")).to_have_text("cancelled")
    stopped = len(service.job(job)["epochs"])
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1 + .badge")).to_have_text("running")
    reaches(page, stopped + 2)  # it is live again
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 + .badge")).to_have_text("cancelled")


def draw(page: Page, folder: Path) -> None:
    """Digits have a URL that draws the same ones."""
    page.get_by_role("navigation").get_by_role("link", name="Draw").click()
    page.get_by_text("3", exact=True).click()
    page.get_by_label("Number of digits").fill("12")
    picture = page.get_by_role("img", name="12 times the digit 3")
    expect(picture).to_be_visible()
    address = page.get_by_label("Permanent link")
    expect(address).to_have_value(re.compile(r"/digits/3\?n=12&seed=\d+&checkpoint=.*-e\d{3}$"))
    seed = page.get_by_label("Seed", exact=True).input_value()
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(folder / "threes.png")
    assert download.value.suggested_filename == f"3s-{seed}.png"
    same = page.request.get(address.input_value()).body()
    assert same == (folder / "threes.png").read_bytes()
    page.get_by_role("button", name="New seed").click()
    expect(page.get_by_label("Seed", exact=True)).not_to_have_value(seed)
    page.go_back()
    page.go_forward()
    expect(page.get_by_label("Number of digits")).to_have_value("12")


def choose(page: Page, service: Service, job: str) -> None:
    page.get_by_role("link", name="Checkpoints").click()
    newest = service.client.get("/serving").json()["serving"]
    number = int(newest.rpartition("-e")[2])
    expect(page.locator(".served")).to_contain_text(f"Current model: {newest}")
    page.get_by_role("button", name="Roll back").click()
    before = f"{job}-e{number - 1:03d}"
    expect(page.locator(".served")).to_contain_text(f"Current model: {before}")
    assert service.client.get("/serving").json() == {
        "policy": "pinned",
        "by": "epoch",
        "checkpoint": before,
        "dataset": None,
        "serving": before,
        "serving_dataset": service.client.get(f"/jobs/{job}").json()["config"]["dataset"],
    }
    page.locator(f"[data-id='{job}-e001']").get_by_role("button", name="Serve this").click()
    expect(page.locator(".served")).to_contain_text(f"Current model: {job}-e001")
    page.get_by_role("button", name="Serve the newest").click()
    expect(page.locator(".served")).to_contain_text(f"Current model: {newest}")


def again_and_compare(page: Page, service: Service) -> None:
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Duplicate").click()
    page.wait_for_url("**/#/runs/**")
    again = page.url.rpartition("/")[2]
    reaches(page, 2)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 + .badge")).to_have_text("cancelled")
    assert service.job(again)["retry_of"]
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("link", name="Compare selected runs").click()
    loss = page.get_by_role("img", name=re.compile("^Loss, in epoch"))
    expect(loss).to_have_accessible_name(re.compile(r"in epoch ([4-9]|\d\d+): a story unknown, a story \(2\) [\d.]+"))
    page.get_by_role("slider", name="Epoch").press("Home")
    expect(loss).to_have_accessible_name(re.compile(r"in epoch 1: a story ([\d.]+), a story \(2\) \1"))  # the same seed
