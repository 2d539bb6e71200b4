"""Training data on the page: brought, chosen, watched and drawn by the names of its classes."""

import re
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Route, expect

from app.main import create_app
from app.settings import AppSettings
from models.networks.acgan import Generator, initialize
from models.networks.weights import to_bytes
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.app.conftest import publish_trained
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import LOOKS, serious
from tests.models.registry.test_store import manifest
from tests.support.api_clients import local_client
from tests.support.serving import serving
from tests.support.training_sets import bring
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

# The distance of each control of a view from the top of the page.
PLACES = """() => [...document.querySelectorAll("main :is(a, button, input, select, summary)")]
  .map((each) => each.getBoundingClientRect().top + scrollY)"""
CLASSES = ("apple", "Bär", "t-shirt")
OPEN = "all => { for (const details of all) details.open = true; }"


@pytest.fixture
def letters(settings: AppSettings, store: CheckpointStore) -> str:
    """A store with digits, and training data `letters` with an ended run of one epoch. Returns the id of the run."""
    bring(store.training_data, "letters", CLASSES, train=120)
    with local_client(create_app(settings)) as client:
        job: str = client.post("/train", json={"name": "three", "dataset": "letters", "epochs": 1}).json()["id"]
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim
    store.take(job, claim.fence)
    generator = Generator(classes=len(CLASSES))
    initialize(generator, torch.Generator().manual_seed(5))
    made = manifest(job, 1)
    config = made.config.model_copy(update={"dataset": "letters@1"})
    made = made.model_copy(update={"fence": claim.fence, "config": config, "classes": CLASSES})
    plot = np.zeros((1120, 28 * (2 * len(CLASSES) + 1)), np.uint8)
    for label in range(len(CLASSES)):
        plot[:, 28 * label : 28 * label + 28] = 80 * (label + 1)
    store.publish(made, {GENERATOR: to_bytes(generator), SAMPLES: encode_png(plot)})
    metrics = {f"label_accuracy_{label}": 0.9 for label in range(3)} | {f"variety_{label}": 0.8 for label in range(3)}
    metrics |= {"label_accuracy": 0.9, "label_accuracy_worst": 0.9, "variety": 0.8, "frechet_distance": 5.0}
    consumer.add_epoch(claim, epoch_record(1).model_copy(update={"checkpoint": made.id, "metrics": metrics}))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    consumer.close()
    return job


def test_classes_are_named_beside_the_picture_of_a_run(browser: Browser, settings: AppSettings, letters: str) -> None:
    with serving(settings) as address, visiting(browser, address, viewport={"width": 1200, "height": 900}) as page:
        page.goto(f"/#/runs/{letters}")
        picture = page.get_by_role("img", name="Images of epoch 1: the classes apple, Bär, t-shirt from top to bottom")
        expect(picture).to_be_visible()
        assert page.locator(".names li").all_inner_texts() == list(CLASSES)
        assert picture.evaluate("canvas => canvas.height") == 28 * len(CLASSES)
        column = "canvas => Array.from(canvas.getContext('2d').getImageData(14, 14, 1, 57).data)"  # to the third class
        assert picture.evaluate(column)[:: 4 * 28] == [80, 160, 240]
        rows = [
            box["y"] + box["height"] / 2
            for box in (row.bounding_box() for row in page.locator(".names li").all())
            if box
        ]
        box = picture.bounding_box()
        assert box
        assert len(rows) == 3
        for row, middle in enumerate(rows):  # each name is beside its row
            assert abs(middle - (box["y"] + (row + 0.5) * box["height"] / 3)) < box["height"] / 12
        page.get_by_text("Each class", exact=True).click()
        heads = page.get_by_role("region", name="Metrics per class").get_by_role("columnheader")
        expect(heads).to_have_text(["class", *CLASSES])
        page.get_by_label("show real images").check()
        expect(page.get_by_role("img", name=re.compile("real images"))).to_be_visible()
        page.get_by_role("link", name="Draw with this checkpoint").click()
        expect(page.get_by_role("img", name="40 times the class apple")).to_be_visible()


def test_a_run_whose_training_data_was_removed_says_why_it_shows_no_real_images(
    browser: Browser, settings: AppSettings, letters: str
) -> None:
    with (
        serving(settings) as address,
        visiting(browser, address, refused="/training-data/letters") as page,
    ):
        httpx2.delete(f"{address}/training-data/letters").raise_for_status()
        page.goto(f"/#/runs/{letters}")
        page.get_by_label("show real images").check()
        expect(page.get_by_text(re.compile("no training data letters"))).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("one class per row from top to bottom"))).to_be_visible()


