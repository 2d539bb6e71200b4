"""Two checkpoints are compared blindly on the page, by keys, clicks and taps; the tally stays in the browser."""

import csv
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from app.settings import AppSettings
from models.evaluation.metrics import wilson
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_own
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import LOOKS, serious
from tests.models.registry.test_store import NEW, OLD
from tests.support.serving import serving
from tests.support.training_sets import bring

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

BARS = "20260103-000000-aaaaaa"
FIRST, SECOND = f"{NEW}-e001", f"{OLD}-e001"
PIXELS = """(picture) => {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  return [...context.getImageData(0, 0, width, height).data].filter((_, at) => at % 4 === 0);
}"""
LOAD = "(bytes) => Object.assign(new Image(), { src: URL.createObjectURL(new Blob([new Uint8Array(bytes)])) })"


class Sheets:
    """The requests of sheets by a page: the left one and the right one of each pair, in turn."""

    def __init__(self, page: Page) -> None:
        self.found: list[tuple[str, str]] = []  # checkpoint and seed
        self.arrived = 0
        page.on("request", self.see)
        page.on("requestfinished", self.see_arrived)

    def see(self, request: Request) -> None:
        if query := query_of_sheet(request):
            self.found.append((query["checkpoint"][0], query["seed"][0]))

    def see_arrived(self, request: Request) -> None:
        self.arrived += bool(query_of_sheet(request))

    def pair(self, number: int) -> list[tuple[str, str]]:
        return self.found[2 * number : 2 * number + 2]


def query_of_sheet(request: Request) -> dict[str, list[str]] | None:
    """The query of a request for a sheet; None for another request."""
    query = parse_qs(urlsplit(request.url).query)
    return query if {"checkpoint", "seed", "columns"} <= set(query) else None


def shown(page: Page, pair: list[tuple[str, str]]) -> bool:
    """Whether the page shows the digits of these two addresses."""
    for at, (checkpoint, seed) in enumerate(pair):
        answer = page.request.get(f"digits?n=2&columns=5&seed={seed}&checkpoint={checkpoint}")
        loaded = page.evaluate_handle(
            LOAD,
            list(answer.body()),
        )
        loaded.evaluate("(picture) => picture.decode()")
        if loaded.evaluate(PIXELS) != page.locator(".sides img").nth(at).evaluate(PIXELS):
            return False
    return True


def until_shown(page: Page, sheets: Sheets, number: int) -> list[tuple[str, str]]:
    """Wait for the pair of this number, and for the sheets of the next one."""
    expect(page.locator(".sides img")).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('.sides img')].every((each) => each.naturalWidth)")
    while len(sheets.found) < 2 * (number + 2):
        page.wait_for_timeout(20)
    return sheets.pair(number)


