"""`acgan train --report-to`: an unknown tracker is reported before the training starts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.app.cli.test_cli import acgan
from worker.settings import WorkerSettings


def test_an_unknown_tracker_is_reported(tmp_path: Path) -> None:
    refused = acgan("train", "--out", str(tmp_path / "run"), "--report-to", "tensorboard", "--report-to", "wandb")
    assert refused.returncode == 2
    assert "there is no tracker 'wandb': use tensorboard or mlflow" in refused.stderr.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_setting_with_an_unknown_tracker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_REPORT_TO", "comet")
    with pytest.raises(ValidationError, match="there is no tracker 'comet'"):
        WorkerSettings()


def test_both_variables_name_the_mlflow_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert WorkerSettings(home=tmp_path).mlflow_address == (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert WorkerSettings().mlflow_address == "http://127.0.0.1:5000"
    monkeypatch.setenv("ACGAN_MLFLOW_TRACKING_URI", "http://127.0.0.1:6000")
    assert WorkerSettings().mlflow_address == "http://127.0.0.1:6000"
