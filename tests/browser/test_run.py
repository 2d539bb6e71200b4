"""The view of a run, live and afterwards, and the comparison of runs, in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.main import create_app
from app.settings import AppSettings
from models.records import Progress
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from tests.app.conftest import fresh_weights
from tests.browser.conftest import SLOW, visiting
from tests.browser.test_eyes import serious
from tests.models.registry.test_store import manifest
from tests.support.api_clients import local_client
from tests.support.running_service import Service
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.browser

CURVES = Path("app/page/parts/curves.js")
JUDGES = Path("models/judges")

DESK = {"viewport": {"width": 1200, "height": 900}}


class Ended(NamedTuple):
    address: str
    long: str  # the id of a run of eight epochs on printed digits
    short: str  # of one of two epochs, with the recipe `sharp`


def run_of(settings: AppSettings, store: CheckpointStore, epochs: int, **fields: object) -> str:
    """Record a run whose epochs took a minute each, and whose plots are empty."""
    with local_client(create_app(settings)) as client:
        job: str = client.post("/train", json={"dataset": "printed", "epochs": epochs, **fields}).json()["id"]
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim
    store.take(job, claim.fence)
    plot = encode_png(np.zeros((1120, 588), np.uint8))
    for epoch in range(1, epochs + 1):
        made = manifest(job, epoch).model_copy(update={"fence": claim.fence})
        store.publish(made, {GENERATOR: fresh_weights(2), SAMPLES: plot})
        metrics = {f"{name}_{label}": 0.1 * label for label in range(10) for name in ("label_accuracy", "variety")}
        metrics |= {"label_accuracy": 0.9, "label_accuracy_worst": 0.5, "variety": 0.8, "variety_least": 0.4}
        metrics |= {"frechet_distance": 100.0 / epoch**2, "frechet_distance_raw": 100.0 / epoch**2}
        if fields.get("recipe") == "sharp":  # which averages
            metrics |= {"frechet_distance_raw": 400.0 / epoch**2, "frechet_distance_averaged": 100.0 / epoch**2}
        if epoch > 1:  # the first is one of an earlier version
            metrics |= {"judged_per_class": 500, "label_accuracy_low": 0.891, "label_accuracy_high": 0.909}
            metrics |= {"label_accuracy_worst_low": 0.456, "label_accuracy_worst_high": 0.544}
            metrics |= {"variety_low": 0.79, "variety_high": 0.81}
            metrics |= {"variety_least_low": 0.37, "variety_least_high": 0.43}
            metrics |= {"variety_3_low": 0.28, "variety_3_high": 0.32}
            metrics |= {"frechet_distance_low": 1.5, "frechet_distance_high": 1.625}
        record = epoch_record(epoch, loss=3.0 - epoch / 4).model_copy(
            update={"checkpoint": made.id, "metrics": metrics}
        )
        consumer.add_epoch(claim, record.model_copy(update={"seconds": 60.0}))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    consumer.redis.hset(f"acgan:job:{job}", "started_at", "1700000000")  # it was cancelled, and resumed much later
    consumer.close()
    return job


@pytest.fixture
def ended(settings: AppSettings, store: CheckpointStore) -> Iterator[Ended]:
    long = run_of(settings, store, 8, name="eight")
    short = run_of(settings, store, 2, name="two", recipe="sharp")
    with serving(settings) as address:
        yield Ended(address, long, short)


def test_a_running_job_shows_losses_and_digits_before_its_first_epoch_ends(browser: Browser, service: Service) -> None:
    job = service.client.post("/train", json={"epochs": 30, "train_examples": 20000, "name": "live"}).json()["id"]
    with visiting(browser, str(service.client.base_url), **DESK) as page:
        page.goto(f"/#/runs/{job}")
        picture = page.get_by_role("img", name=re.compile("^The digits 0 to 9. After [0-9,]+ iterations of epoch 1"))
        expect(picture).to_be_visible(timeout=SLOW)
        page.wait_for_function("() => document.querySelector('.sample img').naturalWidth > 0", timeout=SLOW)
        assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [280, 28]
        losses = page.get_by_role("img", name=re.compile("^Live losses, at iteration"))
        expect(losses).to_have_accessible_name(re.compile(r"generator \d.*, discriminator \d"), timeout=SLOW)
        first = picture.get_attribute("alt")
        expect(page.locator(".standing")).to_contain_text("Training")
        page.wait_for_function(
            "before => document.querySelector('.sample img').alt !== before", arg=first, timeout=SLOW
        )
        live = service.client.get(f"/jobs/{job}/live").json()
        assert live["newest"] >= 2
        assert len(live["sample"]["png"]) * 3 / 4 <= 4096
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("h1 + .badge")).to_have_text("cancelled")
        expect(page.locator(".live")).to_be_hidden()
        assert service.client.get(f"/jobs/{job}/live").json() == {
            "phase": None,
            "newest": 0,
            "losses": [],
            "sample": None,
        }


def test_one_pointer_moves_through_all_charts(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.long}")
        loss = page.get_by_role("img", name=re.compile("^Loss, in epoch"))
        distance = page.get_by_role("img", name=re.compile("^Fréchet distance, in epoch"))
        expect(distance).to_have_accessible_name(re.compile("in epoch 8: last weights 1.56"))
        loss.hover(position={"x": 40, "y": 60})
        expect(distance).to_have_accessible_name(re.compile("in epoch 1: last weights 100"))
        expect(page.locator("#epoch-title")).to_have_text("Epoch 8")
        page.locator("h1").hover()
        expect(distance).to_have_accessible_name(re.compile("in epoch 8"))
        curves = distance.locator("polyline")
        before = curves.first.get_attribute("points")
        scale = page.get_by_role("button", name="log scale")
        expect(scale).to_have_attribute("aria-pressed", "true")  # the values differ by a factor of 64
        scale.click()
        expect(scale).to_have_attribute("aria-pressed", "false")
        assert curves.first.get_attribute("points") != before
        page.get_by_role("slider", name="Smoothing").press("End")
        expect(loss.locator("polyline.raw")).to_have_count(4)
        hidden = page.get_by_role("button", name=re.compile(r"^discriminator \(test\)")).first
        hidden.click()
        expect(loss.locator("polyline.raw")).to_have_count(3)
        expect(hidden).to_have_attribute("aria-pressed", "false")
        expect(hidden).to_be_focused()


def test_quality_comes_before_losses_and_the_rest_is_at_hand(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.long}")
        expect(page.locator(".standing")).to_have_text("All 8 epochs done, in 8 minutes.")
        headings = page.get_by_role("heading", level=2).all_inner_texts()
        assert headings.index("Quality") < headings.index("Losses")
        expect(page.locator(".reference + text")).to_have_text("real images")
        page.get_by_text("Each class", exact=True).click()
        each = page.get_by_role("img", name=re.compile("^Recognised, in epoch 8: 0 0 %, 1 10 %"))
        expect(each.locator("polyline")).to_have_count(10)
        expect(page.get_by_role("link", name="Film")).to_have_attribute("href", re.compile("/evolution/0"))
        film = page.get_by_role("link", name="Animation of 3")
        expect(film).to_have_attribute("href", re.compile(rf"^jobs/{ended.long}/evolution/3\?seed="))
        expect(page.get_by_role("link", name="CSV")).to_have_attribute("href", f"jobs/{ended.long}/history.csv")
        assert serious(page) == []
        page.get_by_role("link", name="Edit and run again").click()
        expect(page.get_by_label("Epochs", exact=True)).to_have_value("8")
        expect(page.get_by_label("Name", exact=True)).to_have_value("eight")
        page.get_by_label("Recipe").select_option("thorough")  # the batch size was a default, and follows
        expect(page.get_by_label("Batch size")).to_have_value("")
        expect(page.get_by_label("Batch size")).to_have_attribute("placeholder", "50")


def test_figures_of_an_epoch_have_intervals(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.long}")
        quality = page.get_by_role("region", name="Quality")
        expect(quality).to_contain_text(
            "label accuracy 90.0 % (89.1 % to 90.9 %), of the worst class 50.0 % (45.6 % to 54.4 %), variety 0.80 "
            "(0.79 to 0.81), of the lowest class 0.40 (0.37 to 0.43), Fréchet distance "
            "1.56 (1.50 to 1.63). From 5,000 digits."
        )
        page.get_by_text("Each class", exact=True).click()
        rows = quality.get_by_role("row", name="95 % interval")
        recognised = quality.get_by_role("row", name="recognised, 95 % interval")
        varied = quality.get_by_role("row", name="variety, 95 % interval")
        expect(recognised.get_by_role("cell").nth(5)).to_have_text("45.6 to 54.4")
        expect(varied.get_by_role("cell").nth(3)).to_have_text("0.28 to 0.32")
        page.get_by_label("Epoch", exact=True).fill("1")
        expect(rows).to_have_count(0)
        expect(quality).not_to_contain_text("From 5,000 digits")


def test_figures_that_cannot_be_measured_are_dashes(browser: Browser, ended: Ended) -> None:
    """The class 1 has one training image, and there is one test image."""
    with visiting(browser, ended.address, **DESK) as page:
        shown = page.evaluate("""async () => {
            const { classTable } = await import("./page/parts/class_table.js");
            const known = { label_accuracy_0: 0.9, label_accuracy_1: 0.5, variety_0: 0.8 };
            return classTable({ ...known, judged_per_class: 100 }).textContent;
        }""")
    assert "variety0.80\N{EN DASH}" in shown
    assert "last or averaged: \N{EN DASH}." in shown


def test_real_digits_are_beside_generated_ones_of_their_class(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.long}?real=1")
        picture = page.get_by_role("img", name=re.compile("^Digits of epoch 8: .*on the right, real digits"))
        expect(picture).to_be_visible()
        page.wait_for_function("document.querySelector('.named canvas').width % 28 === 14")
        classes = page.evaluate(SAME_CLASS)
        assert classes == [[True] * 6] * 10


SAME_CLASS = """async () => {
    const read = (picture) => {
        const copy = Object.assign(document.createElement('canvas'), { width: picture.width, height: picture.height });
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(picture, 0, 0);
        return (x, y) => context.getImageData(x, y, 28, 28).data.join();
    };
    const canvas = document.querySelector('.named canvas'), left = canvas.width - 6 * 28;
    const shown = read(canvas);
    const real = read(await createImageBitmap(await (await fetch('training-data/printed/preview.png')).blob()));
    return Array.from({ length: 10 }, (_, label) => Array.from({ length: 6 }, (_, place) =>
        shown(left + place * 28, label * 28) === real(label * 28, place * 28)));
}"""


def test_the_line_of_real_digits_is_at_their_figure() -> None:
    (stored,) = JUDGES.glob("*-real-6000-3.json")
    figure = round(json.loads(stored.read_text())["label_accuracy"], 4)
    assert f"REAL = {{ mnist: {{ label_accuracy: {figure} }} }}" in CURVES.read_text()


def test_an_auxiliary_loss_below_zero_is_explained(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.short}")
        expect(page.get_by_text("difference of two cross-entropies")).to_be_visible()
        page.goto(f"/#/runs/{ended.long}")
        expect(page.locator(".standing")).to_contain_text("8 epochs")
        expect(page.get_by_text("difference of two cross-entropies")).to_have_count(0)


def test_a_picture_of_other_weights_than_the_service_uses_says_so(browser: Browser, ended: Ended) -> None:
    text = "drawn with the weights of the last iteration. The service draws with the averaged weights, which are better"
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/runs/{ended.short}")
        expect(page.get_by_text(text)).to_contain_text("Fréchet distance 25.0 instead of 100.")
        page.goto(f"/#/compare?runs={ended.short},{ended.long}")
        expect(page.locator(".pair figure").first).to_contain_text("two: no epoch 8")
        expect(page.get_by_text(text)).to_have_count(0)
        page.get_by_role("slider", name="Epoch").press("Home")
        expect(page.locator(".pair figure", has_text=text)).to_have_count(1)
        expect(page.locator(".pair figure").first).to_contain_text("Fréchet distance 100 instead of 400.")


def test_pictures_in_the_list_keep_their_proportions(browser: Browser, ended: Ended) -> None:
    """Those of few classes are squarer than the place of a picture."""
    with visiting(browser, ended.address, **DESK) as page:
        picture = page.locator(".thumb").first
        expect(picture).to_be_visible()
        assert picture.evaluate("each => getComputedStyle(each).objectFit") == "contain"


def test_each_picture_of_a_comparison_names_its_epoch_or_is_blank(browser: Browser, ended: Ended) -> None:
    with visiting(browser, ended.address, **DESK) as page:
        page.goto(f"/#/compare?runs={ended.long},{ended.short}")
        figures = page.locator(".pair figure")
        expect(figures.nth(0)).to_contain_text("eight, epoch 8")
        expect(figures.nth(1)).to_contain_text("two: no epoch 8, it has 2")
        expect(figures.nth(1).locator("canvas")).to_be_hidden()
        expect(page.locator("figure.chart", has_text="Variety").locator("b").last).to_have_text("\N{EN DASH}")
        page.get_by_role("slider", name="Epoch").press("Home")
        expect(figures.nth(1)).to_contain_text("two, epoch 1")
        expect(page.get_by_role("img", name="Digits of two, epoch 1")).to_be_visible()
        table = page.get_by_role("region", name="Differences")
        expect(table.get_by_role("row", name="recipe seed sharp")).to_be_visible()
        assert serious(page) == []
        by_time(page)


def by_time(page: Page) -> None:
    """Align two runs by time, then look at three."""
    page.get_by_role("button", name="By time").click()
    expect(page.get_by_role("heading", name="After 8 minutes")).to_be_visible()
    figures = page.locator(".pair figure")
    expect(figures.nth(1)).to_contain_text("two, epoch 2")
    expect(page.get_by_role("img", name=re.compile("^Loss, after 8 minutes: eight "))).to_be_visible()
    page.get_by_role("slider", name="Seconds").press("Home")
    expect(figures.nth(0)).to_contain_text("eight: no epoch so early, it has 8")
    page.get_by_role("button", name=re.compile("^Remove two")).click()
    expect(figures).to_have_count(1)
    page.get_by_label("Add a run").select_option(
        label=page.get_by_label("Add a run").locator("option").nth(1).inner_text()
    )
    expect(figures).to_have_count(2)


def test_runs_of_one_name_are_told_apart_and_a_deleted_one_is_left_out(
    browser: Browser, settings: AppSettings, store: CheckpointStore
) -> None:
    gone, first, second = (run_of(settings, store, 2, name="same") for _ in range(3))
    with serving(settings) as address, visiting(browser, address, refused=gone, **DESK) as page:
        httpx2.delete(f"{address}/jobs/{gone}").raise_for_status()
        page.goto(f"/#/compare?runs={first},{gone},{second}")
        expect(page.get_by_text(f"{gone} was deleted.")).to_be_visible()
        expect(page.locator("figcaption a")).to_have_text(["same", "same (2)"])
        loss = page.get_by_role("img", name=re.compile("^Loss, in epoch"))
        expect(loss.locator("polyline")).to_have_count(2)
        page.get_by_role("button", name=re.compile(r"^same \(2\)")).first.click()
        expect(loss.locator("polyline")).to_have_count(1)


def test_the_record_shows_its_trouble_in_full(browser: Browser, settings: AppSettings, store: CheckpointStore) -> None:
    with local_client(create_app(settings)) as client:
        job = client.post("/train", json={"name": "waits"}).json()["id"]
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim
    at = Progress(epoch=1, epochs=2, batch=2, batches=9, images_per_second=1, eta_seconds=1, phase="judging")
    consumer.report(claim, at)
    consumer.set_trouble(claim, "the disk is full: epoch 1 cannot be published until space is freed")
    consumer.add_warning(claim, "restarted from the beginning, because its state is gone")
    consumer.close()
    with serving(settings) as address, visiting(browser, address, **DESK) as page:
        page.goto(f"/#/runs/{job}")
        expect(page.locator(".troubles .notice")).to_have_count(2)
        expect(page.get_by_text("The disk is full: epoch 1 cannot be published until space is freed.")).to_be_visible()
        expect(page.get_by_text("Restarted from the beginning")).to_be_visible()
        expect(page.locator(".standing")).to_contain_text("Judging the images of the epoch")
        expect(page.get_by_text(re.compile("^Last heard of"))).to_be_visible()
