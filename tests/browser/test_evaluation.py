"""An evaluation that is started on the page, and whose worker is killed in the middle."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from models.evaluation.evaluation_records import Evaluation
from tests.browser.conftest import visiting
from tests.support.evaluations import ENVIRONMENT, evaluate_here, figures, kill_in_the_middle, publish_bars
from tests.support.running_service import running

pytestmark = pytest.mark.browser


@pytest.mark.timeout(600)
def test_the_figures_are_those_of_the_command(browser: Browser, tmp_path: Path) -> None:
    checkpoint = publish_bars(tmp_path / "home")
    with (
        running(tmp_path / "home", **ENVIRONMENT) as service,
        visiting(browser, str(service.client.base_url)) as page,
    ):
        page.goto("/#/checkpoints")
        entry = page.locator(f"[data-id='{checkpoint}'] .evaluation")
        entry.locator("summary").click()
        expect(entry).to_contain_text("This checkpoint has not been evaluated.")
        entry.get_by_role("button", name="Evaluate quickly").click()
        expect(entry).to_contain_text("Evaluation (quick):")
        (listed,) = service.client.get("/evaluations").json()["evaluations"]
        kill_in_the_middle(service, listed["id"])
        expect(entry).to_contain_text("Evaluation (quick): succeeded", timeout=300_000)
        address = entry.get_by_role("link", name="All figures").get_attribute("href")
        stored = page.request.get(str(address)).text()
        assert figures(stored) == figures(evaluate_here(service, checkpoint, tmp_path / "other"))
        distance = Evaluation.model_validate_json(stored).generator.frechet_distance
        shown = entry.locator(".facts div", has_text="Fréchet distance").locator("dd").inner_text()
        assert float(shown.split()[0]) == pytest.approx(distance, rel=0.05)
