"""The answer of an earlier request that arrives late does not replace that of a later one."""

import re
import time

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from models.sampling.png import encode_png
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_blind_test import PIXELS
from tests.browser.test_training_data import letters  # noqa: F401  # a fixture
from tests.browser.test_upload import file
from tests.support.serving import serving

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

DESK = {"width": 1200, "height": 900}
LETTERS = "Images of letters: the classes apple, Bär, t-shirt"
PAPER = encode_png(np.zeros((28, 28), np.uint8))


class Late:
    """Holds the requests to some addresses back until `arrive`."""

    def __init__(self, page: Page, addresses: re.Pattern[str]) -> None:
        self.page = page
        self.held: list[Route] = []
        self.ended: list[Request] = []
        page.on("requestfinished", lambda request: self.ended.append(request))
        page.on("requestfailed", lambda request: self.ended.append(request))
        page.route(addresses, lambda route: self.held.append(route))

    def wait(self, requests: int = 1) -> None:
        """Wait until the page has sent this number of requests."""
        deadline = time.monotonic() + SLOW / 1000
        while len(self.held) < requests:
            assert time.monotonic() < deadline, f"the page sent {len(self.held)} requests"
            self.page.wait_for_timeout(20)  # Playwright hands over requests only while it waits

    def arrive(self) -> None:
        """Answer all requests with a black picture. Returns after the page has had time to show it."""
        for route in self.held:
            route.fulfill(body=PAPER, content_type="image/png", headers={"X-Checkpoint": "late"})
        deadline = time.monotonic() + SLOW / 1000
        while not all(route.request in self.ended for route in self.held):
            assert time.monotonic() < deadline, "a request neither arrived nor was aborted"
            self.page.wait_for_timeout(20)
        self.page.wait_for_timeout(200)


def form_with_mnist(page: Page) -> tuple[Locator, Locator]:
    """Open the form of a new run, where mnist is chosen. Returns the choice, and the place of the images."""
    page.goto("/#/new")
    choice = page.get_by_label("Dataset")
    expect(choice.locator("option[value=letters]")).to_be_attached()
    choice.focus()
    about = page.get_by_role("region", name="Example images")
    expect(about).to_contain_text("60,000 training images")
    return choice, about


