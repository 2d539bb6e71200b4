"""A real browser and a real service."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.app.conftest import kept_generators, settings, store  # noqa: F401  # fixtures
from tests.e2e.test_service import DATA
from tests.support.running_service import Service, running

# Logs each word that only a mistake in the page shows: as text, in an attribute that users meet, or in an address.
MISTAKES = r"""
  const mistake = /(?<![\w=])(false|undefined|null|NaN)(?!\w)|\[object/;
  const attributes = ["alt", "aria-label", "aria-valuetext", "href", "placeholder", "src", "title"];
  const complain = (where, text) => mistake.test(text) && console.error(`${location.hash} ${where}: ${text}`);
  const check = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return complain(`<${node.parentElement?.localName}>`, node.data);
    for (const { name, value } of node.attributes ?? []) if (attributes.includes(name)) complain(name, value);
    node.childNodes.forEach(check);
  };
  new MutationObserver((changes) => {
    if (!document.getElementById("main")) return; // the documentation of the API, whose schemas have such values
    for (const { type, target, addedNodes } of changes) (type === "childList" ? addedNodes : [target]).forEach(check);
  }).observe(document, { subtree: true, childList: true, characterData: true, attributeFilter: attributes });
"""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SLOW = 60_000  # milliseconds, for actions that take one second on a machine with more than two cores
expect.set_options(timeout=SLOW)  # also of a module that is run alone


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


def launch(chromium: BrowserType, *options: str) -> Browser:
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # which root cannot use
    return chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *options])


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "home", **DATA) as service:
        yield service


@contextmanager
def visiting(browser: Browser, address: str, **options: object) -> Iterator[Page]:
    """Open the page. On exit, checks that it logged no error, contacted no other host, and showed no word like `false`.

    The option `refused` is a part of the addresses whose requests the service is expected to refuse, which the browser
    logs. The other options are those of the browser's context.
    """
    refused = str(options.pop("refused", ""))
    complaints: list[str] = []
    elsewhere: list[str] = []

    def record_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (refused and refused in message.location["url"]):
            complaints.append(message.text)

    def see(request: Request) -> None:
        target = urlsplit(request.url)
        if target.scheme not in ("blob", "data") and target.hostname != "127.0.0.1":
            elsewhere.append(request.url)

    context = browser.new_context(base_url=address, **options)  # type: ignore[arg-type]
    context.set_default_timeout(SLOW)
    context.add_init_script(MISTAKES)
    page = context.new_page()
    page.on("console", record_message)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", see)
    page.goto("./")
    yield page
    context.close()
    assert complaints == []
    assert elsewhere == []
