"""`acgan train --resume` under another environment and of a finished run, and a run that a signal ends."""

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from app.cli.local.training import LocalEpoch, Stopped, train_here
from app.settings import AppSettings
from models.bounded_reading import FileMissing
from models.config import DatasetName
from models.errors import AcganError
from models.training import training_state
from models.training.environment import reset_threads
from tests.app.cli.test_cli import acgan
from tests.app.cli.test_local import HeldRun, words_of
from tests.conftest import small
from tests.support.serving import until


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    reset_threads()


CONFIG = small("printed")  # two epochs


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that stopped after its first epoch."""

    def stop(epoch: LocalEpoch) -> None:
        raise Stopped

    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        train_here(CONFIG, AppSettings(judge=False), folder, Console(quiet=True), False, stop)
    return folder


def test_a_run_that_began_in_bf16_resumes_where_it_would_be_emulated(
    stopped_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(stopped_run, out)
    state = training_state.from_bytes((out / "resume.safetensors").read_bytes())
    began = state.config.model_copy(update={"precision": "bf16"})
    (out / "resume.safetensors").write_bytes(training_state.to_bytes(replace(state, config=began)))
    monkeypatch.setattr("models.networks.precision._cpu_multiplies_bf16", lambda: False)
    printed = io.StringIO()
    train_here(CONFIG, AppSettings(judge=False), out, Console(file=printed, width=500), True)
    history = json.loads((out / "history.json").read_text())
    (warning,) = history["warnings"]
    assert "another precision than it began with (fp32, not bf16)" in warning
    assert printed.getvalue().count(f"warning: {warning}") == 1
    assert history["config"]["precision"] == "fp32"
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]


def resumed(stopped: Path, out: Path, name: str, value: str | int) -> str:
    """Change the recorded environment of a copy of the stopped run, and resume it. Returns the output."""
    shutil.copytree(stopped, out)
    state = training_state.from_bytes((out / "resume.safetensors").read_bytes())
    assert state.environment is not None
    began = state.environment.model_copy(update={name: value})
    (out / "resume.safetensors").write_bytes(training_state.to_bytes(replace(state, environment=began)))
    printed = io.StringIO()
    train_here(CONFIG, AppSettings(judge=False), out, Console(file=printed, width=500), True)
    return printed.getvalue()


@pytest.mark.parametrize(
    ("name", "value"), [("build", "[b]another build"), ("cpu", "another cpu"), ("code", "0.0.1"), ("device", "cuda:0")]
)
def test_a_run_resumed_in_another_environment_reports_it(
    stopped_run: Path, tmp_path: Path, name: str, value: str
) -> None:
    printed = resumed(stopped_run, tmp_path / "run", name, value)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    (warning,) = history["warnings"]
    assert value in warning
    assert f"warning: {warning}" in printed
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]


def test_a_resumed_run_uses_its_original_number_of_threads(stopped_run: Path, tmp_path: Path) -> None:
    number = torch.get_num_threads() + 1
    printed = resumed(stopped_run, tmp_path / "run", "threads", number)
    assert f"({number} threads)" in printed
    assert "warning" not in printed
    assert json.loads((tmp_path / "run" / "history.json").read_text())["warnings"] == []


@pytest.fixture(scope="module")
def finished_run(stopped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(stopped_run, folder)
    train_here(CONFIG, AppSettings(judge=False), folder, Console(quiet=True), True)
    return folder


def continued(finished: Path, out: Path, **changes: object) -> str:
    """Continue a copy of the finished run with other options. Returns the output."""
    shutil.copytree(finished, out)
    printed = io.StringIO()
    config = CONFIG.model_copy(update=changes)
    train_here(config, AppSettings(judge=False), out, Console(file=printed, width=500), True)
    return printed.getvalue()


def test_a_finished_run_continues_with_more_epochs(finished_run: Path, tmp_path: Path) -> None:
    printed = continued(finished_run, tmp_path / "run", epochs=4)
    assert "from iteration 0 of epoch 3" in printed
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3, 4]
    assert history["epochs"][:2] == json.loads((finished_run / "history.json").read_text())["epochs"]
    assert history["config"]["epochs"] == 4
    (warning,) = history["warnings"]
    assert "Adam's moments began at zero" in warning
    assert f"warning: {warning}" in printed
    assert not (tmp_path / "run" / "resume.safetensors").exists()


def test_continued_twice_gives_the_same_digits(finished_run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        continued(finished_run, tmp_path / name, epochs=3)
    file = "params_generator_average_epoch_003.safetensors"
    first = (tmp_path / "a" / file).read_bytes()
    assert first == (tmp_path / "b" / file).read_bytes()
    assert first != (finished_run / file.replace("003", "002")).read_bytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "is finished after epoch 2: a larger --epochs continues it"),
        ({"epochs": 1}, "is finished after epoch 2: a larger --epochs continues it"),
        ({"epochs": 3, "seed": 5}, "history.json: this state belongs to a run with another recipe"),
    ],
)
def test_a_finished_run_that_cannot_continue_says_why(
    finished_run: Path, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(AcganError, match=sentence):
        continued(finished_run, tmp_path / "run", **changes)
    kept, copy = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (finished_run, tmp_path / "run")
    )
    assert kept == copy


@pytest.mark.parametrize(("position", "done"), [((2, 1), 1), ((3, 0), 2)], ids=["stopped", "killed at its end"])
def test_a_run_that_has_trained_more_epochs_than_asked_for_keeps_its_state(
    stopped_run: Path, finished_run: Path, tmp_path: Path, position: tuple[int, int], done: int
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    state = training_state.from_bytes((stopped_run / "resume.safetensors").read_bytes())
    moved = training_state.Position(epoch=position[0], iteration=position[1], seconds=0.0)
    (out / "resume.safetensors").write_bytes(training_state.to_bytes(replace(state, position=moved)))
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    shorter = CONFIG.model_copy(update={"epochs": 1})
    with pytest.raises(AcganError, match=f"has trained {done} of its 2 epochs: continue it with --epochs 2"):
        train_here(shorter, AppSettings(judge=False), out, Console(quiet=True), True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    train_here(CONFIG, AppSettings(judge=False), out, Console(quiet=True), True)
    assert not (out / "resume.safetensors").exists()
    assert [epoch["epoch"] for epoch in json.loads((out / "history.json").read_text())["epochs"]] == [1, 2]


# The command, which waits before it loads its data until a file exists.
HELD = """
import sys, time
from pathlib import Path
from app.cli import main
from app.cli.local import training

