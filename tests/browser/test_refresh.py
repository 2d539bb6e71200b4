"""What the page requests and redraws by itself takes nothing from the user: focus, dialogs, the address, pictures."""

import re
import time

import httpx2
import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr

from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_run import DESK, run_of
from tests.browser.test_run_list import address  # noqa: F401  # a fixture
from tests.support.serving import serving
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import WORKERS, job_key

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

KEY, ENTRY = make_key("reader", Role.READ)
ROUNDS = 6000  # milliseconds: each view has requested its content again


@pytest.mark.parametrize("view", ["", "checkpoints", "datasets", "runs/{run}"])
def test_a_key_dialog_that_was_cancelled_stays_closed(
    browser: Browser, settings: AppSettings, store: CheckpointStore, view: str
) -> None:
    run = run_of(settings, store, 2)
    guarded = settings.model_copy(update={"api_keys": SecretStr(str(ENTRY)), "read_needs_key": True})
    with serving(guarded) as place, visiting(browser, place, refused=place, **DESK) as page:
        page.get_by_label("Key", exact=True).fill(KEY)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator(".job")).to_have_count(1)
        page.goto(f"/#/{view.format(run=run)}")
        expect(page.get_by_role("heading", level=1).last).to_be_visible()
        page.get_by_role("button", name="Key", exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        page.wait_for_timeout(ROUNDS)
        expect(dialog).to_have_count(0)
        page.goto("/#/training-data")  # which is an action of the user
        page.get_by_label("Key", exact=True).fill(KEY)
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_role("heading", name="Sets")).to_be_visible()


def test_the_focus_stays_on_a_button_below_the_list_of_runs(browser: Browser, address: str) -> None:  # noqa: F811
    with visiting(browser, address, **DESK) as page:
        older = page.get_by_role("button", name="Older runs")
        older.focus()
        with page.expect_response("**/jobs?limit=10&*"):
            pass
        page.wait_for_timeout(100)  # it is drawn
        expect(older).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".job")).to_have_count(60)


def test_the_focus_stays_on_a_button_of_a_data_set_that_progresses(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as place, visiting(browser, place, **DESK) as page:
        order = {"per_class": 2, "test_per_class": 1}
        made = httpx2.post(f"{place}/datasets", json=order).raise_for_status().json()["id"]
        page.goto("/#/datasets")
        cancel = page.get_by_role("button", name="Cancel")
        cancel.focus()
        consumer = JobConsumer.connect(settings.redis_url)
        claim = consumer.claim(600.0)
        assert claim
        expect(page.locator(".dataset")).to_contain_text("running")
        consumer.redis.hset(job_key(made), "error", "It changes once more.")
        expect(page.locator(".dataset")).to_contain_text("It changes once more.")
        expect(cancel).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".dataset")).to_contain_text("cancelling")
        consumer.close()


