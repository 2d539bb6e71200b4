"""Pictures of the page for the documentation: light, dark and phone.

python -m benchmarks.screenshots [--url http://127.0.0.1:8000] [--out docs/images] opens the page of a running service
in a Chromium on PATH. The first screen is in page-light.png, drawing in page-dark.png, and the first screen of a phone
in page-phone.png.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import sync_playwright


class Shot(NamedTuple):
    view: str
    ready: str  # the element that shows the content
    context: dict[str, Any]


SHOTS = {
    "page-light": Shot("", ".home img[src]", {"viewport": {"width": 1100, "height": 700}, "color_scheme": "light"}),
    "page-dark": Shot(
        "draw?label=all&n=8&seed=4",
        ".sheet img[src]",
        {"viewport": {"width": 1100, "height": 700}, "color_scheme": "dark"},
    ),
    "page-phone": Shot(
        "", ".home img[src]", {"viewport": {"width": 390, "height": 700}, "color_scheme": "light", "has_touch": True}
    ),
}
SETTLED = 6000  # milliseconds after which a number is written in one style


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, shot in SHOTS.items():
            page = browser.new_context(**shot.context).new_page()
            page.goto(f"{options.url}/#/{shot.view}")
            page.locator(shot.ready).first.wait_for()
            page.wait_for_timeout(SETTLED)
            page.screenshot(path=options.out / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