def test_images_are_drawn_by_name_and_digits_as_before(browser: Browser, settings: AppSettings, letters: str) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/draw?n=12&seed=4")
        expect(page.get_by_role("img", name="12 times the digit 7")).to_be_visible()
        source = page.get_by_label("Training data")
        source.select_option("letters")
        expect(page.get_by_role("img", name="12 times the class apple")).to_be_visible()
        expect(source).to_be_focused()
        page.get_by_text("Bär", exact=True).click()
        expect(page.get_by_role("img", name="12 times the class Bär")).to_be_visible()
        link = page.get_by_label("Permanent link")
        expect(link).to_have_value(f"{address}/images/letters/B%C3%A4r?n=12&seed=4&checkpoint={letters}-e001")
        answer = httpx2.get(link.input_value())
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        page.reload()
        expect(page.get_by_role("img", name="12 times the class Bär")).to_be_visible()
        page.get_by_text("all", exact=True).click()
        page.get_by_label("Number of images").fill("2")
        expect(page.get_by_role("img", name="2 times the classes apple, Bär, t-shirt")).to_be_visible()
        expect(page.get_by_label("Checkpoint").locator("option")).to_have_text(
            ["Newest model", "Best model", f"{letters}-e001"]
        )
        with page.expect_download() as download:
            page.get_by_role("button", name="NPY").click()
        assert np.load(Path(download.value.path())).shape == (2, 3, 28, 28)
        source.select_option("")
        expect(page.get_by_role("img", name="2 times the digit 7")).to_be_visible()
        expect(link).to_have_value(re.compile(r"/digits/7\?n=2&seed=4&checkpoint="))
        assert f"{letters}-e001" not in page.get_by_label("Checkpoint").locator("option").all_inner_texts()


