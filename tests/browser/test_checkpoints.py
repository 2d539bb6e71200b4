"""The view of checkpoints shows what another tab, a run or a program changes, and rolls back."""

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import fresh_weights, publish, publish_own, refuse
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_weights import confirm, job
from tests.models.registry.test_store import NEW, OLD
from tests.support.serving import serving
from tests.support.training_sets import bring

__all__ = ["job"]  # a fixture

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

PRINTED = "20260103-000000-aaaaaa"


def test_every_change_is_shown_in_every_tab(browser: Browser, settings: AppSettings, job: str) -> None:
    with serving(settings) as address, visiting(browser, address) as first, visiting(browser, address) as second:
        for page in (first, second):
            page.goto("/#/checkpoints")
            expect(page.locator(f"[data-job='{job}'] summary b").first).to_have_text("two epochs")
        httpx2.patch(f"{address}/jobs/{job}", json={"name": "renamed"}).raise_for_status()
        for page in (first, second):
            expect(page.locator(f"[data-job='{job}'] summary b").first).to_have_text("renamed")
        httpx2.patch(f"{address}/jobs/{job}", json={"name": None}).raise_for_status()
        expect(second.locator(f"[data-job='{job}'] summary b").first).to_have_text(job)

        newest = second.locator(f"[data-id='{job}-e002']")
        expect(newest.locator(".badge")).to_have_text("served")
        first.locator(f"[data-id='{job}-e002']").get_by_role("button", name="Pin").click()
        expect(newest.locator(".badge")).to_have_text("served, pinned")
        expect(second.locator(".served")).to_contain_text("This checkpoint is pinned: new ones are not served.")

        first.locator(f"[data-id='{job}-e001']").get_by_role("button", name="Delete").click()
        confirm(first, "Delete checkpoint")
        expect(second.locator(f"[data-id='{job}-e001']")).to_have_count(0)
        made = httpx2.post(
            f"{address}/checkpoints?name=mine",
            content=fresh_weights(7),
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
        expect(second.locator(f"[data-id='{made.json()['id']}']")).to_be_attached()
        expect(second.locator(f"[data-job='{made.json()['job']}'] summary b").first).to_have_text("mine")


def test_changes_are_shown_while_the_choice_of_data_has_the_focus(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    publish(store, PRINTED, 1, seed=3, dataset="printed")
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/checkpoints")
        choice = page.get_by_label("Training data")
        expect(choice).to_have_value("mnist")
        choice.select_option("printed")
        expect(page.locator(".served")).to_contain_text(f"Current model: {PRINTED}-e001")
        choice.focus()
        httpx2.put(f"{address}/serving", json={"dataset": "mnist"}).raise_for_status()
        expect(page.locator(".served")).to_contain_text(f"Current model: {NEW}-e001")
        expect(choice).to_have_value("mnist")
        expect(choice).to_be_focused()


def test_rolling_back_says_what_it_does_and_pins_the_previous_checkpoint(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.goto("/#/checkpoints")
        back = page.get_by_role("button", name="Roll back: serve the previous one")
        expect(back).to_have_accessible_description(
            f"Rolling back pins {OLD}-e001: new checkpoints are not served until you choose the newest or the best "
            "again. Requests in progress are not interrupted."
        )
        back.click()
        expect(page.locator(".served")).to_contain_text(f"Current model: {OLD}-e001")
        policy = httpx2.get(f"{address}/serving").json()
        assert (policy["policy"], policy["checkpoint"]) == ("pinned", f"{OLD}-e001")
        assert httpx2.get(f"{address}/digits/7?n=1").headers["X-Checkpoint"] == f"{OLD}-e001"
        expect(back).to_have_count(0)  # there is none before
        page.get_by_role("button", name="Serve the best", exact=True).click()
        expect(page.locator(".served")).to_contain_text("with the best metrics is served")
        httpx2.put(f"{address}/serving", json={"policy": "best", "by": "evaluation"}).raise_for_status()
        expect(page.locator(".served")).to_contain_text("with the best evaluation is served")
        page.get_by_role("button", name="Serve the best", exact=True).click()
        expect(page.locator(".served")).to_contain_text("with the best metrics is served")
        by_evaluation = page.get_by_role("button", name="Serve the best by evaluation")
        by_evaluation.click()
        expect(page.locator(".served")).to_contain_text("with the best evaluation is served")
        expect(page.locator(".served")).to_contain_text("While there is no evaluation, the metrics decide.")
        expect(by_evaluation).to_be_disabled()
        policy = httpx2.get(f"{address}/serving").json()
        assert (policy["policy"], policy["by"]) == ("best", "evaluation")


def test_refused_checkpoints_are_counted_where_one_is_missing(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    classes = ("a", "b", "c")
    data = str(bring(store.training_data, "bars", classes).reference)
    for epoch, why in ((1, "its images of a have collapsed"), (2, "only 40.0 % of its images are recognised")):
        refuse(store, data, epoch, why, classes)
    with serving(settings) as address, visiting(browser, address, refused="/images/bars") as page:
        page.goto("/#/training-data")
        expect(page.locator("[data-name='bars']")).to_contain_text(
            "2 checkpoints, of which none passed the quality check"
        )
        page.goto("/#/draw?data=bars")
        found = page.locator(".draw .notice")
        expect(found).to_contain_text(
            "2 exist, and none passed the quality check; the newest: only 40.0 % of its images"
        )
        expect(found).not_to_contain_text("GET /")  # a request of the API is no help on the page
        found.get_by_role("link", name="Show checkpoints").click()
        served = page.locator(".served")
        expect(served).to_contain_text("Every new checkpoint of mnist that passes the quality check is served.")
        only = publish_own(store, PRINTED, data, classes)
        page.goto(f"/#/compare-checkpoints?a={only}")
        expect(page.locator(".notice")).to_contain_text(
            "There is no other checkpoint of bars to compare. 2 checkpoints did not pass the quality check; "
            "the newest: only 40.0 % of its images are recognised."
        )
        page.locator(".notice").get_by_role("link", name="Show checkpoints").click()
        expect(page.get_by_role("heading", name="Checkpoints", exact=True)).to_be_visible()
