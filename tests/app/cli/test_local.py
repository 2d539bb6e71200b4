"""`acgan train`, stopped and resumed, and `acgan evaluate`: real processes, and real metrics of a few digits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from app.cli.display.evaluation_table import tabulate
from app.cli.local import evaluation as local_evaluation
from app.cli.local.evaluation import evaluate_here
from app.cli.local.training import LocalEpoch, train_here
from app.settings import AppSettings
from models.config import DatasetName
from models.evaluation.evaluator import EvaluationBudget
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from models.training import training_state
from tests.app.cli.test_cli import acgan
from tests.conftest import small
from tests.support.serving import until

# The command, which waits in the second and in the fourth epoch, after their first iteration, until a file exists.
HELD_IN_EPOCHS = """
import sys, time
from pathlib import Path
from app.cli import main
from models.training.trainer import Trainer

place, run, begun = Path(sys.argv.pop(1)), Trainer.run, time.monotonic()

def run_and_wait(trainer, on_progress, check):
    def wait_and_check():
        held = place / f"held-{trainer.epoch}"
        if trainer.epoch in (2, 4) and trainer.iteration == 1 and not held.exists():
            held.touch()
            while not (place / f"released-{trainer.epoch}").exists() and time.monotonic() < begun + 300:
                time.sleep(0.01)
        check()
    return run(trainer, on_progress, wait_and_check)

Trainer.run = run_and_wait
sys.argv[0] = "acgan"
main()
"""


class HeldRun:
    """A command that trains and waits in its second and fourth epoch. `place` is a folder for the files of the wait."""

    def __init__(self, place: Path, words: list[str], before: tuple[str, ...] = ()) -> None:
        self.place = place
        command = [*before, sys.executable, "-c", HELD_IN_EPOCHS, str(place), *words]
        environment = {**os.environ, "ACGAN_SAVE_SECONDS": "86400"}  # so that the only state of its own is the first
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )

    def wait_for(self, epoch: int, file: Path) -> None:
        """Wait until the command waits in an epoch, and has written a file of an earlier one."""

        def is_held() -> bool:
            assert self.process.poll() is None, self.end()
            return (self.place / f"held-{epoch}").exists() and file.exists()

        until(f"the command waits in epoch {epoch}", is_held, 300)

    def release(self, epoch: int) -> None:
        (self.place / f"released-{epoch}").touch()

    def end(self) -> tuple[int, str]:
        """Wait until the command has ended. Returns its status and what it has written to stderr, on one line."""
        _, complaint = self.process.communicate(timeout=300)
        return self.process.returncode, " ".join(complaint.split())


def words_of(out: Path, dataset: DatasetName) -> list[str]:
    sizes = ["--batch-size", "4", "--train-examples", "120", "--test-examples", "8", "--epochs", "2"]
    return ["train", "--recipe", "sharp", "--dataset", dataset, "--out", str(out), *sizes]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("straight") / "run"


@pytest.fixture
def straight(shared_folder: Path, dataset_name: DatasetName) -> Path:
    """A run to its end without a stop, once for this file."""
    if not shared_folder.exists():
        trained = acgan(*words_of(shared_folder, dataset_name))
        assert trained.returncode == 0, trained.stderr
    return shared_folder


@pytest.mark.long
def test_a_run_that_is_stopped_resumes_from_its_state(
    tmp_path: Path, dataset_name: DatasetName, straight: Path
) -> None:
    stopped = tmp_path / "stopped"
    run = HeldRun(tmp_path, words_of(stopped, dataset_name))
    run.wait_for(2, stopped / "history.json")
    run.process.send_signal(signal.SIGINT)
    run.release(2)
    status, complaint = run.end()
    assert status == 130, complaint
    assert "the same command with --resume continues" in complaint

    result = acgan(*words_of(stopped, dataset_name), "--resume")
    assert result.returncode == 0, result.stderr
    assert "of epoch 2" in result.stdout.replace("\n", " ")
    assert not (stopped / "resume.safetensors").exists()
    check_same_run(straight, stopped)


def check_same_run(straight: Path, resumed: Path) -> None:
    """Both folders hold the same files except for times, and no state."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (straight, resumed)]
    assert names[0] == names[1]
    for path in [*straight.glob("*.safetensors"), *straight.glob("*.png")]:
        assert (resumed / path.name).read_bytes() == path.read_bytes(), path.name
    histories = [json.loads((folder / "history.json").read_text()) for folder in (straight, resumed)]
    for history in histories:
        for epoch in history["epochs"]:
            del epoch["seconds"]
    assert histories[0] == histories[1]


