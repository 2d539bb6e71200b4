"""A real browser on a page of another origin, and on a host name that was rebound to this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Page
from pydantic import SecretStr

from app.security.api_keys import make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.browser.conftest import launch
from tests.support.serving import serving

pytestmark = [pytest.mark.browser]

KEY, ENTRY = make_key("ana")
ATTACK = """async (address) => {
    const said = []
    for (const path of ['/train', '/datasets', '/jobs/20200101-000000-aaaaaa/cancel'])
        for (const mode of ['no-cors', 'cors'])
            await fetch(address + path, {method: 'POST', mode}).then(a => said.push(a.status), () => said.push('none'))
    for (const body of ['{}', new Blob(['{}'], {type: 'text/plain'})]) navigator.sendBeacon(address + '/train', body)
    await fetch(address + '/jobs').then(a => a.text()).then(text => said.push(text), () => said.push('none'))
    return said
}"""
FORM = """(address) => {
    document.body.innerHTML = `<form method=POST target=_self action="${address}/train"></form>`
    document.forms[0].submit()
}"""
READ = "() => fetch('/jobs').then(async a => [a.status, await a.text()])"
DRAW = """(address) => fetch(address + '/digits/7?n=3').then(
    async answer => [answer.status, (await answer.blob()).type, answer.headers.get('X-Seed')], () => 'none')"""
TRAIN = """(address) => fetch(address + '/train', {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: '{}'}).then(answer => [answer.status, answer.headers.get('Location')], () => 'none')"""
START = "() => fetch('/train', {method: 'POST'}).then(a => a.status)"


class Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def evil_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def page_at(browser: Browser, address: str) -> Iterator[Page]:
    """Open an address in another browser, in which `rebind.test` resolves to this machine."""
    rebound = launch(browser.browser_type, "--host-resolver-rules=MAP rebind.test 127.0.0.1")
    page = rebound.new_page()
    page.goto(address)
    yield page
    rebound.close()


def test_a_page_of_an_allowed_origin_draws_and_starts_a_run_and_another_does_not(
    browser: Browser, redis_url: str, store: CheckpointStore, evil_port: int
) -> None:
    """The two pages differ in their host only."""
    allowed, other = f"http://127.0.0.1:{evil_port}", f"http://localhost:{evil_port}"
    with serving(AppSettings(redis_url=redis_url, cors_origins=allowed)) as address:
        with page_at(browser, other) as page:
            assert page.evaluate(DRAW, address) == page.evaluate(TRAIN, address) == "none"
        assert httpx2.get(f"{address}/jobs").json()["jobs"] == []
        with page_at(browser, allowed) as page:
            status, kind, seed = page.evaluate(DRAW, address)
            started, location = page.evaluate(TRAIN, address)
        drawn = httpx2.get(f"{address}/digits/7?n=3&seed={seed}")
        assert (status, kind, started) == (200, "image/png", 202)
        assert drawn.headers["X-Seed"] == seed
        (job,) = httpx2.get(f"{address}/jobs").json()["jobs"]
        assert location.endswith(job["id"])


@pytest.mark.parametrize("keys", [None, SecretStr(str(ENTRY))], ids=["without keys", "with keys"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "rebind.test"])
def test_a_page_of_another_origin_starts_and_reads_nothing(
    browser: Browser, redis_url: str, store: CheckpointStore, evil_port: int, host: str, keys: SecretStr | None
) -> None:
    with serving(AppSettings(redis_url=redis_url, api_keys=keys)) as address:
        with page_at(browser, f"http://{host}:{evil_port}/") as page:
            learned = page.evaluate(ATTACK, address)
            with page.expect_navigation():
                page.evaluate(FORM, address)
            refused = page.inner_text("body")
        assert set(learned) == {0, "none"}  # it receives nothing, not even a status
        assert "another origin" in refused
        assert httpx2.get(f"{address}/jobs", headers={"X-API-Key": KEY}).json()["jobs"] == []


@pytest.mark.parametrize(("keys", "refused"), [(None, 421), (SecretStr(str(ENTRY)), 401)])
def test_a_rebound_name_starts_and_reads_nothing(
    browser: Browser, redis_url: str, store: CheckpointStore, keys: SecretStr | None, refused: int
) -> None:
    with serving(AppSettings(redis_url=redis_url, api_keys=keys)) as address:
        with page_at(browser, f"http://rebind.test:{urlsplit(address).port}/livez") as page:
            status, text = page.evaluate(READ)
            assert status == page.evaluate(START) == refused
            assert '"jobs"' not in text
        assert httpx2.get(f"{address}/jobs", headers={"X-API-Key": KEY}).json()["jobs"] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_services_own_page_starts_a_run(
    browser: Browser, redis_url: str, store: CheckpointStore, host: str
) -> None:
    with serving(AppSettings(redis_url=redis_url)) as address:
        with page_at(browser, f"http://{host}:{urlsplit(address).port}/") as page:
            assert page.evaluate(START) == 202
        assert len(httpx2.get(f"{address}/jobs").json()["jobs"]) == 1
