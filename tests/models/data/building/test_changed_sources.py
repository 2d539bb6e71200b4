"""Whether decoded images are used again: if no file that the import reads has changed, and only then."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from models.bounded_reading import FileFault
from models.data.building.build import build
from models.data.idx import idx_header
from models.data.importing.items import InvalidImages
from tests.models.data.building.test_build import OPTIONS, same
from tests.support.class_folders import picture, write_classes


def test_what_is_skipped_does_not_change_a_source(tmp_path: Path) -> None:
    """The folder may contain the decoded images themselves, and systems write files into folders that they show."""
    folder = write_classes(tmp_path / "in", {"a": 20, "b": 20})
    calls = itertools.count()

    def change(done: int, total: int | None) -> None:
        (folder / "a" / ".DS_Store").write_bytes(b"x" * next(calls))
        (folder / "b" / f".{next(calls)}").mkdir()

    first = build(folder, OPTIONS, folder / ".acgan" / "imports", change)
    (folder / "Thumbs.db").write_bytes(b"x")
    again = build(folder, OPTIONS, folder / ".acgan" / "imports")
    assert again.chunks == first.chunks
    assert same(again, first)


@pytest.mark.parametrize("new", ["c", "c/d", "a/empty.txt"])
def test_a_folder_or_file_that_appears_changes_a_source(tmp_path: Path, new: str) -> None:
    folder = write_classes(tmp_path / "in", {"a": 20, "b": 20})

    def change(done: int, total: int | None) -> None:
        if Path(new).suffix:
            (folder / new).touch()
        else:
            (folder / new).mkdir(parents=True, exist_ok=True)

    with pytest.raises(InvalidImages, match="was changed while it was read"):
        build(folder, OPTIONS, tmp_path / "work", change)


IMAGES, LABELS = "my-images-idx3-ubyte", "my-labels-idx1-ubyte"
RIGHT, ROTATED = np.arange(60) % 3, np.arange(1, 61) % 3


def write_idx(path: Path, array: np.ndarray) -> Path:
    path.write_bytes(idx_header(array.shape) + array.astype(np.uint8).tobytes())
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An IDX file of 60 images without its labels."""
    return write_idx(tmp_path / IMAGES, np.stack([picture(number % 3, number) for number in range(60)]))


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "beside the images"])
def test_corrected_labels_are_read(images: Path, tmp_path: Path, is_given: bool) -> None:
    file = tmp_path / ("corrected" if is_given else LABELS)
    labels, work = file if is_given else None, tmp_path / "work"
    write_idx(file, np.zeros(60))
    with pytest.raises(InvalidImages, match="there is only one class, 0"):
        build(images, OPTIONS, work, labels=labels)
    write_idx(file, ROTATED)
    wrong = build(images, OPTIONS, work, labels=labels)
    write_idx(file, RIGHT)
    built = build(images, OPTIONS, work, labels=labels)
    assert same(built, build(images, OPTIONS, tmp_path / "other", labels=labels))
    assert not np.array_equal(built.arrays.train_labels, wrong.arrays.train_labels)


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "beside the images"])
def test_labels_that_change_while_they_are_read_are_refused(images: Path, tmp_path: Path, is_given: bool) -> None:
    file = write_idx(tmp_path / ("labels" if is_given else LABELS), RIGHT)

    def change(done: int, total: int | None) -> None:
        write_idx(file, np.append(ROTATED, 0))

    with pytest.raises(InvalidImages, match=f"{file.name} was changed while it was read"):
        build(images, OPTIONS, tmp_path / "work", change, labels=file if is_given else None)


def test_labels_that_cannot_be_used_are_refused_before_anything_is_decoded(images: Path, tmp_path: Path) -> None:
    for labels, said in (
        (None, "its file of labels is needed too"),
        (tmp_path, "is a folder"),
        (tmp_path / "no", "no file"),
    ):
        with pytest.raises((InvalidImages, FileFault), match=said):
            build(images, OPTIONS, tmp_path / "work", labels=labels)
    assert not (tmp_path / "work").exists()
