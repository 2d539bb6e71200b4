"""Ctrl-C while `acgan train` judges an epoch: the command ends at once, and --resume judges the epoch again."""

import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.local.training import Stopped, train_here
from app.settings import AppSettings
from models.config import DatasetName
from models.evaluation.quality_gate import QualityGate, Verdict
from models.training import training_state
from tests.app.cli.test_local import check_same_run
from tests.conftest import small


def test_ctrl_c_ends_the_judging_of_an_epoch(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, settings, quiet = small(dataset_name, epochs=1), AppSettings(judge=True), Console(quiet=True)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    train_here(config, settings, straight, quiet, False)

    judge, judged = QualityGate.verdict, list[Verdict]()

    def press_ctrl_c(*given: Any) -> Verdict:
        signal.raise_signal(signal.SIGINT)
        judged.append(judge(*given))
        return judged[-1]

    with monkeypatch.context() as patch:
        patch.setattr(QualityGate, "verdict", press_ctrl_c)
        with pytest.raises(Stopped):
            train_here(config, settings, stopped, quiet, False)
    assert not judged
    assert [path.name for path in stopped.iterdir()] == ["resume.safetensors"]
    position = training_state.from_bytes((stopped / "resume.safetensors").read_bytes()).position
    assert (position.epoch, position.iteration) == (1, 3)
    train_here(config, settings, stopped, quiet, True)
    check_same_run(straight, stopped)
