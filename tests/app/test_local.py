"""`acgan train` stopped and gone on with, and `acgan evaluate`: real processes, and real figures of few digits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from app.local import evaluation as local_evaluation
from app.local.evaluation import evaluate_here, tabulate
from app.settings import AppSettings
from models.config import DatasetName
from models.evaluation import Effort
from models.networks import Generator
from models.weights import to_bytes
from tests.app.test_cli import acgan


def words_of(out: Path, dataset: DatasetName) -> list[str]:
    sizes = ["--batch-size", "20", "--train-examples", "400", "--test-examples", "40", "--epochs", "2"]
    return ["train", "--recipe", "sharp", "--dataset", dataset, "--out", str(out), *sizes]


def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path, dataset_name: DatasetName) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    told = acgan(*words_of(straight, dataset_name))
    assert told.returncode == 0, told.stderr

    command = [sys.executable, "-m", "app.cli", *words_of(stopped, dataset_name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (stopped / "history.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "the same command with --resume goes on" in complaint.replace("\n", " ")

    told = acgan(*words_of(stopped, dataset_name), "--resume")
    assert told.returncode == 0, told.stderr
    assert "of epoch 2" in told.stdout.replace("\n", " ")
    assert not (stopped / "resume.safetensors").exists()
    for path in straight.glob("*.safetensors"):
        assert (stopped / path.name).read_bytes() == path.read_bytes(), path.name
    histories = [json.loads((folder / "history.json").read_text()) for folder in (straight, stopped)]
    for history in histories:
        for epoch in history["epochs"]:
            del epoch["seconds"]
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "not the state of a run"), (6 << 30, "has 6,442,450,944 bytes, and such a file has at most")],
)
def test_a_state_that_cannot_be_resumed_is_named(size: int, words: str, tmp_path: Path) -> None:
    for name in ("history.json", "resume.safetensors"):
        (tmp_path / name).touch()
    os.truncate(tmp_path / "resume.safetensors", size)
    refused = acgan(*words_of(tmp_path, "printed"), "--resume")
    assert refused.returncode == 2
    assert "resume.safetensors" in refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_epoch_tells_its_figures_where_digits_are_judged(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACGAN_JUDGE", "true")
    told = acgan(*words_of(tmp_path / "run", dataset_name), "--epochs", "1")
    assert told.returncode == 0, told.stderr
    assert "Frechet distance" in told.stdout
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())["epochs"]
    assert epoch["metrics"]["frechet_distance"] > 1
    assert "to be served" in epoch["refused"]


def test_an_evaluation_tells_every_figure_beside_real_digits(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch, good: Generator
) -> None:
    if dataset_name != "mnist":
        pytest.skip("real MNIST is not here")
    monkeypatch.setattr(local_evaluation, "QUICK", Effort(digits=40, lessons=60, pupils=1, epochs=1))
    file, picture = tmp_path / "good.safetensors", tmp_path / "quality.png"
    file.write_bytes(to_bytes(good))
    for _ in range(2):  # the second time what real digits reach lies in the cache
        found = evaluate_here(AppSettings(), str(file), "mnist", True, picture, Console(quiet=True))
    assert found.generator.digits == 400
    assert sum(map(sum, found.generator.confusion)) == 400
    assert found.generator.label_accuracy > 0.9
    assert 0 < found.generator.frechet_distance < 2 * found.real.frechet_distance
    assert found.real.copies == pytest.approx(0.01, abs=0.006)
    assert found.real.label_accuracy == pytest.approx(found.judge_accuracy)
    assert len(list((AppSettings().judges_dir).iterdir())) == 1
    with Image.open(picture) as drawn:
        assert drawn.width > 900
    with (tmp_path / "table").open("w") as told:
        Console(file=told, width=120).print(tabulate(found))
    assert "GAN-train, 600 digits" in (tmp_path / "table").read_text()
