"""Cost of opening the page: requests, bytes on the wire, and the time until the content is shown.

python -m benchmarks.page [--url http://127.0.0.1:8000] [--rounds 3] opens the page of a running service in a Chromium
on PATH, and prints a table. The views are the runs, the newest run with an epoch, and the form for a new run.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright

QUIET_SECONDS, LONGEST_SECONDS = 1.0, 120.0


class Profile(NamedTuple):
    """A screen, and the network and processor speed that Chrome's throttling simulates."""

    name: str
    width: int
    height: int
    latency: float = 0.0  # ms added to each request
    down: float = -1.0  # bytes per second; -1 for no limit
    up: float = -1.0
    slower: float = 1.0  # factor, compared with this machine's processor


DESK = Profile("desktop", 1200, 900)
PHONE = Profile("phone, slow 4G, processor 4 times slower", 390, 844, 562.5, 180_000, 84_375, 4.0)

VIEWS = {  # address, and the element that shows its content
    "runs": ("", ".job"),
    "a run": ("runs/{job}", ".charts polyline"),
    "the form": ("new", ".cost b"),
}


class Visit(NamedTuple):
    requests: int
    bytes: int  # including headers
    first_paint: float  # ms since the address was opened
    ready: float


@dataclass
class Wire:
    """Network traffic as the browser reports it. An event stream counts with the bytes received so far."""

    requests: int = 0
    bytes: int = 0
    open: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)
    last: float = 0.0

    def subscribe(self, listen: Callable[[str, Callable[[dict[str, Any]], None]], None]) -> None:
        listen("Network.requestWillBeSent", self.asked)
        listen("Network.responseReceived", self.answered)
        listen("Network.dataReceived", self.came)
        listen("Network.loadingFinished", self.finished)
        listen("Network.loadingFailed", self.failed)

    def asked(self, event: dict[str, Any]) -> None:
        if event["request"]["url"].startswith("http"):
            self.requests += 1
            self.open.add(event["requestId"])
            self.last = time.monotonic()

    def answered(self, event: dict[str, Any]) -> None:
        if event["response"]["mimeType"] == "text/event-stream":
            self.open.discard(event["requestId"])
            self.streams.add(event["requestId"])
            self.bytes += int(event["response"]["encodedDataLength"])

    def came(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self.streams:
            self.bytes += event["encodedDataLength"] or event["dataLength"]

    def finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self.open:
            self.bytes += int(event["encodedDataLength"])
            self.failed(event)

    def failed(self, event: dict[str, Any]) -> None:
        self.open.discard(event["requestId"])
        self.last = time.monotonic()

    def is_quiet(self) -> bool:
        return not self.open and time.monotonic() - self.last > QUIET_SECONDS


SEEN = """new MutationObserver((_, observer) => {
  if (window.seenAt || !document.querySelector(SELECTOR)) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.seenAt = performance.now(); });
}).observe(document, { childList: true, subtree: true });"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def visit(page: Page, address: str, ready: str, profile: Profile) -> Visit:
    """Open an address of the page, and wait until its content is shown and the network is quiet."""
    wire, session = Wire(), page.context.new_cdp_session(page)
    wire.subscribe(session.on)
    session.send("Network.enable")
    limits = {"latency": profile.latency, "downloadThroughput": profile.down, "uploadThroughput": profile.up}
    session.send("Network.emulateNetworkConditions", {"offline": False, **limits})
    session.send("Emulation.setCPUThrottlingRate", {"rate": profile.slower})
    page.add_init_script(SEEN.replace("SELECTOR", json.dumps(ready)))
    page.goto(address, wait_until="commit")
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (seen := page.evaluate("window.seenAt ?? 0")) or not wire.is_quiet():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address}: {ready} is not shown within {LONGEST_SECONDS:.0f} s")
        page.wait_for_timeout(50)
    session.detach()
    return Visit(wire.requests, wire.bytes, page.evaluate(PAINTED), seen)


def first_and_again(browser: Browser, address: str, ready: str, profile: Profile) -> tuple[Visit, Visit]:
    """Visit with an empty cache, then once more."""
    with browser.new_context(viewport={"width": profile.width, "height": profile.height}) as context:
        first = visit(context.new_page(), address, ready, profile)
        return first, visit(context.new_page(), address, ready, profile)


# ----------------------------------------------------------------------------
# The table.


def newest_run(url: str) -> str:
    with urlopen(f"{url}/jobs?epochs=last&limit=100") as answer:  # noqa: S310  # the URL from the command line
        jobs = json.load(answer)["jobs"]
    job_id: str = next(job["id"] for job in jobs if job["epochs"])
    return job_id


def row(name: str, profile: Profile, visits: list[Visit]) -> str:
    requests, size, paint, ready = (statistics.median(values) for values in zip(*visits, strict=True))
    return f"| {name} | {profile.name} | {requests:.0f} | {size / 1e3:.1f} | {paint:.0f} | {ready:.0f} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--url", default="http://127.0.0.1:8000")
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    job = newest_run(given.url)
    lines = ["| view | | requests | kB | first paint, ms | shown, ms |", "|---|---|---|---|---|---|"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for profile in (DESK, PHONE):
            for name, (view, ready) in VIEWS.items():
                address = f"{given.url}/#/{view.format(job=job)}"
                visits = [first_and_again(browser, address, ready, profile) for _ in range(given.rounds)]
                lines.append(row(name, profile, [first for first, _ in visits]))
                lines.append(row(f"{name}, again", profile, [again for _, again in visits]))
        browser.close()
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
