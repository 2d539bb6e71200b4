"""Numbers, animations and generated data sets on the page."""

import pytest
from playwright.sync_api import Browser, expect

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import visiting
from tests.support.serving import serving
from worker.runner import run_next_job

pytestmark = pytest.mark.browser


def test_a_number_and_an_animation_use_one_seed_and_have_urls(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.get_by_role("navigation").get_by_role("link", name="Draw").click()
        page.get_by_role("link", name="Numbers and morphs").click()
        expect(page.get_by_role("img", name="The number 31415926")).to_be_visible()
        page.get_by_label("Up to 40 digits").fill("0042")
        page.get_by_label("Seed", exact=True).fill("4")
        page.get_by_label("To", exact=True).select_option("5")
        expect(page.get_by_role("img", name="The number 0042, drawn with seed 4")).to_be_visible()
        expect(page.get_by_role("img", name="A 3 that changes into a 5 and back")).to_be_visible()
        link = page.get_by_role("link", name=f"{address}/numbers/0042?seed=4")
        assert page.request.get(str(link.get_attribute("href"))).headers["content-type"] == "image/png"
        page.reload()
        expect(page.get_by_role("img", name="The number 0042")).to_be_visible()


def test_an_invalid_number_is_reported(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings) as address:
        page = browser.new_page(base_url=address)
        page.goto("/#/play?number=12x&seed=4")
        expect(page.locator(".notice")).to_contain_text("number")
        page.get_by_label("Up to 40 digits").fill("12")
        expect(page.get_by_role("img", name="The number 12,")).to_be_visible()
        expect(page.locator(".notice")).to_have_count(0)
        page.close()


def test_a_data_set_is_ordered_watched_cancelled_and_downloaded(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address, visiting(browser, address) as page:
        page.get_by_role("link", name="Data", exact=True).click()
        page.get_by_role("link", name="Generated data sets").click()
        expect(page.get_by_text("70,000 digits, about 29 MB.")).to_be_visible()
        page.get_by_label("Training digits per class").fill("2")
        page.get_by_label("Test digits per class").fill("1")
        page.get_by_role("button", name="Generate data set").click()
        entry = page.locator(".dataset")
        expect(entry).to_contain_text("30 digits queued")
        entry.get_by_role("button", name="Cancel").click()
        expect(entry).to_contain_text("cancelled")
        entry.get_by_role("button", name="Resume").click()
        expect(entry).to_contain_text("queued")
        run_next_job(settings)
        with page.expect_download() as download:
            entry.get_by_role("link", name="train-images-idx3-ubyte.gz").click()
        assert download.value.suggested_filename == "train-images-idx3-ubyte.gz"
