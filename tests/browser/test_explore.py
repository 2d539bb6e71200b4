"""The dialog about one image: its nearest training images, and the grid around it, by mouse and by keyboard."""

import re
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_trained
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import LOOKS, serious
from tests.support.serving import serving
from tests.support.training_sets import bring

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

TEN = "20360101-000000-aaaaaa"
ADDRESS = f"seed=7&index=2&checkpoint={TEN}-e001"


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore) -> Iterator[str]:
    """A service with a generator of digits whose training images are at hand."""
    publish_trained(store, TEN, bring(store.training_data, "ten", tuple("0123456789")))
    with serving(settings) as found:
        yield found


def opened(page: Page, query: str = f"label=3&n=4&seed=7&checkpoint={TEN}-e001&index=2") -> Locator:
    """Open the dialog about the first image of a sheet."""
    page.goto(f"/#/draw?{query}")
    expect(page.get_by_role("img", name=re.compile("times the"))).to_be_visible()
    page.keyboard.press("d")
    return page.get_by_role("dialog")


def pixels(page: Page, url: str) -> np.ndarray:
    array: np.ndarray = np.load(BytesIO(page.request.get(f"{url}&format=npy").body()))
    return array


def link_of(dialog: Locator) -> str:
    return dialog.locator("code").first.inner_text()


def test_the_nearest_training_images_are_shown_with_their_distances(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        dialog = opened(page)
        expect(dialog.get_by_role("heading", name="3: seed 7, index 2")).to_be_visible()
        found = page.request.get(f"/digits/3/neighbours?{ADDRESS}").headers["x-neighbours"]
        parts = [each.split(":") for each in found.split(",")]
        expected = ", ".join(f"{label} ({round(float(distance))})" for label, _, distance in parts)
        expect(dialog.locator("figcaption")).to_contain_text(expected)
        expect(dialog.get_by_role("img", name="3, and the three nearest training images")).to_be_visible()


def test_images_of_any_training_data_have_neighbours_with_names(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    publish_trained(store, TEN, bring(store.training_data, "fruit", ("apple", "pear")))
    with serving(settings) as address, visiting(browser, address) as page:
        dialog = opened(page, "data=fruit&label=pear&n=4&seed=7")
        expect(dialog.locator("figcaption")).to_contain_text(re.compile(r"(apple|pear) \(\d+\), (apple|pear) \(\d+\)"))
        dialog.get_by_role("button", name="Explore").click()
        dialog.get_by_role("button", name="Move to 0.3, 0", exact=True).click()
        expect(dialog.get_by_role("heading")).to_have_text("pear: seed 7, index 0, moved to 0.3, 0")
        assert "/images/fruit/pear/traversal?" in link_of(dialog)


def test_a_click_moves_to_an_image_that_its_link_draws_again(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        dialog = opened(page)
        expect(dialog.locator(".cell").first).to_be_hidden()
        dialog.get_by_role("button", name="Explore").click()
        expect(dialog.get_by_role("button", name="This image, at 0, 0")).to_be_visible()
        grid = pixels(page, f"/digits/3/traversal?{ADDRESS}")
        dialog.get_by_role("button", name="Move to 0.6, -0.3").click()
        expect(dialog.get_by_role("heading")).to_have_text("3: seed 7, index 2, moved to 0.6, -0.3")
        expect(dialog.get_by_role("button", name="This image, at 0.6, -0.3")).to_be_focused()
        expect(dialog.locator("figcaption")).to_be_hidden()  # the address has training images, the point has none
        expect(dialog.get_by_role("link", name="Morph from here")).to_be_hidden()
        assert np.array_equal(pixels(page, link_of(dialog))[0], grid[5 + 4])
        with page.expect_download() as download:
            dialog.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename == "3-7-2.png"
        assert download.value.path().read_bytes() == page.request.get(link_of(dialog)).body()
        dialog.get_by_role("button", name="Back to the start").click()
        expect(dialog.get_by_role("heading")).to_have_text("3: seed 7, index 2")
        assert link_of(dialog) == f"{address}/digits/3?{ADDRESS}"


def test_the_grid_shows_the_images_of_its_links(browser: Browser, address: str) -> None:
    """The pixels on the screen: a cell shows the image at its point, and another one than its neighbours do."""
    with visiting(browser, address) as page:
        dialog = opened(page)
        dialog.get_by_role("button", name="Explore").click()
        cells = dialog.locator(".cell")
        expect(cells.first).to_have_attribute("aria-label", "Move to -0.6, -0.6")
        positions = cells.locator(".ink").evaluate_all("all => all.map(each => each.style.backgroundPosition)")
        assert len(set(positions)) == 25
        assert [positions[place] for place in (0, 12, 24)] == ["0% 0%", "50% 50%", "100% 100%"]
        shown = [cells.nth(place).screenshot() for place in (0, 12, 24)]
        assert len(set(shown)) == 3


def test_the_grid_works_by_keyboard(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        dialog = opened(page)
        explore = dialog.get_by_role("button", name="Explore")
        explore.focus()
        page.keyboard.press("Enter")
        expect(explore).to_have_attribute("aria-expanded", "true")
        expect(dialog.get_by_role("button", name="This image, at 0, 0")).to_be_focused()
        expect(dialog.get_by_text("choose one with the arrow keys and press Enter")).to_be_visible()
        for key in ("ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp"):  # the last two are beyond the edge
            page.keyboard.press(key)
        expect(dialog.get_by_role("button", name="Move to 0.3, -0.6")).to_be_focused()
        assert dialog.locator(".cell[tabindex='0']").count() == 1
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("button", name="This image, at 0.3, -0.6")).to_be_focused()
        expect(dialog.locator("#announcement")).to_have_text("Moved to 0.3, -0.6.")  # elsewhere it is inert
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_distance_and_the_directions_of_the_grid_change(browser: Browser, address: str) -> None:
    with visiting(browser, address) as page:
        dialog = opened(page)
        dialog.get_by_role("button", name="Explore").click()
        expect(dialog.get_by_role("button", name="Move to 0.6, 0.6")).to_be_visible()
        slider = dialog.get_by_label("Distance between images")
        slider.focus()
        page.keyboard.press("Home")
        expect(dialog.get_by_role("button", name="Move to 0.1, 0.1")).to_be_visible()
        dialog.get_by_role("button", name="Other directions").click()
        dialog.get_by_role("button", name="Move to 0.1, 0.1").click()
        expect(dialog.get_by_role("heading")).to_contain_text("moved to 0.1, 0.1")
        assert "&directions=1&" in link_of(dialog)
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_role("heading")).to_have_text("3: seed 7, index 3")
        expect(dialog.get_by_role("button", name="This image, at 0, 0")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_violation_in_the_dialog(browser: Browser, address: str, look: str) -> None:
    with visiting(browser, address, **LOOKS[look]) as page:
        dialog = opened(page)
        dialog.get_by_role("button", name="Explore").click()
        expect(dialog.get_by_role("button", name="Move to 0.6, 0.6")).to_be_visible()
        expect(dialog.locator("figcaption")).to_contain_text("Nearest training images")
        page.wait_for_timeout(300)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")


def test_the_grid_fits_into_its_dialog_on_a_narrow_screen(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport={"width": 320, "height": 640}) as page:
        dialog = opened(page)
        dialog.get_by_role("button", name="Explore").click()
        expect(dialog.get_by_role("button", name="This image, at 0, 0")).to_be_visible()
        assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")
        cell = dialog.locator(".cell").first.bounding_box()
        assert cell
        assert cell["width"] == pytest.approx(cell["height"], abs=0.5)
