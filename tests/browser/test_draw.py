"""Drawing: one image's address and code, every option of the API, keyboard shortcuts, and sheets of any size."""

import re
from io import BytesIO

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import serious
from tests.models.registry.test_store import NEW
from tests.support.serving import serving

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

DESK = {"width": 1200, "height": 900}


def test_a_clicked_digit_shows_its_address_and_a_morph_starts_from_it(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    absent = "/neighbours"  # of digits whose training images are not on this machine
    with serving(settings) as address, visiting(browser, address, refused=absent, viewport=DESK) as page:
        page.goto("/#/draw?label=all&n=4&seed=7")
        picture = page.get_by_role("img", name=re.compile("^4 times the digits"))
        expect(picture).to_be_visible()
        box = picture.bounding_box()
        assert box
        columns = round(box["width"] / 56)
        picture.click(position={"x": 56 * 3 + 5, "y": 56 + 5})  # the second row
        dialog = page.get_by_role("dialog")
        expected = columns + 3
        label, index = expected % 10, expected // 10
        expect(dialog.get_by_role("heading")).to_have_text(f"{label}: seed 7, index {index}")
        link = dialog.locator("code").first.inner_text()
        assert link == f"{address}/digits/{label}?seed=7&index={index}&checkpoint={NEW}-e001"
        whole = np.load(BytesIO(page.request.get(f"{address}/digits?n=4&seed=7&format=npy").body()))
        one = np.load(BytesIO(page.request.get(f"{link}&format=npy").body()))
        assert np.array_equal(one[0], whole[index, label])
        expect(dialog.locator("figcaption")).to_contain_text("on the machine of this service")
        assert serious(page) == []
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_role("heading")).to_contain_text(f"{(expected + 1) % 10}: seed 7")
        dialog.get_by_role("link", name="Morph from here").click()
        expect(page.get_by_role("img", name=re.compile(rf"^A {(expected + 1) % 10} that changes"))).to_be_visible()
        assert f"index={(expected + 1) // 10}" in page.url


def test_every_option_of_the_api_is_in_the_permanent_link(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        page.goto("/#/draw?label=3&n=12&seed=5")
        page.get_by_text("More options").click()
        for label, value in (("Columns", "4"), ("Scale", "2"), ("Padding", "1")):
            page.get_by_label(label).fill(value)
        page.get_by_label("Black on white").check()
        link = page.get_by_label("Permanent link")
        expect(link).to_have_value(re.compile("&columns=4&scale=2&padding=1&invert=true$"))
        answer = page.request.get(link.input_value())
        assert answer.headers["content-type"] == "image/png"
        page.reload()
        expect(page.get_by_label("Columns")).to_have_value("4")
        expect(page.get_by_label("Black on white")).to_be_checked()


def test_keys_draw_and_a_sheet_lists_them(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/neighbours", viewport=DESK) as page:
        page.goto("/#/draw?label=3&n=12&seed=5")
        expect(page.get_by_role("img", name="12 times the digit 3")).to_be_visible()
        page.keyboard.press("8")
        expect(page.get_by_role("img", name="12 times the digit 8")).to_be_visible()
        page.keyboard.press("n")
        expect(page.get_by_label("Seed", exact=True)).not_to_have_value("5")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("0 to 9")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("d")
        expect(page.get_by_role("dialog").get_by_role("heading")).to_contain_text("8: seed")
        page.keyboard.press("Escape")
        page.get_by_label("Number of digits").press("3")  # typed, not a shortcut
        expect(page.get_by_role("img", name=re.compile("times the digit 8"))).to_be_visible()


def test_a_gallery_fits_the_window_and_a_thousand_digits_stay_readable(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport=DESK) as page:
        page.goto("/#/draw?label=3&n=1000&seed=5")
        expect(page.get_by_role("img", name="1000 times the digit 3")).to_be_visible()
        assert columns(page) == (41, 28)  # of 1152 pixels
        page.set_viewport_size({"width": 400, "height": 900})
        for _ in range(100):
            if columns(page) == (13, 28):  # of 368 pixels
                break
            page.wait_for_timeout(100)
        assert columns(page) == (13, 28)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def columns(page: Page) -> tuple[int, int]:
    """The columns of the sheet, and the width of an image on the screen in pixels."""
    picture = page.locator(".sheet img")
    found: list[float] = picture.evaluate("({ naturalWidth: n, clientWidth: c }) => [n / 28, c * 28 / n]")
    return round(found[0]), round(found[1])
