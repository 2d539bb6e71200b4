"""Every view with 300 runs: at 200 %, on a phone, and while it loads; axe where test_eyes.py does not look; keys."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr

from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from tests.app.conftest import fresh_weights
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import LOOKS, serious
from tests.browser.test_first_screen import MOST_SHIFT, SHIFTS
from tests.support.many_runs import Ids, filled
from tests.support.serving import serving

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

SCREENS: dict[str, dict[str, Any]] = {
    "200 percent": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "has_touch": True},
}
STEADY = ("", "runs/{run}", "draw?label=all&n=4&seed=1")  # nothing moves while they load
VIEWS = {  # with the element that shows the content
    STEADY[0]: ".job",
    STEADY[1]: ".chart circle",
    STEADY[2]: ".sheet img[src]",
    "compare?runs={all}": ".chart circle",
    "new?batch_size=50": ".cost b",
    "play?number=2718&seed=1": ".drawing img[src]",
    "training-data": ".training",
    "datasets": ".nothing",
    "checkpoints": ".checkpoint",
}
# Open all parts; those of training data without their pictures, which may not be on this machine.
OPEN = """(all) => {
  for (const each of all) {
    if (each.matches(".training *")) each.addEventListener("toggle", (event) => event.stopImmediatePropagation(), true);
    each.open = true;
  }
}"""
# The visible elements that are cut at a side, by the window or by an element around them that does not scroll.
CUT = """(width) => [...document.querySelectorAll("header *, main *")].filter((element) => {
  if (element.closest("svg, .scroll *, .unseen, .skip, details:not([open]) > :not(summary)")) return false;
  const box = element.getBoundingClientRect();
  if (!box.width || !box.height) return false;
  const isField = element.matches("input, select, textarea, progress");
  const hides = !isField && getComputedStyle(element).overflowX === "hidden";
  return box.left < -1 || box.right > width + 1 || (hides && element.scrollWidth > element.clientWidth + 1);
}).map((element) => element.outerHTML.slice(0, 120))"""


class World(NamedTuple):
    settings: AppSettings
    address: str
    ids: Ids

    def path(self, view: str) -> str:
        return view.format(run=self.ids.widths[0], all=",".join(self.ids.widths))


@pytest.fixture(scope="module")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with filled(tmp_path_factory.mktemp("layout")) as (settings, ids), serving(settings) as address:
        labels = {"tags": ["keep", "a rather long tag"], "notes": "Half the batch,\nthe same seed."}
        httpx2.patch(f"{address}/jobs/{ids.widths[0]}", json=labels).raise_for_status()
        yield World(settings, address, ids)


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_cut_and_little_moves(browser: Browser, world: World, screen: str) -> None:
    width = SCREENS[screen]["viewport"]["width"]
    with visiting(browser, world.address, **SCREENS[screen]) as page:
        page.add_init_script(SHIFTS)
        for view, ready in VIEWS.items():
            page.goto(f"/#/{world.path(view)}")
            if view in STEADY:
                page.reload()
            expect(page.locator(ready).first).to_be_visible()
            page.wait_for_timeout(500)
            if view in STEADY:
                assert page.evaluate("window.shift ?? 0") < MOST_SHIFT, view
            page.locator("details").evaluate_all(OPEN)
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            assert page.evaluate(CUT, width) == [], view
            tops = page.locator("header nav a").evaluate_all("all => all.map((a) => a.getBoundingClientRect().top)")
            assert len(set(tops)) == 1, "the navigation has more than one row"


def test_little_moves_on_a_desk(browser: Browser, world: World) -> None:
    with visiting(browser, world.address, viewport={"width": 1200, "height": 900}) as page:
        page.add_init_script(SHIFTS)
        for view in STEADY:
            page.goto(f"/#/{world.path(view)}")
            page.reload()
            expect(page.locator(VIEWS[view]).first).to_be_visible()
            page.wait_for_timeout(500)
            assert page.evaluate("window.shift ?? 0") < MOST_SHIFT, view


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_in_open_parts(browser: Browser, world: World, look: str) -> None:
    """Selected rows, the labels of a run and their dialog, the figures of an evaluation, training data."""
    with visiting(browser, world.address, **LOOKS[look]) as page:
        page.locator(".job input").first.check()
        assert serious(page) == []
        page.goto(f"/#/{world.path(STEADY[1])}")
        expect(page.locator(".chart circle").first).to_be_visible()
        assert serious(page) == []
        page.get_by_role("button", name="Name and notes").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert serious(page) == []
        page.get_by_role("button", name="Cancel").last.click()
        page.goto("/#/checkpoints")
        page.locator(f"[data-id='{world.ids.evaluated}'] .evaluation > summary").click()
        expect(page.get_by_text("In parentheses: 95 % intervals.")).to_be_visible()
        assert serious(page) == []
        page.goto("/#/training-data")
        expect(page.locator(".training").first).to_be_visible()
        assert serious(page) == []


def test_an_imported_checkpoint_has_no_link_to_a_run(browser: Browser, world: World) -> None:
    url, file = f"{world.address}/checkpoints?name=theirs", {"Content-Type": "application/vnd.safetensors"}
    made = httpx2.post(url, content=fresh_weights(7), headers=file, timeout=60).json()
    with visiting(browser, world.address) as page:
        page.goto("/#/checkpoints")
        imported = page.locator(f"[data-job='{made['job']}']")
        expect(imported.locator(".checkpoint")).to_be_visible()
        expect(imported.get_by_role("link", name="Show run")).to_have_count(0)
        ours = page.locator(f"[data-job='{world.ids.widths[0]}']")
        ours.locator("summary").first.click()
        ours.get_by_role("link", name="Show run").click()
        expect(page.get_by_role("heading", level=1, name="width 8")).to_be_visible()


def test_two_tabs_with_a_key_see_the_same(browser: Browser, world: World) -> None:
    key, entry = make_key("ana", Role.ADMIN)
    guarded = world.settings.model_copy(update={"api_keys": SecretStr(str(entry)), "read_needs_key": True})
    first, newest = f"{world.ids.widths[0]}-e001", httpx2.get(f"{world.address}/serving").json()["serving"]
    with serving(guarded) as address:
        pages = [browser.new_context(base_url=address).new_page() for _ in range(2)]
        for page in pages:
            page.goto("/#/checkpoints")
            page.get_by_label("Key", exact=True).fill(key)
            page.get_by_role("button", name="Use key").click()
            expect(page.locator(".served")).to_contain_text(f"Current model: {newest}")
        change(pages[0], first, world.ids.widths[0])
        expect(pages[1].locator(".served")).to_contain_text(f"Current model: {first}")
        pages[0].get_by_role("button", name="Serve the newest").click()
        expect(pages[1].locator(".served")).to_contain_text(f"Current model: {newest}")
        pages[0].goto(f"/#/runs/{world.ids.widths[1]}")
        expect(pages[0].get_by_role("img", name=re.compile("^Digits of epoch 3"))).to_be_visible()
        for page in pages:
            page.context.close()


def change(page: Page, checkpoint: str, job: str) -> None:
    page.locator(f"[data-job='{job}'] > summary").click()
    page.locator(f"[data-id='{checkpoint}']").get_by_role("button", name="Serve this").click()


def test_a_run_that_was_labelled_or_deleted_elsewhere_says_so(browser: Browser, world: World) -> None:
    job = httpx2.post(f"{world.address}/train", json={"name": "first name"}).json()["id"]
    httpx2.post(f"{world.address}/jobs/{job}/cancel").raise_for_status()
    page = browser.new_page(base_url=world.address)
    page.goto(f"/#/runs/{job}")
    expect(page.get_by_role("heading", level=1, name="first name")).to_be_visible()
    httpx2.patch(f"{world.address}/jobs/{job}", json={"name": "second name"}).raise_for_status()
    expect(page.get_by_role("heading", level=1, name="second name")).to_be_visible()
    httpx2.delete(f"{world.address}/jobs/{job}").raise_for_status()
    expect(page.get_by_text("second name was deleted.")).to_be_visible()
    page.close()
