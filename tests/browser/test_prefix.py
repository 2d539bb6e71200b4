"""The page behind a real HAProxy under `/acgan/`, which removes the prefix or keeps it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.server.supervisor import listens
from models.config import DatasetName
from tests.browser.conftest import SLOW, visiting
from tests.e2e.test_service import DATA
from tests.support.ports import free_port
from tests.support.running_service import Service, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
]

expect.set_options(timeout=SLOW)

CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend edge
    bind 127.0.0.1:{edge}
    http-request deny unless {{ path_beg /acgan/ }}
    {rewrite}
    default_backend api
backend api
    server api 127.0.0.1:{api}
"""
REMOVE = r"http-request replace-path /acgan(/.*) \1"


@pytest.fixture(scope="module")
def prefixed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("service") / "home"
    with running(home, ACGAN_ROOT_PATH="/acgan", **DATA) as service:
        yield service


@pytest.fixture(params=[REMOVE, ""], ids=["removed", "kept"])
def edge(request: pytest.FixtureRequest, prefixed: Service, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    path = tmp_path / "haproxy.cfg"
    path.write_text(CONFIGURATION.format(edge=port, api=prefixed.port, rewrite=request.param))
    process = subprocess.Popen(["haproxy", "-f", str(path)])  # noqa: S607
    prefixed.until("HAProxy listens", lambda: listens("127.0.0.1", port))
    yield f"http://127.0.0.1:{port}/acgan/"
    process.kill()
    process.wait()


def test_a_run_is_started_followed_and_drawn(
    browser: Browser, edge: str, prefixed: Service, dataset_name: DatasetName
) -> None:
    with visiting(browser, edge) as page:
        job = start(page, dataset_name)
        expect(page.locator("h1 + .badge")).to_have_text("succeeded", timeout=120_000)
        record = page.locator(f"main a[href='/acgan/jobs/{job}']")
        root = edge.removesuffix("/acgan/")
        assert page.request.get(f"{root}{record.get_attribute('href')}").json()["id"] == job
        prefixed.until("its generator is served", lambda: prefixed.client.get("/serving").json()["serving"])
        page.get_by_role("navigation").get_by_role("link", name="Draw").click()
        expect(page.get_by_role("img", name="40 times the digit 7")).to_be_visible()
        address = page.get_by_role("textbox", name="Permanent link")
        expect(address).to_have_value(re.compile(rf"^{re.escape(edge)}digits/7\?n=40&seed="))
        assert page.request.get(address.input_value()).headers["content-type"] == "image/png"


def test_the_documentation_of_the_api_loads(browser: Browser, edge: str) -> None:
    with visiting(browser, edge) as page:
        page.get_by_role("link", name="API").click()
        expect(page.get_by_text("/digits/{label}").first).to_be_visible()
        assert page.url == f"{edge}docs"


def start(page: Page, dataset: DatasetName) -> str:
    page.get_by_role("link", name="Train", exact=True).first.click()
    page.get_by_role("button", name="a quick test").click()
    page.get_by_label("Dataset").select_option(dataset)
    page.get_by_label("Epochs").fill("1")
    page.get_by_text("More options").click()
    for label, value in (("Batch size", 20), ("Train examples", 60), ("Test examples", 40)):
        page.get_by_label(label).fill(str(value))
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url("**/#/runs/**")
    return page.url.rpartition("/")[2]
