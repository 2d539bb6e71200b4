"""Training data that the client and the command send to a service."""

import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from acgan_client import Client, JobFailed
from app.cli.training_data_upload import pack, plain
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.support.class_folders import write_classes
from tests.support.forks import run_acgan
from tests.support.image_archives import CLASSES, zip_of_pictures
from tests.support.serving import serving
from worker.lifecycle import shutdown
from worker.runner import run_next_job


@pytest.fixture(autouse=True)
def no_interruption() -> Iterator[None]:
    shutdown._requested.clear()
    yield
    shutdown._requested.clear()


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(settings) as address:
        monkeypatch.setenv("ACGAN_URL", address)
        yield address


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my letters", {"a": 40, "b": 30})


def while_a_worker_runs(settings: AppSettings, *arguments: str) -> CompletedProcess[str]:
    """Run a command beside a worker that runs jobs until the command has ended."""
    results = list[CompletedProcess[str]]()
    command = threading.Thread(target=lambda: results.append(run_acgan(*arguments)))
    command.start()
    while command.is_alive():
        run_next_job(settings)
        time.sleep(0.1)
    command.join()
    return results[0]


def test_the_client_sends_a_file_and_follows_its_job(address: str, settings: AppSettings, tmp_path: Path) -> None:
    path = tmp_path / "letters.zip"
    path.write_bytes(zip_of_pictures())
    with Client(address) as client:
        job = client.add_training_data("letters", path, idempotency_key="mine", seed=4)
        assert job.training_data is not None
        assert (job.training_data.file, job.training_data.options.seed) == ("letters.zip", 4)
        again = client.add_training_data("letters", path.read_bytes(), file=path.name, idempotency_key="mine", seed=4)
        assert again.id == job.id
        assert [each.id for each in client.jobs(kind="training_data").jobs] == [job.id]
        assert [each.id for each in client.iter_jobs(kind="training_data")] == [job.id]
        assert client.jobs().jobs == []
        run_next_job(settings)
        ended = client.wait(job)
        assert ended.result is not None
        assert (ended.result.dataset, ended.result.classes) == ("letters@1", list(CLASSES))
        assert [change.job.status.value for change in client.follow(job)][-1] == "succeeded"
        failing = client.add_training_data("letters", b"no archive")
        run_next_job(settings)
        with pytest.raises(JobFailed, match="upload"):
            client.wait(failing)


def test_a_folder_is_sent_as_an_archive(address: str, settings: AppSettings, letters: Path) -> None:
    sent = while_a_worker_runs(settings, "training-data", "add", "letters", str(letters), "--upload")
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.splitlines()[0] == "letters@1: 2 classes, 60 training and 10 test images"
    data = settings.open_store().training_data
    assert "my_letters.zip" in data.manifest(data.find("letters")).source
    again = while_a_worker_runs(settings, "training-data", "add", "letters", str(letters), "--upload", "--json")
    assert json.loads(again.stdout)["result"]["is_new"] is False


def test_it_says_how_the_job_ended_or_does_not_wait(address: str, settings: AppSettings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no archive")
    failed = while_a_worker_runs(settings, "training-data", "add", "letters", str(bad), "--upload")
    assert failed.returncode == 1
    assert "bad.zip" in failed.stderr
    assert "Traceback" not in failed.stderr
    accepted = run_acgan("training-data", "add", "letters", str(bad), "--upload", "--no-wait")
    assert accepted.returncode == 0
    assert "is accepted: `acgan follow " in accepted.stdout
    job_id = accepted.stdout.split()[1]
    followed = while_a_worker_runs(settings, "follow", job_id)
    assert followed.returncode == 1
    assert "training data letters of bad.zip" in followed.stdout
    refused = run_acgan("training-data", "add", "mnist", str(bad), "--upload")
    assert refused.returncode == 2
    assert "built-in" in refused.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--no-wait",), "--no-wait: not without"), (("--upload", "--preview", "x.png"), "--preview: not together with")],
)
def test_options_of_the_other_way_are_refused(letters: Path, options: tuple[str, ...], named: str) -> None:
    answer = run_acgan("training-data", "add", "letters", str(letters), *options)
    assert answer.returncode == 2
    assert named in answer.stderr


def test_the_same_folder_gives_the_same_archive(letters: Path, tmp_path: Path) -> None:
    (letters / ".hidden").write_bytes(b"x")
    (letters / "a" / "link.png").symlink_to("/etc/hostname")
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    pack(letters, first)
    (letters / "a").touch()
    pack(letters, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert len(archive.namelist()) == 72  # with two folders
        assert archive.namelist() == sorted(archive.namelist())


def test_a_folder_without_pictures_reaches_the_worker_which_refuses_it(
    address: str, settings: AppSettings, letters: Path
) -> None:
    (letters / "c").mkdir()
    sent = while_a_worker_runs(settings, "training-data", "add", "letters", str(letters), "--upload")
    assert sent.returncode == 1, sent.stdout
    assert "class c has no images: add images, or remove the folder" in sent.stderr.replace("\n", " ")


def test_links_that_are_not_sent_are_named(address: str, letters: Path) -> None:
    (letters / "c").symlink_to(letters / "a")
    (letters / "Thumbs.db").write_bytes(b"x")
    sent = run_acgan("training-data", "add", "letters", str(letters), "--upload", "--no-wait", "--json")
    assert sent.returncode == 0, sent.stderr
    assert "note: 1 links or devices in my letters were skipped: c" in sent.stderr
    assert json.loads(sent.stdout)["training_data"]["file"] == "my_letters.zip"


def test_a_folder_that_cannot_be_read_is_refused_as_without_upload(address: str, tmp_path: Path) -> None:
    place = tmp_path
    while len(os.fsencode(place)) < 3700:
        place /= "x" * 100
    letters = write_classes(place / "letters", {"a": 40, "b": 30, "c": 0})
    inner = os.open(letters / "c", os.O_RDONLY)
    for _ in range(3):  # the path of the last one is too long for a system call, also for root
        os.mkdir("y" * 200, dir_fd=inner)
        outer, inner = inner, os.open("y" * 200, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    for options in ([], ["--upload", "--no-wait"]):
        answer = run_acgan("training-data", "add", "letters", str(letters), *options)
        assert answer.returncode == 2, answer.stdout
        assert "cannot be read: File name too long" in answer.stderr


def test_a_file_has_a_plain_name_in_messages() -> None:
    assert [plain(name) for name in ("letters.zip", "my letters.zip", "..", "é.zip", "x" * 200)] == [
        "letters.zip",
        "my_letters.zip",
        "images",
        "zip",
        "x" * 100,
    ]


def test_a_name_that_is_not_utf_8_is_refused_with_a_sentence(address: str, letters: Path) -> None:
    first = next((letters / "a").iterdir())
    first.rename(os.fsdecode(os.fsencode(first.parent) + b"/\xfc.png"))
    result = run_acgan("training-data", "add", "letters", str(letters), "--upload")
    assert result.returncode == 2
    assert "is not UTF-8: rename it" in result.stderr
    assert "Traceback" not in result.stderr