def test_a_run_that_is_killed_resumes_from_its_last_state_to_the_same_files(
    tmp_path: Path, dataset_name: DatasetName, straight: Path
) -> None:
    """Killed in its second epoch. The only state was saved in the first one, before any file existed."""
    killed = tmp_path / "killed"
    run = HeldRun(tmp_path, words_of(killed, dataset_name))
    run.wait_for(2, killed / "history.json")
    run.process.kill()
    run.end()
    state = training_state.from_bytes((killed / "resume.safetensors").read_bytes())
    assert state.position.epoch == 1
    half_written = ".history.csv.ab12.tmp", ".params_generator_epoch_002.safetensors.ab12.tmp"  # a kill can leave them
    for name in half_written:
        (killed / name).write_bytes(b"half")
    resumed = acgan(*words_of(killed, dataset_name), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    check_same_run(straight, killed)


def test_a_file_that_cannot_be_written_ends_the_run_with_a_sentence(tmp_path: Path, dataset_name: DatasetName) -> None:
    """The file belongs to the first epoch, and is written while the second one is trained."""
    out = tmp_path / "run"
    (out / "params_discriminator_epoch_001.safetensors").mkdir(parents=True)
    ended = acgan(*words_of(out, dataset_name), "--epochs", "3")
    assert ended.returncode == 2
    file = out / "params_discriminator_epoch_001.safetensors"
    assert ended.stderr.endswith(f"error: {file} cannot be used: Is a directory\n")
    assert "Epoch 1/3" not in ended.stdout
    assert not (out / "history.json").exists()
    assert not (out / "plot_epoch_002_generated.png").exists()
    assert training_state.from_bytes((out / "resume.safetensors").read_bytes()).position.epoch == 1


def test_an_epoch_is_reported_after_its_files_are_on_disk(tmp_path: Path, dataset_name: DatasetName) -> None:
    reported = list[tuple[int, list[str], int]]()

    def on_epoch(epoch: LocalEpoch) -> None:
        files = sorted(path.name for path in tmp_path.glob(f"*epoch_{epoch.epoch:03d}*"))
        recorded = json.loads((tmp_path / "history.json").read_text())["epochs"]
        reported.append((epoch.epoch, files, len(recorded)))

    train_here(small(dataset_name, epochs=3), AppSettings(), tmp_path, Console(quiet=True), False, on_epoch)
    assert [epoch for epoch, _, _ in reported] == [1, 2, 3]
    for epoch, files, recorded in reported:
        assert len(files) == 4
        assert recorded >= epoch
    assert not (tmp_path / "resume.safetensors").exists()


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


def test_an_epoch_prints_its_metrics_if_digits_are_judged(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACGAN_JUDGE", "true")
    result = acgan(*words_of(tmp_path / "run", dataset_name), "--epochs", "1")
    assert result.returncode == 0, result.stderr
    assert "Frechet distance" in result.stdout
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())["epochs"]
    assert epoch["metrics"]["frechet_distance"] > 1
    assert "that serving requires" in epoch["refused"]


@pytest.mark.long
def test_an_evaluation_prints_every_metric_beside_that_of_real_digits(
    tmp_path: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch, good: Generator
) -> None:
    if dataset_name != "mnist":
        pytest.skip("real MNIST is not here")
    monkeypatch.setattr(local_evaluation, "QUICK", EvaluationBudget(digits=40, lessons=60, pupils=1, epochs=1))
    file, picture = tmp_path / "good.safetensors", tmp_path / "quality.png"
    file.write_bytes(to_bytes(good))
    for _ in range(2):  # the second evaluation reads the metrics of real digits from the cache
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
    assert "GAN-train, 600 digits" in [row[0] for row in tabulate(found).rows()]
