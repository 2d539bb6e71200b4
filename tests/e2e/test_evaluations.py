"""`acgan evaluate --service` with a real worker that is killed in the middle: the figures are those of the command."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from app.cli.errors import CANCELLED
from tests.support.evaluations import ENVIRONMENT, evaluate_here, figures, kill_in_the_middle, publish_bars
from tests.support.running_service import CHECKOUT, Service, running


def begin(service: Service, *words: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command, which waits. Returns it with the id of the evaluation that it has ordered."""
    known = {each["id"] for each in service.client.get("/evaluations").json()["evaluations"]}
    environment = {**service.environment, "ACGAN_URL": str(service.client.base_url)}
    command = subprocess.Popen(
        [*CHECKOUT, "evaluate", "--service", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def ordered() -> str | None:
        listed = service.client.get("/evaluations").json()["evaluations"]
        return next((str(each["id"]) for each in listed if each["id"] not in known), None)

    return command, service.until("the evaluation is ordered", ordered)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_waits_for_a_worker_that_replaces_a_killed_one(tmp_path: Path) -> None:
    checkpoint = publish_bars(tmp_path / "home")
    picture = tmp_path / "charts.png"
    with running(tmp_path / "home", **ENVIRONMENT) as service:
        command, evaluation = begin(service, checkpoint, "--quick", "--json", "--picture", str(picture))
        kill_in_the_middle(service, evaluation)
        output, errors = command.communicate(timeout=300)
        assert command.returncode == 0, errors
        assert figures(output) == figures(evaluate_here(service, checkpoint, tmp_path / "other"))
        with Image.open(picture) as charts:
            assert charts.format == "PNG"

        command, evaluation = begin(service, checkpoint)
        service.client.post(f"/jobs/{evaluation}/cancel").raise_for_status()
        output, errors = command.communicate(timeout=120)
        assert (command.returncode, output) == (CANCELLED, "")
        assert f"evaluation {evaluation} was cancelled: resume it with `acgan resume {evaluation}`" in errors
