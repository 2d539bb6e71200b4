"""`acgan train --report-to`: an unknown tracker is reported before the training starts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.app.cli.test_cli import acgan
from worker.settings import WorkerSettings


def test_an_unknown_tracker_is_reported(tmp_path: Path) -> None:
    refused = acgan("train", "--out", str(tmp_path / "run"), "--report-to", "tensorboard", "--report-to", "wandb")
    assert refused.returncode == 2
    assert "should be names of trackers (tensorboard or mlflow), not 'tensorboard wandb'" in refused.stderr.replace(
        "\n", " "
    )
    assert not (tmp_path / "run").exists()


def test_a_setting_with_an_unknown_tracker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_REPORT_TO", "comet")
    with pytest.raises(ValidationError, match=r"should be names of trackers \(tensorboard or mlflow\)"):
        WorkerSettings()


def test_both_variables_name_the_mlflow_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert WorkerSettings(home=tmp_path).mlflow_address == (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert WorkerSettings().mlflow_address == "http://127.0.0.1:5000"
    monkeypatch.setenv("ACGAN_MLFLOW_TRACKING_URI", "http://127.0.0.1:6000")
    assert WorkerSettings().mlflow_address == "http://127.0.0.1:6000"


@pytest.mark.parametrize(
    ("given", "folder"),
    [("runs", "runs"), ("./my runs", "my runs"), ("file:my%20runs", "my runs"), ("/data/runs", "/data/runs")],
)
def test_a_folder_of_mlflow_is_the_same_for_other_processes(
    given: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = WorkerSettings(mlflow_tracking_uri=given)
    expected = (tmp_path / folder).as_uri()
    assert (settings.mlflow_address, settings.absolute_paths()["ACGAN_MLFLOW_TRACKING_URI"]) == (expected, expected)


@pytest.mark.parametrize("given", ["http://127.0.0.1:5000", "file:///data/runs", "databricks", "sqlite:///runs.db"])
def test_other_addresses_of_mlflow_stay_as_they_are(given: str) -> None:
    assert WorkerSettings(mlflow_tracking_uri=given).absolute_paths()["ACGAN_MLFLOW_TRACKING_URI"] == given