place, load, begun = Path(sys.argv.pop(1)), training.load_dataset, time.monotonic()

def wait_and_load(*given):
    (place / "held").touch()
    while not (place / "released").exists() and time.monotonic() < begun + 300:
        time.sleep(0.01)
    return load(*given)

training.load_dataset = wait_and_load
sys.argv[0] = "acgan"
main()
"""


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_command_does_not_train_in_the_folder_of_the_first(
    stopped_run: Path, tmp_path: Path, resume: bool
) -> None:
    out = tmp_path / "run"
    sizes = ["--batch-size", "6", "--train-examples", "18", "--test-examples", "12", "--epochs", "2"]
    words = ["train", "--dataset", "printed", "--out", str(out), *sizes]
    if resume:
        shutil.copytree(stopped_run, out)
        words.append("--resume")
    before = {file.name for file in stopped_run.iterdir()} if resume else set()
    command = [sys.executable, "-c", HELD, str(tmp_path), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        until("the first command loads its data", lambda: (tmp_path / "held").exists() or first.poll() is not None, 300)
        second = acgan(*words, *([] if resume else ["--seed", "7"]))
        left = {file.name for file in out.iterdir() if not file.name.startswith(".")}
        (tmp_path / "released").touch()
        printed, _ = first.communicate(timeout=300)
    assert (second.returncode, left) == (2, before), second.stdout
    assert f"another command trains in {out}/" in second.stderr
    assert first.returncode == 0, printed
    history = json.loads((out / "history.json").read_text())
    assert (history["config"]["seed"], len(history["epochs"])) == (CONFIG.seed, 2)
    assert not [file.name for file in out.iterdir() if file.name.startswith(".")]


def test_a_finished_run_without_its_last_weights_names_the_file(finished_run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(finished_run, damaged)
    (damaged / "params_discriminator_epoch_002.safetensors").unlink()
    with pytest.raises(FileMissing, match=r"params_discriminator_epoch_002\.safetensors"):
        continued(damaged, tmp_path / "run", epochs=3)


SHORT_EPOCHS = ["--train-examples", "12", "--test-examples", "4"]


def held_run(place: Path, out: Path, *before: str) -> HeldRun:
    """Start a run of 50 epochs, and wait until it waits in the second one, with files in the folder `place`."""
    run = HeldRun(place, [*words_of(out, "printed"), "--epochs", "50", *SHORT_EPOCHS], before)
    run.wait_for(2, out / "history.json")
    return run


@pytest.mark.parametrize("sign", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_saves_the_state_and_prints_how_to_continue(tmp_path: Path, sign: signal.Signals) -> None:
    run = held_run(tmp_path, tmp_path / "run")
    run.process.send_signal(sign)
    run.release(2)
    code, complaint = run.end()
    assert code == 130, complaint
    assert "the same command with --resume continues" in complaint
    state = training_state.from_bytes((tmp_path / "run" / "resume.safetensors").read_bytes())
    assert state.position.epoch == 2


def test_a_run_under_nohup_ignores_a_closed_terminal(tmp_path: Path) -> None:
    run = held_run(tmp_path, tmp_path / "run", "nohup")
    run.process.send_signal(signal.SIGHUP)
    run.release(2)
    run.wait_for(4, tmp_path / "run" / "history.json")
    run.process.send_signal(signal.SIGTERM)
    run.release(4)
    code, complaint = run.end()
    assert code == 130, complaint


@pytest.mark.parametrize("dataset", ["mnist"])
def test_a_folder_without_a_run_exits_with_2(
    tmp_path: Path, dataset: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with other files, and a path that does not exist."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.txt").write_text("holiday pictures")
    for folder in (tmp_path / "other", tmp_path / "missing"):
        monkeypatch.setenv("ACGAN_DATA_DIR", str(folder))
        ended = acgan(*words_of(tmp_path / "run", dataset))
        assert ended.returncode == 2, ended.stderr
        assert str(folder) in "".join(ended.stderr.split("\n"))
        assert not list((tmp_path / "run").glob("*.safetensors"))