def test_all_classes_of_many_are_drawn_with_as_many_images_as_fit(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    run = "20360101-000000-aaaaaa"
    publish_trained(store, run, bring(store.training_data, "many", tuple("abcdefghijklmnopqrstuvwxyz")))
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/draw?data=many&seed=1")
        expect(page.get_by_role("img", name="40 times the class a")).to_be_visible()
        page.get_by_text("all", exact=True).click()
        expect(page.get_by_role("img", name="38 times the classes a, b, c")).to_be_visible()
        expect(page.get_by_label("Number of images")).to_have_value("38")
        page.goto("/#/draw?data=many&seed=1&all=yes")
        expect(page.get_by_role("img", name="38 times the classes a, b, c")).to_be_visible()


def test_the_order_of_a_data_set_keeps_its_training_data_in_the_address(
    browser: Browser, settings: AppSettings, letters: str
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/datasets") as page:
        page.goto("/#/datasets")
        page.get_by_label("Generate", exact=True).select_option("letters")
        expect(page).to_have_url(re.compile("data=letters"))
        page.reload()
        expect(page.get_by_label("Generate", exact=True)).to_have_value("letters")
        expect(page.get_by_text("21,000 images, about")).to_be_visible()
        page.get_by_label("Test digits per class").fill("0")
        page.get_by_role("button", name="Generate data set").click()
        expect(page.get_by_role("alert")).to_contain_text("Test per class should be at least 1")
        expect(page.get_by_label("Test digits per class")).to_be_focused()


def test_a_checkpoint_of_other_classes_is_drawn_but_not_served(
    browser: Browser, settings: AppSettings, letters: str
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/checkpoints")
        entry = page.locator(f"[data-id='{letters}-e001']")
        expect(entry.get_by_role("link", name="Draw")).to_be_attached()
        expect(entry.get_by_role("button", name="Serve this")).to_have_count(0)
        expect(page.locator(".served")).not_to_contain_text(letters)


def test_the_form_offers_own_data_with_preview_and_classes_by_keyboard(
    browser: Browser, settings: AppSettings, letters: str
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/new")
        choice = page.get_by_label("Dataset")
        expect(choice.locator("option[value=letters]")).to_be_attached()
        page.get_by_label("Recipe").focus()
        page.keyboard.press("Tab")
        expect(choice).to_be_focused()
        page.keyboard.type("letters")
        expect(choice).to_have_value("letters")
        about = page.get_by_role("region", name="Example images")
        expect(about).to_contain_text("3 classes: apple, Bär, t-shirt. 120 training images, 30 for tests.")
        expect(about.get_by_role("img", name="Images of letters: the classes apple, Bär, t-shirt")).to_be_visible()
        expect(page.locator(".cost")).to_contain_text("for 5 epochs of 120 images")
        page.get_by_label("Epochs").fill("1")
        page.get_by_label("Epochs").press("Enter")
        page.wait_for_url("**/#/runs/**")
        job = httpx2.get(f"{address}/jobs/{page.url.rpartition('/')[2]}").json()
        assert job["config"]["dataset"] == "letters@1"


@pytest.mark.parametrize("width", [390, 1200])
def test_no_control_of_the_form_moves_when_the_images_of_a_set_arrive(
    browser: Browser, settings: AppSettings, letters: str, width: int
) -> None:
    """Otherwise a click may hit something else than what was under the pointer."""
    viewport = {"width": width, "height": 900}
    with serving(settings) as address, visiting(browser, address, viewport=viewport) as page:
        page.goto("/#/new")
        expect(page.locator("option[value=letters]")).to_be_attached()
        before = page.evaluate(PLACES)
        page.get_by_label("Dataset").select_option("letters")
        expect(page.get_by_role("img", name="Images of letters")).to_be_visible()
        expect(page.locator(".cost")).to_contain_text("of 120 images")
        assert page.evaluate(PLACES) == before
        page.get_by_text("More options").click()
        expect(page.get_by_label("Batch size")).to_be_visible()


def test_no_button_moves_when_the_previews_of_sets_arrive(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    bring(store.training_data, "letters", CLASSES)
    bring(store.training_data, "many", tuple("abcdefghijklmnopqrstuvwxyz"))
    with serving(settings) as address, visiting(browser, address) as page:
        waiting: list[Route] = []
        page.route("**/preview.png", lambda route: waiting.append(route))  # Playwright inspects it
        page.goto("/#/training-data")
        expect(page.get_by_role("button", name="Remove")).to_have_count(2)
        while len(waiting) < 2:
            page.wait_for_timeout(50)
        before = page.evaluate(PLACES)
        for route in waiting:
            route.continue_()
        expect(page.locator(".preview img[src]")).to_have_count(2)
        assert page.evaluate(PLACES) == before


def test_a_set_is_listed_with_its_counts_and_removed_after_a_question(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    bring(store.training_data, "letters", CLASSES)
    bring(store.training_data, "letters", CLASSES, seed=3)
    with serving(settings) as address, visiting(browser, address) as page:
        page.get_by_role("link", name="Data", exact=True).click()
        entry = page.locator("[data-name='letters']")
        expect(entry).to_contain_text("60 training images, 30 for tests · 3 classes · no checkpoint yet")
        expect(entry.get_by_role("img", name="Images of letters")).to_be_visible()
        entry.get_by_text("Classes and details").click()
        expect(entry.get_by_role("columnheader")).to_have_text(["class", *CLASSES])
        entry.get_by_role("button", name="Remove letters@1").click()
        page.get_by_role("dialog").get_by_role("button", name="Keep").click()
        assert httpx2.get(f"{address}/training-data/letters@1").status_code == 200
        entry.get_by_role("button", name="Remove letters@1").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove training data").click()
        expect(entry.get_by_role("button", name="Remove letters@1")).to_have_count(0)
        assert httpx2.get(f"{address}/training-data/letters").json()["versions"] == [2]
        entry.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove training data").click()
        expect(entry).to_have_count(0)
        assert httpx2.get(f"{address}/training-data/letters").status_code == 404


def test_the_list_of_sets_keeps_the_focus_and_what_is_open(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    bring(store.training_data, "letters", CLASSES)
    bring(store.training_data, "others", CLASSES)
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/training-data")
        summary = page.locator("[data-name='letters'] summary")
        summary.click()
        page.locator("[data-name='others']").get_by_role("button", name="Remove").click()
        waiting: list[Route] = []
        page.route("**/training-data", lambda route: waiting.append(route))
        page.get_by_role("dialog").get_by_role("button", name="Remove training data").click()
        while not waiting:
            page.wait_for_timeout(50)
        summary.focus()
        waiting[0].continue_()
        expect(page.locator("[data-name='others']")).to_have_count(0)
        expect(summary).to_be_focused()
        expect(page.locator("[data-name='letters'] details")).to_have_attribute("open", "")


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_violation_and_the_views_fit(
    browser: Browser, settings: AppSettings, letters: str, look: str
) -> None:
    views = {
        "training-data": ".preview img[src]",
        f"runs/{letters}": ".names li",
        "draw?data=letters&n=8&seed=1": ".sheet img[src]",
        "new?dataset=letters": ".preview img[src]",
        "datasets": ".tabs",
        "checkpoints": ".checkpoint",
    }
    with serving(settings) as address, visiting(browser, address, **LOOKS[look]) as page:
        for view, ready in views.items():
            page.goto(f"/#/{view}")
            expect(page.locator(ready).first).to_be_attached()
            page.locator("[data-name=letters] details, .bring details, .new_run details").evaluate_all(OPEN)
            page.wait_for_timeout(300)
            assert serious(page) == [], view
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is too wide"
        tops = page.locator("header nav a").evaluate_all(
            "links => links.map((link) => link.getBoundingClientRect().top)"
        )
        assert len(set(tops)) == 1, "the navigation has more than one row"