def rows(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == f"blind-test-{FIRST}-{SECOND}.csv"
    with Path(download.value.path()).open(newline="") as file:
        return list(csv.DictReader(file))


def share(hits: int, total: int) -> str:
    low, high = wilson(hits, total)
    return f"{hits / total:.0%} ({low:.0%} to {high:.0%})".replace("%", " %")


def test_the_keys_answer_and_nothing_names_a_checkpoint_until_it_is_revealed(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        sheets = Sheets(page)
        page.goto("/#/checkpoints")
        page.get_by_role("link", name="Compare two blindly").click()
        expect(page.get_by_label("One checkpoint")).to_have_value(FIRST)
        expect(page.get_by_label("The other checkpoint")).to_have_value(SECOND)
        expect(page.locator(".tally")).to_contain_text("No answers yet.")
        given = []
        for number, key in enumerate(["ArrowLeft", "ArrowRight", " ", "ArrowLeft"]):
            pair = until_shown(page, sheets, number)
            assert {checkpoint for checkpoint, _ in pair} == {FIRST, SECOND}
            assert pair[0][1] != pair[1][1], "both sheets have the same seed"
            assert shown(page, pair)
            expect(page.locator(".sides figcaption")).to_have_text(["Left", "Right"])
            given.append((pair, key))
            page.keyboard.press(key)
            expect(page.get_by_role("status")).to_have_text(re.compile(rf"^{number + 1} answers?[.]$"))
        for row, (pair, key) in zip(rows(page), given, strict=True):
            assert [(row["left"], row["left_seed"]), (row["right"], row["right_seed"])] == pair
            assert row["chosen"] == {"ArrowLeft": row["left"], "ArrowRight": row["right"]}.get(key, "no difference")
        found = page.locator(".tally")
        expect(found).to_contain_text("4 answers, 1 without a difference.")
        expect(found).to_contain_text("No difference is shown yet.")
        expect(found).not_to_contain_text(OLD)

        pair = until_shown(page, sheets, len(given))
        page.keyboard.press("r")
        expect(page.locator(".sides figcaption")).to_have_text([f"Left: {pair[0][0]}", f"Right: {pair[1][0]}"])
        chosen = [row["chosen"] for row in rows(page)]
        for id_ in (FIRST, SECOND):
            cells = page.get_by_role("row", name=id_).get_by_role("cell")
            expect(cells).to_have_text([str(chosen.count(id_)), share(chosen.count(id_), 3)])
        expect(page.get_by_role("button", name="Left")).to_be_disabled()
        page.keyboard.press("ArrowLeft")  # what is known does not count
        page.get_by_role("button", name="Continue").click()
        until_shown(page, sheets, len(given) + 1)
        expect(page.locator(".sides figcaption")).to_have_text(["Left", "Right"])
        assert len(rows(page)) == 4


def test_a_difference_is_shown_once_the_interval_leaves_out_one_half(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        sheets = Sheets(page)
        page.goto(f"/#/compare-checkpoints?a={SECOND}&b={FIRST}")
        expect(page.get_by_label("One checkpoint")).to_have_value(SECOND)
        for number in range(6):
            expect(page.locator(".tally")).not_to_contain_text("A difference is shown.")
            pair = until_shown(page, sheets, number)
            side = "Left" if pair[0][0] == SECOND else "Right"
            page.get_by_role("button", name=side, exact=True).click()
            expect(page.locator(".tally")).to_contain_text(re.compile(rf"{number + 1} answers?, 0"))
        expect(page.locator(".tally")).to_contain_text(f"One of the two was chosen in 6 of 6: {share(6, 6)}.")
        expect(page.locator(".tally")).to_contain_text("A difference is shown.")
        until_shown(page, sheets, 6)
        page.keyboard.press(" ")  # although a button was clicked before
        expect(page.locator(".tally")).to_contain_text("7 answers, 1 without a difference.")


def test_the_tally_belongs_to_the_pair_and_is_the_same_in_another_tab(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        sheets = Sheets(page)
        page.goto("/#/compare-checkpoints")
        until_shown(page, sheets, 0)
        other = page.context.new_page()
        other.goto(f"/#/compare-checkpoints?a={SECOND}&b={FIRST}")
        expect(other.locator(".tally")).to_contain_text("No answers yet.")
        page.get_by_role("button", name="No difference").click()
        expect(other.locator(".tally")).to_contain_text("1 answer, 1 without a difference.")
        other.reload()
        expect(other.locator(".tally")).to_contain_text("1 answer, 1 without a difference.")
        other.get_by_role("button", name="Clear").click()
        other.get_by_role("dialog").get_by_role("button", name="Keep").click()
        expect(other.get_by_role("dialog")).to_have_count(0)
        expect(other.locator(".tally")).to_contain_text("1 answer,")
        other.get_by_role("button", name="Clear").click()
        other.get_by_role("dialog").get_by_role("button", name="Clear tally").click()
        expect(page.locator(".tally")).to_contain_text("No answers yet.")
        expect(page.get_by_role("button", name="Download CSV")).to_be_disabled()
        assert page.evaluate("localStorage.length") == 0
        other.close()


def test_images_of_other_classes_are_compared_among_their_own(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    data = str(bring(store.training_data, "bars").reference)
    made = [publish_own(store, BARS, data, ("a", "b", "c"), epoch) for epoch in (1, 2)]
    with serving(settings) as address, visiting(browser, address) as page:
        sheets = Sheets(page)
        page.goto("/#/compare-checkpoints")
        page.get_by_label("One checkpoint").select_option(made[0])
        expect(page.get_by_label("The other checkpoint").locator("option")).to_have_count(1)
        expect(page.get_by_label("The other checkpoint")).to_have_value(made[1])
        expect(page.locator(".sides img")).to_have_count(2)
        page.wait_for_function("() => document.querySelector('.sides img')?.naturalHeight === 4 * 28")  # 18 images
        assert {checkpoint for checkpoint, _ in sheets.found} == {FIRST, SECOND, *made}


def test_a_checkpoint_that_is_deleted_meanwhile_is_reported(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        sheets = Sheets(page)
        page.goto("/#/compare-checkpoints")
        until_shown(page, sheets, 0)
        while sheets.arrived < 4:  # the next pair is drawn before
            page.wait_for_timeout(20)
        assert httpx2.delete(f"{address}/checkpoints/{SECOND}").status_code == 204
        page.keyboard.press(" ")
        expect(page.locator(".tally")).to_contain_text("1 answer,")
        until_shown(page, sheets, 1)
        page.keyboard.press(" ")
        expect(page.locator(".sides .notice")).to_contain_text(SECOND)
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.close()


def test_one_checkpoint_alone_cannot_be_compared(browser: Browser, settings: AppSettings) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/compare-checkpoints")
        expect(page.locator(".notice")).to_contain_text("No checkpoint has been published yet.")


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_violation_and_the_view_fits(
    browser: Browser, settings: AppSettings, store: CheckpointStore, look: str
) -> None:
    with serving(settings) as address, visiting(browser, address, **LOOKS[look]) as page:
        sheets = Sheets(page)
        page.goto("/#/compare-checkpoints")
        for number, button in enumerate(["Left", "No difference", "Right"]):
            until_shown(page, sheets, number)
            found = page.get_by_role("button", name=button, exact=True)
            found.tap() if LOOKS[look].get("has_touch") else found.click()
            expect(page.locator(".tally")).to_contain_text(re.compile(rf"{number + 1} answers?,"))
        until_shown(page, sheets, 3)
        assert serious(page) == []
        page.get_by_role("button", name="Reveal").click()
        expect(page.locator(".tally table")).to_be_visible()
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
