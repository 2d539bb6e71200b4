"""Pictures of the page for the documentation: first screen, list of runs, a run and drawing, in light, dark and phone.

python -m benchmarks.screenshots [--url http://127.0.0.1:8000] [--out docs/images] [--all] opens the page of a running
service in a Chromium on PATH. Without a finished epoch there is only the first screen. The documentation shows the
pictures in SHOWN, such as page-run-dark.png; --all makes those of every view in every look. Each has at most 64
colours.
"""

import argparse
import io
import shutil
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.page import newest_run


class View(NamedTuple):
    address: str
    ready: str  # the element that shows the content


VIEWS = {
    "first": View("", ".home img[src]"),
    "list": View("", ".job"),
    "run": View("runs/{job}", ".chart circle"),
    "draw": View("draw?label=all&n=8&seed=4", ".sheet img[src]"),
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1000, "height": 700}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1000, "height": 700}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}
SHOWN = ("first-light", "first-phone", "list-light", "run-dark", "run-phone", "draw-dark", "draw-phone")
SETTLED = 6000  # milliseconds after which a number is written in one style


def has_runs(url: str) -> bool:
    with urlopen(f"{url}/jobs?limit=1") as answer:  # noqa: S310  # the URL from the command line
        return b'"jobs":[]' not in answer.read()


def small(png: bytes) -> Image.Image:
    """Reduce a picture to 64 colours, without dots in its areas of one colour."""
    return Image.open(io.BytesIO(png)).convert("RGB").quantize(64, dither=Image.Dither.NONE)


def shoot(browser: Browser, address: str, ready: str, look: str, path: Path) -> None:
    page = browser.new_context(**LOOKS[look]).new_page()
    page.goto(address)
    page.locator(ready).first.wait_for()
    page.wait_for_timeout(SETTLED)
    small(page.screenshot()).save(path, optimize=True)
    page.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", action="store_true", help="also the pictures that the documentation does not show")
    options = parser.parse_args()
    views = ["list", "run", "draw"] if has_runs(options.url) else ["first"]
    job = newest_run(options.url) if "run" in views else ""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name in [f"{view}-{look}" for view in views for look in LOOKS]:
            view, look = name.split("-")
            if options.all or name in SHOWN:
                address = f"{options.url}/#/{VIEWS[view].address.format(job=job)}"
                shoot(browser, address, VIEWS[view].ready, look, options.out / f"page-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