def test_of_training_data_that_was_chosen_before(
    browser: Browser,
    settings: AppSettings,
    letters: str,  # noqa: F811
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        late = Late(page, re.compile("/training-data/mnist/preview.png"))
        choice, about = form_with_mnist(page)
        late.wait()
        choice.select_option("letters")
        shown = about.get_by_role("img", name=LETTERS)
        expect(shown).to_be_visible()
        late.arrive()
        expect(shown).to_be_visible()


def test_of_training_data_whose_preview_waited_for_the_same_module(
    browser: Browser,
    settings: AppSettings,
    letters: str,  # noqa: F811
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        modules: list[Route] = []
        page.route(re.compile("previews.js"), lambda route: modules.append(route))
        late = Late(page, re.compile("/training-data/mnist/preview.png"))
        choice, about = form_with_mnist(page)
        choice.select_option("letters")
        expect(about).to_contain_text("3 classes")
        while not modules:
            page.wait_for_timeout(20)
        for module in modules:
            module.continue_()
        shown = about.get_by_role("img", name=LETTERS)
        expect(shown).to_be_visible()
        late.arrive()
        assert late.held == []  # the page does not ask for images of the earlier choice
        expect(shown).to_be_visible()


def test_of_digits_of_another_class(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/digits/4"))
        page.goto("/#/draw?label=3&n=12&seed=5")
        expect(page.get_by_role("img", name="12 times the digit 3")).to_be_visible()
        page.keyboard.press("4")
        late.wait()
        page.keyboard.press("8")
        shown = page.get_by_role("img", name="12 times the digit 8")
        expect(shown).to_be_visible()
        late.arrive()
        expect(shown).to_be_visible()
        expect(page.get_by_label("Permanent link")).to_have_value(re.compile("/digits/8"))


def test_of_the_next_image(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/neighbours", viewport=DESK) as page:
        late = Late(page, re.compile("/digits/3.*index=1.*scale=6"))
        page.goto("/#/draw?label=3&n=12&seed=5")
        page.get_by_role("img", name="12 times the digit 3").click(position={"x": 5, "y": 5})
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("img", name="seed 5, index 0")).to_be_visible()
        dialog.get_by_role("button", name="Next").click()
        late.wait()
        dialog.get_by_role("button", name="Previous").click()
        shown = dialog.get_by_role("img", name="seed 5, index 0")
        expect(shown).to_be_visible()
        late.arrive()
        expect(shown).to_be_visible()


def test_of_a_number_that_was_changed(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/numbers/12[?]"))
        page.goto("/#/play?number=12&seed=4&style=latent")
        late.wait()
        page.get_by_label("Up to 40 digits").fill("345")
        shown = page.get_by_role("img", name="The number 345")
        expect(shown).to_be_visible()
        late.arrive()
        expect(shown).to_be_visible()


def test_a_number_that_waits_for_its_styles_is_drawn_from_one_latent_vector_first(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/numbers/(?!.*style=latent)"))
        page.goto("/#/play?number=12&seed=4")
        late.wait()
        line = page.locator(".drawing").first
        expect(line.get_by_text("Permanent link")).to_be_hidden()
        expect(line.get_by_text("the service measures the styles")).to_be_visible()
        draft = line.get_by_role("img", name="The number 12")
        expect(draft).to_be_visible()
        shown = draft.evaluate(PIXELS)
        download = page.get_by_role("button", name="Download the number as PNG")
        expect(download).to_be_disabled()
        late.held[0].continue_()
        expect(line.get_by_text("Permanent link")).to_be_visible()
        expect(line.get_by_text("the service measures the styles")).to_be_hidden()
        assert draft.evaluate(PIXELS) != shown
        page.unroute_all()
        with page.expect_download() as saved:
            download.click()
        assert saved.value.suggested_filename == "12.png"
        with page.expect_download() as saved:
            page.get_by_role("button", name="Download the morph").click()
        assert saved.value.suggested_filename == "3-to-8.webp"


def test_of_real_images_that_are_not_to_be_shown_any_more(
    browser: Browser,
    settings: AppSettings,
    letters: str,  # noqa: F811
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/preview[.]png"))
        page.goto(f"/#/runs/{letters}")
        expect(page.get_by_role("img", name="Images of epoch 1")).to_be_visible()
        page.get_by_label("show real images").check()
        late.wait()
        page.get_by_label("show real images").uncheck()
        with page.expect_event("requestfinished", lambda request: request == late.held[0].request):
            late.held[0].continue_()
        page.wait_for_timeout(200)
        expect(page.get_by_role("img", name=re.compile("real images"))).to_have_count(0)


def test_of_checkpoints_to_choose_from(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/checkpoints$"))
        page.goto("/#/draw?label=3&n=12&seed=5")
        late.wait()
        choice = page.get_by_label("Checkpoint")
        choice.select_option("best")
        late.held[0].continue_()
        expect(choice.locator("option").nth(2)).to_be_attached()
        expect(choice).to_have_value("best")


def test_the_name_of_a_file_is_that_of_its_content(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/numbers/345[?]|/digits/8[?]"))
        page.goto("/#/play?number=12&seed=4&style=latent")
        expect(page.get_by_role("img", name="The number 12")).to_be_visible()
        page.get_by_label("Up to 40 digits").fill("345")
        late.wait()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the number as NPY").click()
        assert download.value.suggested_filename == "12.npy"
        page.goto("/#/draw?label=4&n=12&seed=5")
        expect(page.get_by_role("img", name="12 times the digit 4")).to_be_visible()
        page.keyboard.press("8")
        late.wait(2)
        with page.expect_download() as download:
            page.get_by_role("button", name="NPY").click()
        assert download.value.suggested_filename == "4s-5.npy"
        assert np.load(download.value.path()).shape == (12, 28, 28)


def test_an_upload_that_ends_leaves_the_next_choice(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        late = Late(page, re.compile("/training-data/first[?]"))
        page.goto("/#/training-data")
        files = page.get_by_label("File", exact=True)
        files.set_input_files([file("first.zip", b"PK")])
        page.get_by_role("button", name="Add training data").click()
        late.wait()
        files.set_input_files([file("second.zip", b"PK")])
        name = page.get_by_label("Name of the training data")
        name.fill("second")
        late.held[0].continue_()
        expect(page.locator(".imports article")).to_contain_text("Waiting for a worker.")
        expect(name).to_have_value("second")
        page.get_by_role("button", name="Add training data").click()
        expect(page.locator(".imports article")).to_have_count(2)
