"""`acgan training-data`: real processes that add, list, show and remove training data, and are killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from app.cli.local.stored_data import as_begun
from app.server.embedded_redis import embedded_url
from models.config import TrainingConfig
from models.data.reference import Reference
from models.registry.store import CheckpointStore
from models.registry.training_data import TrainingDataStore
from models.training.training_state import Position, State, to_bytes
from tests.conftest import RunningRedis, small
from tests.support.class_folders import write_class, write_classes
from tests.support.forks import run_acgan
from worker.jobs.client import Order

LARGE = {"a": 3000, "b": 2000}  # pictures; half a second of decoding at least
acgan = run_acgan


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def stored(home: Path) -> TrainingDataStore:
    """The store of the commands in this test."""
    return CheckpointStore(home / "checkpoints").training_data


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "letters", {"a": 40, "b": 30})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("large") / "large", LARGE)


def test_a_folder_is_added_listed_shown_and_removed(letters: Path, stored: TrainingDataStore, home: Path) -> None:
    added = acgan("training-data", "add", "letters", str(letters))
    assert added.returncode == 0, added.stderr
    assert added.stdout.splitlines() == [
        "letters@1: 2 classes, 60 training and 10 test images, from 2 class folders in letters",
        "train on it: acgan train --recipe sharp --dataset letters --batch-size 12",
    ]
    assert f"in the store {home / 'checkpoints'}: a service with this store trains on it" in added.stderr
    assert "`acgan start --follow --recipe sharp --dataset letters --batch-size 12`; `--upload` sends" in added.stderr
    manifest = stored.manifest(Reference("letters", 1))
    assert (manifest.classes, manifest.train_counts, manifest.test_counts) == (("a", "b"), (34, 26), (6, 4))
    assert list((home / "imports").iterdir()) == []

    listed = acgan("training-data", "list")
    (row,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("letters")]
    assert row[:6] == ["letters", "1", "2", "60", "10", "0"]
    shown = acgan("training-data", "show", "letters").stdout
    assert "options: fit mnist, invert auto, inverted yes, split by seed, test share 0.143, seed 42" in shown
    assert "1\tb\t26\t4" in shown
    removed = acgan("training-data", "remove", "letters", "--yes")
    assert removed.stdout == "removed letters@1; Redis does not respond, so that no jobs were checked\n"
    assert stored.references() == []


def test_the_folder_of_the_command_is_added_although_its_home_is_in_it(letters: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ACGAN_HOME"}
    added = acgan("training-data", "add", "letters", ".", environment=environment, folder=letters)
    assert added.returncode == 0, added.stderr
    assert CheckpointStore(letters / ".acgan" / "checkpoints").training_data.references() == [Reference("letters", 1)]


def test_the_same_images_stay_one_version_and_a_run_trains_on_them(letters: Path, tmp_path: Path) -> None:
    for expected in (True, False):
        added = acgan("training-data", "add", "letters", str(letters), "--json")
        view = json.loads(added.stdout)
        assert (view["version"], view["is_new"], view["classes"]) == (1, expected, ["a", "b"])
    write_class(letters / "a", 0, [500])
    assert json.loads(acgan("training-data", "add", "letters", str(letters), "--json").stdout)["version"] == 2
    words = ["--epochs", "1", "--batch-size", "6", "--train-examples", "18", "--test-examples", "10"]
    trained = acgan("train", "--dataset", "letters@1", "--out", str(tmp_path / "run"), *words)
    assert trained.returncode == 0, trained.stderr
    with Image.open(tmp_path / "run" / "plot_epoch_001_generated.png") as plot:
        assert plot.size == (28 * 5, 1120)


def test_a_set_of_less_than_a_batch_is_refused_and_trains_with_the_recommended_command(
    letters: Path, tmp_path: Path
) -> None:
    added = acgan("training-data", "add", "letters", str(letters))
    words = added.stdout.splitlines()[-1].removeprefix("train on it: acgan ").split()
    out = ["--epochs", "1", "--out", str(tmp_path / "run")]
    for others in ([], ["--recipe", "sharp"]):
        refused = acgan("train", "--dataset", "letters", *others, *out)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (
            "error: letters@1 has 60 training images, less than one batch of 100: lower batch_size\n"
        )
    assert not (tmp_path / "run").exists()
    trained = acgan(*words, *out)
    assert trained.returncode == 0, trained.stderr
    assert "5 iterations per epoch" in " ".join(trained.stdout.split())


def test_a_large_set_needs_no_option(stored: TrainingDataStore, tmp_path: Path) -> None:
    added = acgan("training-data", "add", "bars", str(write_classes(tmp_path / "bars", {"a": 60, "b": 58})))
    assert added.stdout.splitlines()[-1] == "train on it: acgan train --recipe sharp --dataset bars"
    (made,) = stored.manifests()
    assert sum(made.train_counts) == 101


def test_a_resumed_run_keeps_its_version(letters: Path, tmp_path: Path) -> None:
    acgan("training-data", "add", "letters", str(letters))
    words = ["--batch-size", "6", "--train-examples", "18", "--test-examples", "10", "--out", str(tmp_path / "run")]
    assert acgan("train", "--dataset", "letters", "--epochs", "1", *words).returncode == 0
    write_class(letters / "a", 0, [500])
    acgan("training-data", "add", "letters", str(letters))
    resumed = acgan("train", "--dataset", "letters", "--epochs", "2", *words, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert (history["config"]["dataset"], len(history["epochs"])) == ("letters@1", 2)
    other = acgan("train", "--dataset", "letters@2", "--epochs", "3", *words, "--resume")
    assert (other.returncode, "another recipe" in other.stderr) == (2, True)


def test_the_version_of_a_stopped_run_comes_from_its_state(tmp_path: Path) -> None:
    config = TrainingConfig(dataset="letters@3", epochs=2)
    state = State(Position(epoch=1, iteration=2, seconds=0.0), config, "sha256:0", {"x": torch.zeros(1)})
    (tmp_path / "resume.safetensors").write_bytes(to_bytes(state))
    assert as_begun(TrainingConfig(dataset="letters"), tmp_path).dataset == "letters@3"
    assert as_begun(TrainingConfig(dataset="letters@2"), tmp_path).dataset == "letters@2"
    assert as_begun(TrainingConfig(dataset="mnist"), tmp_path).dataset == "mnist"
    (tmp_path / "resume.safetensors").write_bytes(b"damaged")
    assert as_begun(TrainingConfig(dataset="letters"), tmp_path).dataset == "letters"


def test_list_and_show_print_json(letters: Path) -> None:
    acgan("training-data", "add", "letters", str(letters), "--seed", "7", "--test-share", "0.5")
    listing = json.loads(acgan("training-data", "list", "--json").stdout)["training_data"]
    assert {"mnist", "printed", "letters"} <= {each["name"] for each in listing}
    view = json.loads(acgan("training-data", "show", "letters@1", "--json").stdout)
    assert view["test_counts"] == [20, 15]
    assert view["options"]["seed"] == 7
    assert json.loads(acgan("training-data", "show", "mnist", "--json").stdout)["built_in"]


def test_a_preview_is_written_and_nothing_is_stored(letters: Path, tmp_path: Path, stored: TrainingDataStore) -> None:
    shown = acgan("training-data", "add", "letters", str(letters), "--preview", str(tmp_path / "preview.png"))
    assert "2 classes, one a row, of 60 training and 10 test images" in shown.stdout
    with Image.open(tmp_path / "preview.png") as picture:
        assert (picture.size, picture.mode) == ((302, 62), "L")
    assert stored.references() == []


def test_a_preview_is_written_into_a_pipe(letters: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reader = os.open(tmp_path / "pipe.png", os.O_RDONLY | os.O_NONBLOCK)
    try:
        shown = acgan("training-data", "add", "letters", str(letters), "--preview", str(tmp_path / "pipe.png"))
        assert shown.returncode == 0, shown.stderr
        assert (tmp_path / "pipe.png").is_fifo()
        assert os.read(reader, 8) == b"\x89PNG\r\n\x1a\n"
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "mnist", "letters"], "mnist is the name of built-in training data: choose another name"),
        (["add", "../x", "letters"], "'../x' is not a name of training data"),
        (["add", "letters@2", "letters"], "give the name alone"),
        (["add", "x", "nothing"], "there is no file or folder nothing"),
        (["add", "x", "letters/a"], "class folders"),
        (["add", "x", "letters", "--test-share", "1"], "--test-share should be less than 1, not 1.0"),
        (["add", "x", "letters", "--test-share", "0.9"], "at least 10 training images, and class a has 4, b has 3"),
        (["add", "x", "letters", "--preview", "nothing/x.png"], "there is no folder nothing to write x.png into"),
        (["add", "x", "letters", "--home", "letters/a/0.png"], "letters/a/0.png is not a folder. Choose another one"),
        (["show", "nothing"], "there is no training data nothing"),
        (["remove", "nothing", "--yes"], "there is no training data nothing"),
        (["remove", "mnist", "--yes"], "mnist is the name of built-in training data"),
        (["remove", "letters"], "there is no terminal to ask for confirmation"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence(letters: Path, stored: TrainingDataStore, words: list[str], said: str) -> None:
    result = acgan("training-data", *words, folder=letters.parent)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert said in result.stderr.replace("\n", " ")
    assert stored.references() == []


@pytest.fixture
def running_redis(home: Path) -> Iterator[RunningRedis]:
    """Where `acgan up` would have started it."""
    running = RunningRedis(home / "redis")
    yield running
    running.kill()


def test_data_that_a_job_needs_are_not_removed(
    letters: Path, stored: TrainingDataStore, home: Path, running_redis: RunningRedis
) -> None:
    assert embedded_url(home / "redis") == running_redis.url
    acgan("training-data", "add", "letters", str(letters))
    job = running_redis.ask(lambda jobs: jobs.create(Order(small("letters@1"))))
    refused = acgan("training-data", "remove", "letters", "--yes")
    assert refused.returncode == 2
    assert f"training data letters@1 is needed by job {job.id}" in refused.stderr.replace("\n", " ")
    assert stored.references() == [Reference("letters", 1)]
    running_redis.ask(lambda jobs: jobs.cancel(job.id))
    assert acgan("training-data", "remove", "letters@1", "--yes").stdout == "removed letters@1\n"


# ----------------------------------------------------------------------------
# Ended in the middle.


# The command, which waits after its first chunk until a file exists: it could end before the test interrupts it.
HELD = """
import sys, time
from pathlib import Path
from app.cli import main
from models.data.building.chunks import ChunkFolder

