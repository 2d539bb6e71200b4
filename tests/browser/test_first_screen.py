"""The first screen, the suggested run, and checkpoints that another tab changes; how the page looks and moves."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import LOOKS, serious
from tests.models.registry.test_store import NEW, OLD
from tests.support.serving import serving

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

SHIFTS = """new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift = (window.shift ?? 0) + entry.value;
}).observe({ type: "layout-shift", buffered: true });"""
MOST_SHIFT = 0.05  # of Google's "good" scores, half of the limit
# The contrast of an element's border with the page, and with its own background.
BORDER = """(selector) => {
  const parse = (text) => text.match(/[0-9.]+/g).slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = (text) => parse(text).reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const style = getComputedStyle(document.querySelector(selector)), paper = getComputedStyle(document.body);
  const edge = light(style.borderTopColor);
  return Math.min(contrast(edge, light(style.backgroundColor)), contrast(edge, light(paper.backgroundColor)));
}"""
WORDS = "A neural network that learned to write digits"


def test_a_newcomer_reads_what_this_is_and_sees_a_number_written(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        expect(page.get_by_role("heading", name=WORDS)).to_be_visible()
        expect(page.get_by_role("img", name="31415926, written by the network")).to_be_visible()
        page.get_by_label("Type a number").fill("20 26")
        expect(page.get_by_role("img", name="2026, written by the network")).to_be_visible()
        page.get_by_label("Type a number").fill("2x")
        expect(page.get_by_label("Type a number")).to_have_accessible_description(re.compile("Digits only: 0 to 9."))
        actions = page.locator(".home .actions a")
        assert [action.inner_text() for action in actions.all()] == ["Draw", "Train"]
        page.keyboard.press("Tab")
        expect(actions.first).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("img", name="40 times the digit 7")).to_be_visible()


def test_the_first_screen_is_one_row_once_runs_exist(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address, viewport={"width": 1200, "height": 900}) as page:
        tall = page.locator(".home").bounding_box()
        assert tall
        assert tall["height"] > 200
        page.request.post("/train", data={"epochs": 1})
        page.reload()
        expect(page.locator(".job")).to_have_count(1)
        short = page.locator(".home").bounding_box()
        assert short
        assert short["height"] <= 80
        row = page.locator(".job").bounding_box()
        assert row
        assert row["height"] >= 72


def test_without_a_network_the_first_thing_to_do_is_to_train(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        expect(page.locator(".home")).to_contain_text("No network has learned to write yet.")
        expect(page.locator(".home .primary")).to_have_text("Train")


def test_a_typed_name_survives_a_preset(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/new")
        name = page.get_by_label("Name")
        page.get_by_role("button", name="A quick test").click()
        expect(name).to_have_value("first try")
        page.get_by_role("button", name="The original recipe").click()
        expect(name).to_have_value("")  # it was the preset's own
        name.fill("mine")
        page.get_by_role("button", name="A quick test").click()
        expect(name).to_have_value("mine")
        expect(page.get_by_label("Epochs")).to_have_value("2")


def test_the_form_suggests_what_gives_good_digits_soonest(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/new")
        expect(page.get_by_label("Recipe")).to_have_value("sharp")
        expect(page.get_by_label("Epochs")).to_have_value("5")
        pressed = page.get_by_role("button", name="Good digits soonest")
        expect(pressed).to_have_attribute("aria-pressed", "true")
        cost = page.locator(".cost")
        expect(cost).to_contain_text("Perhaps 10 minutes to 40 minutes")
        expect(cost).to_contain_text("this is a guess")
        expect(cost).not_to_contain_text("grey")
        page.get_by_role("button", name="A quick test").click()
        expect(cost).to_contain_text("its digits will be grey clouds")
        page.get_by_role("button", name="The original recipe").click()
        page.reload()  # which suggests nothing: the user has chosen
        expect(page.get_by_label("Recipe")).to_have_value("seed")
        expect(page.get_by_label("Epochs")).to_have_value("100")


def test_a_second_tab_shows_what_the_first_one_serves(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as first, visiting(browser, address) as second:
        for page in (first, second):
            page.goto("/#/checkpoints")
            expect(page.locator(".served")).to_contain_text(f"Current model: {NEW}-e001")
        second.locator(f"[data-job='{OLD}'] > summary").click()
        second.locator(f"[data-id='{OLD}-e001'] summary", has_text="Download").click()  # stays open
        expect(second.get_by_role("link", name="manifest.json")).to_be_visible()
        evaluation = second.locator(f"[data-id='{NEW}-e001'] .evaluation")
        evaluation.locator("summary").click()  # stays open too
        second.get_by_role("button", name="Serve the best", exact=True).focus()
        first.get_by_role("button", name="Roll back").click()
        expect(second.locator(".served")).to_contain_text(f"Current model: {OLD}-e001")
        expect(second.get_by_role("status")).to_have_text(f"{OLD}-e001 is served now.")
        expect(second.get_by_role("button", name="Serve the best", exact=True)).to_be_focused()
        expect(second.get_by_role("link", name="manifest.json")).to_be_visible()
        expect(evaluation).to_have_attribute("open", "")


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_moves_while_the_page_loads_and_fields_have_visible_borders(
    browser: Browser, settings: AppSettings, store: CheckpointStore, look: str
) -> None:
    with serving(settings) as address:
        context = browser.new_context(base_url=address, **LOOKS[look])
        for has_runs in (False, True):
            for view, ready in (("", ".home img[src]"), ("draw", ".sheet img[src]"), ("checkpoints", ".checkpoint")):
                page = context.new_page()
                page.add_init_script(SHIFTS)
                page.goto(f"/#/{view}")
                expect(page.locator(ready).first).to_be_visible()
                page.wait_for_timeout(500)
                assert page.evaluate("window.shift ?? 0") < MOST_SHIFT, (view, has_runs)
                assert serious(page) == [], view
                for field in (".home input", ".home .button:not(.primary)") if view == "" else ():
                    assert page.evaluate(BORDER, field) >= 3, field
                page.close()
            context.request.post("/train", data={"epochs": 1})
        context.close()


def test_the_navigation_is_one_row_on_a_phone_and_the_page_fits_at_200_percent(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address:
        for width in (360, 600):  # 600: a window of 1200 pixels at 200 %
            with visiting(browser, address, viewport={"width": width, "height": 700}) as page:
                tops = [box["y"] for link in page.locator("header nav a").all() if (box := link.bounding_box())]
                assert len(tops) == 5
                assert max(tops) - min(tops) < 2
                for view in ("", "draw", "play", "new", "checkpoints"):
                    page.goto(f"/#/{view}")
                    expect(page.locator("main h1").first).to_be_visible()
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width)


def test_motion_takes_120_ms_and_none_for_those_who_ask(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address:
        with visiting(browser, address) as page:
            assert durations(page) == {"0.12s"}
        with visiting(browser, address, reduced_motion="reduce") as page:
            assert durations(page) == {"0s"}


def durations(page: Page) -> set[str]:
    expect(page.locator(".home .button").first).to_be_visible()
    found = page.evaluate("getComputedStyle(document.querySelector('.home .button')).transitionDuration")
    return set(re.split(r",\s*", found))
