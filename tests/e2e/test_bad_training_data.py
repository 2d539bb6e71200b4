"""Bad and unusual training data through the whole product: each gives a sentence or a right result.

The command reads all of them. The files that reach a worker in another way are also sent to a service over HTTP. The
readers' own tests (tests/models/data) have more of each kind; tests/faults has uploads that are cut off and full disks.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from models.data.reference import Reference
from models.registry.store import CheckpointStore
from models.registry.training_data import TrainingDataStore
from tests.support.bad_images import (
    EACH,
    Write,
    arrays,
    bomb,
    case_and_unicode,
    csv,
    encrypted,
    huge_picture,
    huge_row_group,
    nested,
    picture_with_text,
    pictures,
    rows,
    short_row,
    spoiled,
    unusual_pictures,
    with_many_entries,
    with_name_twice,
    with_tar_entry,
    zipped,
)
from tests.support.class_folders import write_classes
from tests.support.forks import run_acgan
from tests.support.running_service import Service, running


class Refused(NamedTuple):
    write: Write
    sentence: str  # or a part of it
    name: str = "x.zip"
    over_http: bool = False


NOISE = np.random.default_rng(2).random((2 * EACH, 28, 28))
LABELS = np.arange(2 * EACH) % 2
NAN = np.where(np.arange(28) == 3, np.nan, NOISE)

REFUSED = {
    "one class": Refused(zipped(pictures(("a",))), "there is only one class, a", over_http=True),
    "101 classes": Refused(zipped(pictures(map(str, range(101)), each=1)), "more than 100 classes", over_http=True),
    "a class with few pictures": Refused(
        zipped(pictures() | {"c/1.png": pictures()["a/1.png"]}), "class c has 1: add images, or leave the class out"
    ),
    "a huge picture among few": Refused(zipped(pictures(each=5) | {"b/x.png": huge_picture()}), "20,000 x 20,000"),
    "a name with ..": Refused(zipped(pictures() | {"../x.png": b""}), "leaves the archive: ../x.png", over_http=True),
    "an absolute name": Refused(zipped(pictures() | {"/etc/x.png": b""}), "absolute name", over_http=True),
    "a zip bomb": Refused(bomb, "a/bomb.png has 67,108,864 bytes", over_http=True),
    "a link": Refused(with_tar_entry(tarfile.SYMTYPE), "a link or a device, not a file: b/other.png", "x.tar", True),
    "a device": Refused(with_tar_entry(tarfile.CHRTYPE), "a link or a device, not a file: b/other.png", "x.tar"),
    "an encrypted archive": Refused(encrypted, "has an entry that is encrypted: a/0.png", over_http=True),
    "an archive in an archive": Refused(nested, "has no images, but an archive, which is not unpacked: inner.zip"),
    "an entry twice": Refused(with_name_twice, "has an entry twice: a/./0.png"),
    "many empty entries": Refused(with_many_entries(500_000), "more than 150,000 files", over_http=True),
    "a short row": Refused(short_row(), "row 4", "x.csv", True),
    "NaN in a CSV": Refused(spoiled("nan"), "row 3", "x.csv"),
    "a value of 256": Refused(spoiled(256), "row 3", "x.csv", True),
    "NaN in an array": Refused(arrays(NAN, LABELS), "has the value nan, and grey levels are from 0 to 255", "x.npz"),
    "an array above 255": Refused(
        arrays((NOISE * 300).astype(np.int64), LABELS), "and grey levels are from 0 to 255", "x.npz"
    ),
    "an array that needs pickle": Refused(arrays(np.array([{}] * 2), np.arange(2)), "pickle", "x.npz", True),
    "a huge row group": Refused(huge_row_group, "has a row group of 140,0", "x.parquet", True),
}


class Accepted(NamedTuple):
    write: Write
    classes: list[str]
    warning: str | None = None  # a part of the only one
    name: str = "x.zip"
    over_http: bool = False


ACCEPTED = {
    "a huge picture among many": Accepted(
        zipped(pictures() | {"b/x.png": huge_picture()}),
        ["a", "b"],
        "b/x.png: it has 20,000 x 20,000 pixels",
        "x.zip",
        True,
    ),
    "a picture with 100 MB of text": Accepted(
        zipped(pictures(("a", "b", "d")) | {"b/x.png": picture_with_text()}),
        ["a", "b", "d"],
        "b/x.png: ",
        "x.zip",
        True,
    ),
    "mixed sizes, colour, alpha, 16 bits, GIF": Accepted(
        zipped(pictures() | unusual_pictures()),
        ["a", "b", "c"],
        "identical to another one of their split: 4",  # alpha, 16 bits, and two GIF files
        over_http=True,
    ),
    "unicode, and names that differ in case": Accepted(
        zipped(case_and_unicode()), ["A", "a", "é", "猫"], None, "x.zip", True
    ),
    "labels from 1, with a gap": Accepted(csv(rows([1, 2, 4] * EACH)), ["1", "2", "4"], None, "x.csv", True),
}


@pytest.fixture
def stored(tmp_path: Path) -> TrainingDataStore:
    """The store of the commands in this test."""
    return CheckpointStore(tmp_path / "home" / "checkpoints").training_data


def leftovers(home: Path) -> list[Path]:
    """Files of training data that were not completed, but for decoded pictures with which a command continues."""
    return [path for path in (home / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_refuses_it_with_a_sentence(tmp_path: Path, stored: TrainingDataStore, name: str) -> None:
    case = REFUSED[name]
    case.write(tmp_path / case.name)
    before = sorted(tmp_path.iterdir())
    result = run_acgan("training-data", "add", "letters", case.name, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    (sentence,) = said(result.stderr)
    assert case.sentence in sentence
    assert sentence.startswith("error: ")
    assert stored.references() == []
    assert leftovers(tmp_path / "home") == []
    assert sorted(path for path in tmp_path.iterdir() if path.name != "home") == before


def said(text: str) -> list[str]:
    """The sentences of a command, each of which may be wrapped into several lines."""
    return " ".join(text.split()).replace(" error: ", "\nerror: ").split("\n")


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_command_makes_the_right_training_data_of_it(tmp_path: Path, stored: TrainingDataStore, name: str) -> None:
    case = ACCEPTED[name]
    case.write(tmp_path / case.name)
    result = run_acgan("training-data", "add", "letters", case.name, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    manifest = stored.manifest(Reference("letters", 1))
    assert list(manifest.classes) == case.classes
    assert len(manifest.warnings) == (case.warning is not None)
    if case.warning:
        assert case.warning in manifest.warnings[0]


def test_an_empty_class_folder_is_named(tmp_path: Path, stored: TrainingDataStore) -> None:
    write_classes(tmp_path / "letters", {"a": EACH, "b": EACH, "c": 0})
    result = run_acgan("training-data", "add", "letters", "letters", folder=tmp_path)
    assert result.returncode == 2
    assert said(result.stderr) == ["error: class c has no images: add images, or remove the folder"]
    assert stored.references() == []


@pytest.mark.parametrize(
    ("name", "sentence", "status"),
    [
        ("mnist", "mnist is the name of built-in training data", 409),
        ("../x", "is not a name of training data", 404),
        ("x" * 300, "is not a name of training data", 422),
        ("Letters", "is not a name of training data", 422),
    ],
)
def test_other_names_are_refused(service: Service, tmp_path: Path, name: str, sentence: str, status: int) -> None:
    zipped(pictures())(tmp_path / "x.zip")
    result = run_acgan("training-data", "add", name, "x.zip", folder=tmp_path)
    assert result.returncode == 2
    assert sentence in said(result.stderr)[0]
    answer = service.client.put(f"/training-data/{name}", content=b"x", headers={"Content-Type": "application/zip"})
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert "letters" not in {each["name"] for each in service.client.get("/training-data").json()["training_data"]}


# ----------------------------------------------------------------------------
# Over HTTP.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "home") as service:
        yield service


def send(service: Service, name: str, file: Path) -> str:
    headers = {"Content-Type": "application/octet-stream"}
    answer = service.client.put(
        f"/training-data/{name}", params={"file": file.name}, content=file.read_bytes(), headers=headers
    )
    return str(answer.raise_for_status().json()["id"])


@pytest.mark.long
def test_a_worker_refuses_it_with_the_same_sentence(service: Service, tmp_path: Path) -> None:
    jobs = dict[str, str]()
    for name, case in REFUSED.items():
        if case.over_http:
            case.write(tmp_path / case.name)
            jobs[name] = send(service, "refused", tmp_path / case.name)
    for name, job_id in jobs.items():
        job = service.until_ended(job_id)
        assert (job["status"], job["result"], job["trouble"]) == ("failed", None, None), name
        assert REFUSED[name].sentence in job["error"], name
        assert job["error"].isprintable(), name
        assert service.client.delete(f"/jobs/{job_id}").status_code == 204
    assert service.client.get("/training-data/refused").status_code == 404
    store = CheckpointStore(service.home / "checkpoints")

    def left() -> list[str]:
        return [file.name for file in store.storage.files() if any(job in file.name for job in jobs.values())]

    service.until("the worker has cleaned up", lambda: left() == [])  # after the record of the last job


@pytest.mark.long
def test_a_worker_makes_the_right_training_data_of_it(service: Service, tmp_path: Path) -> None:
    """Each file is other content of the same name, and therefore a new version."""
    jobs = dict[str, str]()
    for name, case in ACCEPTED.items():
        if case.over_http:
            case.write(tmp_path / case.name)
            jobs[name] = send(service, "accepted", tmp_path / case.name)
    for version, (name, job_id) in enumerate(jobs.items(), 1):
        job, case = service.until_ended(job_id), ACCEPTED[name]
        assert (job["status"], job["error"]) == ("succeeded", None), name
        assert (job["result"]["dataset"], job["result"]["classes"]) == (f"accepted@{version}", case.classes)
        assert len(job["warnings"]) == (case.warning is not None), name
        assert case.warning is None or case.warning in job["warnings"][0]
    assert service.client.get("/training-data/accepted").json()["versions"] == list(range(1, len(jobs) + 1))
