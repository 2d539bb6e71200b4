"""A run reports by HTTP to a real MLflow server, whose figures are in SQLite."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from models.config import TrainingConfig
from tests.integrations.test_tracking import (
    EPOCHS,
    config,
    expected_figures,
    mlflow_client,
    only_run,
    patience,
    settings_of,
    train,
)
from tests.support.ports import free_port

__all__ = ["config", "patience"]
START_SECONDS = 120.0

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that stores figures in SQLite and pictures in a folder."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while not is_healthy(url):
            failed = process.poll() is not None or time.monotonic() > end
            assert not failed, (folder / "log").read_text()[-4000:]
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the server is a child; after SIGTERM it takes 15 s
        process.wait(30)


def is_healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_server_has_the_figures_parameters_tags_and_pictures_of_a_run(
    server: str, config: TrainingConfig, tmp_path: Path
) -> None:
    settings, out = settings_of(tmp_path / "home", report_to="mlflow", mlflow_tracking_uri=server), tmp_path / "run"
    assert "warning" not in train(config, settings, out)
    client = mlflow_client(server)
    run = only_run(client)
    figures = expected_figures(out, config)
    for name in figures[1]:
        found = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert found == {number: each[name] for number, each in figures.items()}, name
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a 'run'")
    assert (run.data.params["recipe"], run.data.params["epochs"]) == ("sharp", str(EPOCHS))
    assert run.data.tags.keys() >= {"acgan.job", "acgan.version", "acgan.dataset_checksum"}
    for number in range(1, EPOCHS + 1):
        picture = Path(client.download_artifacts(run.info.run_id, f"samples/epoch-{number:03d}.png"))
        assert picture.read_bytes() == (out / f"plot_epoch_{number:03d}_generated.png").read_bytes()
    assert not (tmp_path / "home" / "mlruns").exists()
