"""Every parameter of what is drawn has a control on the page, or a reason why it has none."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.models.registry.test_store import NEW, OLD
from tests.support.serving import serving

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

VIEWS = {
    "/digits/{label}": "draw?label=3&n=4&seed=1",
    "/digits": "draw?label=all&n=4&seed=1",
    "/images/{dataset}/{label}": "draw?data=mnist&label=3&n=4&seed=1",
    "/images/{dataset}": "draw?data=mnist&all=yes&n=4&seed=1",
    "/numbers/{number}": "play?number=42&seed=1",
    "/morph/{first}/{last}": "play?number=42&seed=1",
}
WITHOUT = {  # parameters that have no field of their own, and the control in its place
    ("/digits/{label}", "format"): "button:text-is('NPY')",
    ("/digits", "format"): "button:text-is('NPY')",
    ("/images/{dataset}/{label}", "format"): "button:text-is('NPY')",
    ("/images/{dataset}", "format"): "button:text-is('NPY')",
    ("/numbers/{number}", "format"): "[aria-label='Download the number as NPY']",
}


def parameters(document: dict[str, Any], path: str) -> list[str]:
    return [each["name"] for each in document["paths"][path]["get"]["parameters"] if each["in"] == "query"]


def test_every_parameter_has_a_control(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        document = page.request.get("/openapi.json").json()
        for path, view in VIEWS.items():
            page.goto("about:blank")  # loads the page again, so that no element of the view before is found
            page.goto(f"/#/{view}")
            expect(page.locator("main img[src]").first).to_be_visible()
            for name in parameters(document, path):
                control = page.locator(f"main {WITHOUT.get((path, name), f'#{name}')}")
                expect(control, f"{name} of {path}").to_have_count(1)
                assert control.evaluate("each => each.matches('button') || each.labels.length === 1"), (path, name)


def fill(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        field = page.get_by_label(label, exact=True)
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def test_the_options_of_numbers_and_morphs_are_in_their_links(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/play?number=42&seed=4&first=3&last=8")
        page.get_by_text("More options").click()
        fill(page, {"Index": "9", "Scale": "2", "Padding": "1", "Checkpoint": f"{OLD}-e001", "Digits in": "latent"})
        fill(page, {"Seed of the last digit": "5", "Steps": "4", "Milliseconds per digit": "80", "Format": "gif"})
        page.get_by_label("Black on white").check()
        common = f"index=9&scale=2&padding=1&invert=true&checkpoint={OLD}-e001"
        number, morph = page.locator(".drawing a").nth(0), page.locator(".drawing a").nth(1)
        expect(number).to_have_text(f"{address}/numbers/42?seed=4&style=latent&{common}")
        expect(morph).to_have_text(f"{address}/morph/3/8?seed=4&to_seed=5&steps=4&milliseconds=80&{common}&format=gif")
        for link, kind in ((number, "image/png"), (morph, "image/gif")):
            answer = page.request.get(link.inner_text())
            assert (answer.status, answer.headers["content-type"]) == (200, kind)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the number as NPY").click()
        assert download.value.suggested_filename == "42.npy"
        assert download.value.path().read_bytes()[:6] == b"\x93NUMPY"
        page.reload()
        for label, value in {"Index": "9", "Steps": "4", "Seed of the last digit": "5", "Format": "gif"}.items():
            expect(page.get_by_label(label, exact=True)).to_have_value(value)
        expect(morph).to_have_text(re.compile("to_seed=5"))


def test_a_sheet_begins_at_an_index(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    absent = "/neighbours"  # of digits whose training images are not on this machine
    with serving(settings) as address, visiting(browser, address, refused=absent) as page:
        page.goto(f"/#/draw?label=3&n=4&seed=5&checkpoint={NEW}-e001")
        page.get_by_text("More options").click()
        page.get_by_label("First index").fill("12")
        link = page.get_by_role("textbox", name="Permanent link")
        expect(link).to_have_value(re.compile("&index=12"))
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Details of a digit").click()
        expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("3: seed 5, index 12")
        shown = page.request.get(f"/digits/3?seed=5&index=12&n=4&checkpoint={NEW}-e001&columns=4").body()
        expected = page.request.get(link.input_value()).body()
        assert shown == expected


def test_a_refusal_names_the_field_in_words_and_is_announced(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, refused="/numbers/") as page:
        page.goto("/#/play?number=4x&seed=4")
        text = "Number should be a number of 1 to 40 decimal digits"
        expect(page.locator(".drawing .notice")).to_contain_text(text)
        expect(page.locator("#announcement")).to_contain_text(text)