released, write, begun = Path(sys.argv.pop(1)), ChunkFolder.write, time.monotonic()

def write_and_wait(chunks, chunk):
    write(chunks, chunk)
    while not released.exists() and time.monotonic() < begun + 150:
        time.sleep(0.01)

ChunkFolder.write = write_and_wait
sys.argv[0] = "acgan"
main()
"""


def start(released: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HELD, str(released), "training-data", "add", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(what: str, is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


def chunks(home: Path) -> dict[str, int]:
    """The finished chunks and their inodes, which change if one is written again."""
    return {path.name: path.stat().st_ino for path in home.glob("imports/*/*.chunk")}


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_killed_command_leaves_no_process_and_the_same_command_continues(
    large: Path, tmp_path: Path, home: Path, stored: TrainingDataStore
) -> None:
    with start(tmp_path / "never", "letters", str(large)) as process:
        wait_for("a chunk is finished", lambda: chunks(home))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    wait_for("its processes have ended", lambda: not members(process.pid))
    assert stored.references() == []
    finished = chunks(home)
    assert 0 < len(finished) < sum(LARGE.values()) // 512
    seen = acgan("training-data", "add", "letters", str(large), "--preview", str(tmp_path / "x.png"))
    assert seen.returncode == 0, seen.stderr
    after = chunks(home)
    assert {name: after[name] for name in finished} == finished
    assert len(after) == 10
    assert acgan("training-data", "add", "letters", str(large)).returncode == 0
    straight = acgan("training-data", "add", "letters", str(large), "--json", "--home", str(tmp_path / "other"))
    assert json.loads(straight.stdout)["is_new"]
    (made,), (other,) = (
        stored.manifests(),
        CheckpointStore(tmp_path / "other" / "checkpoints").training_data.manifests(),
    )
    assert made.dataset_checksum == other.dataset_checksum
    assert made.files == other.files


def test_ctrl_c_ends_with_a_sentence(large: Path, tmp_path: Path, home: Path, stored: TrainingDataStore) -> None:
    with start(tmp_path / "never", "letters", str(large)) as process:
        wait_for("a chunk is finished", lambda: chunks(home))
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does: all processes get it
        output, complaint = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert complaint == "stopped: the same command continues with the images that are decoded\n"
    assert stored.references() == []
    assert chunks(home)


def test_two_commands_for_the_same_images_do_not_disturb_each_other(large: Path, tmp_path: Path, home: Path) -> None:
    with start(tmp_path / "released", "letters", str(large)) as process:
        wait_for("a chunk is finished", lambda: chunks(home))
        os.kill(process.pid, signal.SIGSTOP)
        second = acgan("training-data", "add", "letters", str(large))
        os.kill(process.pid, signal.SIGCONT)
        (tmp_path / "released").touch()
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert second.returncode == 2
    assert "another process imports the same images" in second.stderr


def test_an_archive_is_added_as_its_folder(letters: Path, tmp_path: Path, stored: TrainingDataStore) -> None:
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as archive:
        for path in letters.rglob("*.png"):
            archive.write(path, str(path.relative_to(letters.parent)))
    for source in (letters, tmp_path / "letters.zip"):
        assert acgan("training-data", "add", "letters", str(source)).returncode == 0
    assert stored.references() == [Reference("letters", 1)]