def test_the_focus_stays_on_the_link_to_a_compared_run(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as place, visiting(browser, place, **DESK) as page:
        run = httpx2.post(f"{place}/train", json={"name": "waits"}).raise_for_status().json()["id"]
        page.goto(f"/#/compare?runs={run}")
        link = page.locator("figcaption").get_by_role("link", name="waits")
        link.focus()
        with page.expect_response(f"**/jobs/{run}"):
            pass
        page.wait_for_timeout(100)
        expect(link).to_be_focused()


def test_dragging_through_epochs_changes_the_address_once(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    """Safari allows 100 changes in 30 s, then raises an error."""
    run = run_of(settings, store, 4)
    with serving(settings) as place, visiting(browser, place, **DESK) as page:
        page.goto(f"/#/runs/{run}")
        slider = page.get_by_role("slider", name="Epoch")
        expect(slider).to_have_value("4")
        page.evaluate("""() => {
            window.changes = 0;
            const replace = history.replaceState.bind(history);
            history.replaceState = (...all) => (window.changes++, replace(...all));
        }""")
        slider.evaluate("""slider => {
            for (let at = 0; at < 200; at++) {
                slider.value = 1 + at % 3;
                slider.dispatchEvent(new Event("input"));
            }
        }""")
        expect(page).to_have_url(re.compile("epoch=2"))
        assert page.evaluate("window.changes") < 5
        expect(page.get_by_role("heading", name="Epoch 2")).to_be_visible()


def test_a_trouble_is_shown_and_withdrawn_while_the_status_is_the_same(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    """The service adds such troubles to the record when it is read: no event has them."""
    with serving(settings) as place, visiting(browser, place, **DESK) as page:
        run = httpx2.post(f"{place}/train", json={}).raise_for_status().json()["id"]
        page.goto(f"/#/runs/{run}")
        troubles = page.locator(".troubles")
        expect(troubles).to_contain_text("No worker is available")
        consumer = JobConsumer.connect(settings.redis_url)
        consumer.redis.zadd(WORKERS, {"cpu one": time.time()})
        expect(troubles).to_be_empty()
        consumer.redis.delete(WORKERS)
        expect(troubles).to_contain_text("No worker is available")
        consumer.close()


def test_kept_pictures_are_limited_by_their_size(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    """Twelve of these sheets are kept. A thirteenth replaces the one that was not used for the longest time."""
    with serving(settings) as place, visiting(browser, place, refused="/numbers/", **DESK) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rpartition("seed=")[2]))
        page.evaluate("""async () => {
            const { bitmapOf } = await import("./page/parts/canvas.js");
            const { signal } = new AbortController();
            const sheet = (seed) => bitmapOf(`digits/1?n=160&scale=5&columns=16&seed=${seed}`, signal);
            for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 13, 1, 2]) await sheet(seed);
        }""")
        assert [asked.count(seed) for seed in ("1", "2", "3", "13")] == [1, 2, 1, 1]


def test_a_picture_that_a_view_uses_survives_many_others(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    """The newest plots are kept; the real images of a run are older than they."""
    with serving(settings) as place, visiting(browser, place, **DESK) as page:
        drawn = page.evaluate("""async () => {
            const { bitmapOf } = await import("./page/parts/canvas.js");
            const signal = new AbortController().signal;
            const real = await bitmapOf("digits/1?n=1&seed=0", signal);
            for (let seed = 1; seed < 130; seed++) await bitmapOf(`digits/1?n=1&seed=${seed}`, signal);
            const context = document.createElement("canvas").getContext("2d");
            context.drawImage(real, 0, 0);
            return context.getImageData(0, 0, 28, 28).data.some((value) => value > 0);
        }""")
        assert drawn


def test_durations_are_rounded_before_they_are_split(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as place, visiting(browser, place) as page:
        shown = page.evaluate("""async () => {
            const { duration } = await import("./page/common/format.js");
            return [5399, 5400, 7169, 7171, 7199, 7230, 35999, 36000, 40000].map(duration);
        }""")
        rests = page.evaluate("""async () => {
            const { left } = await import("./page/common/format.js");
            return [0.7, 1.2].map(left);
        }""")
    assert rests == ["nearly done", "about 1 second left"]
    assert shown == [
        "90 minutes", "1 h 30 min", "1 h 59 min", "2 hours", "2 hours", "2 h 1 min", "10 hours", "10 hours", "11 hours",
    ]  # fmt: skip


def test_a_busy_button_is_not_pressed_again(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as place, visiting(browser, place) as page:
        pressed = page.evaluate("""async () => {
            const { button } = await import("./page/common/dom.js");
            let pressed = 0, finish;
            const made = button("Press", () => (pressed++, new Promise((resolve) => { finish = resolve; })));
            made.click();
            made.click();
            finish();
            await new Promise((resolve) => setTimeout(resolve));
            made.click();
            return pressed;
        }""")
    assert pressed == 2
