"""The command line as a user meets it: real processes, exit codes and messages."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from app.cli.application import GROUPS, PANELS
from app.cli.errors import read_settings
from models.config import DatasetName
from models.networks.weights import discriminator_from_bytes, generator_from_bytes
from tests.support.forks import run_acgan

COMMANDS = [command for commands in PANELS.values() for command in commands]


acgan = run_acgan


def settings_errors(capsys: pytest.CaptureFixture[str]) -> str:
    """The message that every command prints for invalid settings before it exits."""
    with pytest.raises(typer.Exit) as ended:
        read_settings()
    assert ended.value.exit_code == 2
    return capsys.readouterr().err


def test_train_writes_the_files_of_the_original_script(tmp_path: Path, dataset_name: DatasetName) -> None:
    out = tmp_path / "run"
    words = [
        "--epochs",
        "2",
        "--batch-size",
        "20",
        "--train-examples",
        "60",
        "--test-examples",
        "20",
        "--latent-size",
        "30",
    ]
    result = acgan("train", "--out", str(out), "--dataset", dataset_name, *words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("component              | loss | generation_loss | auxiliary_loss") == 2
    assert result.stdout.count("discriminator (test)") == 2
    names = {"history.json", "history.csv"} | {
        name
        for epoch in ("001", "002")
        for name in (
            f"plot_epoch_{epoch}_generated.png",
            f"params_generator_epoch_{epoch}.safetensors",
            f"params_generator_average_epoch_{epoch}.safetensors",
            f"params_discriminator_epoch_{epoch}.safetensors",
        )
    }
    assert {path.name for path in out.iterdir()} == names
    with Image.open(out / "plot_epoch_002_generated.png") as plot:
        assert plot.size == (588, 1120)
    assert generator_from_bytes((out / "params_generator_epoch_002.safetensors").read_bytes()).latent_size == 30
    discriminator_from_bytes((out / "params_discriminator_epoch_001.safetensors").read_bytes())
    history = json.loads((out / "history.json").read_text())
    assert history["config"]["latent_size"] == 30
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]

    again = acgan("train", "--out", str(out), "--dataset", dataset_name, *words)
    assert again.returncode == 2
    assert "choose another folder with --out" in again.stderr.replace("\n", " ")

    drawn = acgan(
        "digits",
        "7",
        "-n",
        "5",
        "-o",
        str(tmp_path / "7.png"),
        "--checkpoint",
        str(out / "params_generator_epoch_002.safetensors"),
    )
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(tmp_path / "7.png") as sheet:
        assert sheet.size == (140, 28)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--epochs", "0"], "error: --epochs should be at least 1, not 0"),
        (["train", "--dataset", "cifar"], "kmnist, mnist, printed, printed_letters"),
        (["train", "--dataset", "MNIST"], "--dataset should be a name of training data: 1 to 40 of a-z"),
        (["train", "--train-examples", "50"], "raise train_examples or lower batch_size"),
        (["digits", "7", "-o", "x.png"], "no checkpoint has been published"),
        (["digits", "7", "-o", "x.png", "--checkpoint", "none.safetensors"], "there is no file none.safetensors"),
        (["digits", "7", "-o", "none/x.png"], "there is no folder none to write x.png into"),
        (["digits", "7", "-o", "tests"], "tests is a folder: name a file to write"),
        (["evaluate", "--picture", "none/x.png"], "there is no folder none to write x.png into"),
        (["export", "-o", "none/x.onnx"], "there is no folder none to write x.onnx into"),
        (["order", "--verify", "nan"], "--verify should be from 0 to 1, not nan"),
        (["order", "-o", "README.md"], "README.md is not a folder"),
        (
            ["download", "20260131-120000-1a2b3c", "-o", "README.md/x"],
            "README.md/x/ cannot be created: README.md is not",
        ),
        (["train", "--out", "/proc/run"], "/proc/run/ cannot be created"),
        (["digits", "7", "-o", "x.png", "--checkpoint", "nonsense"], "ids look like"),
        (["digits", "10", "-o", "x.png"], "less than or equal to 9"),
        (["digits", "7"], "no checkpoint has been published"),
        (["serve", "--port", "99999"], "port (ACGAN_PORT) should be at most 65535, not 99999"),
        (["digits", "7", "-o", "x.png", "--checkpoint", "README.md"], "README.md is not a safetensors file"),
        (["evaluate", "nonsense"], "ids look like"),
        (["evaluate", "--dataset", "cifar"], "kmnist, mnist, printed, printed_letters"),
        (["train", "--recipe", "blunt"], "'seed', 'sharp' or 'thorough'"),
        (["train", "--resume", "--out", "tests"], "tests/ holds no run to resume"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_mistake_prints_a_sentence_and_exits_with_2(words: list[str], said: str, tmp_path: Path) -> None:
    result = acgan(*words)
    assert result.returncode == 2
    assert said in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_an_unavailable_data_set_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_DATA_DIR", str(tmp_path))
    result = acgan("train", "--out", str(tmp_path / "run"))
    assert result.returncode == 2
    assert "the public mirrors" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_device_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACGAN_DEVICE", "cuda:63")
    result = acgan("train", "--dataset", "printed", "--out", str(tmp_path))
    assert result.returncode == 2
    assert "ACGAN_DEVICE=cuda:63" in result.stderr


def test_a_command_without_the_fork_server_does_the_same() -> None:
    command = [sys.executable, "-m", "app.cli", "digits", "10", "-o", "x.png"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    forked = acgan("digits", "10", "-o", "x.png")
    assert (plain.returncode, plain.stdout, plain.stderr) == (forked.returncode, forked.stdout, forked.stderr)
    assert plain.returncode == 2


def test_the_version_is_printed() -> None:
    result = acgan("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"acgan (\d+[.]\d+[.]\d+|source)\n", result.stdout)


def test_help_names_every_command() -> None:
    result = acgan("--help")
    assert result.returncode == 0
    for command in [*COMMANDS, *GROUPS]:
        assert f" {command} " in result.stdout
