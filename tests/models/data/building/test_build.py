"""Training data from real files: the same for a folder and an archive of it, checked, and continued after a kill."""

import itertools
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from models.bounded_reading import FileDamaged, FileMissing
from models.data.building import options as options_of_import
from models.data.building.build import FEW, build, order_classes
from models.data.building.built import Built
from models.data.building.chunks import remove_chunks
from models.data.building.options import ImportOptions
from models.data.building.reading import BATCH_ITEMS
from models.data.dataset import Dataset
from models.data.importing import normalise
from models.data.importing.items import InvalidImages
from tests.support.class_folders import picture, write_class, write_classes

OPTIONS = ImportOptions()
COUNTS = {"b": 30, "a": 40, "é": 20}
MANY = {"a": FEW, "b": 700}  # more than are decoded in one process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("letters") / "letters", COUNTS)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("large") / "large", MANY)


def same(first: Built, second: Built) -> bool:
    return first.classes == second.classes and all(map(np.array_equal, first.arrays, second.arrays))


def test_a_folder_of_classes_becomes_training_data(shared: Path, tmp_path: Path) -> None:
    built = build(shared, OPTIONS, tmp_path)
    arrays = built.arrays
    assert built.classes == ("a", "b", "é")
    assert built.counts(arrays.train_labels) == [34, 26, 17]
    assert built.counts(arrays.test_labels) == [6, 4, 3]
    assert arrays.train_images.shape == (77, 28, 28)
    assert all(array.dtype == np.uint8 for array in arrays)
    assert arrays.train_images[:, 0].max() == 0  # bright on dark, with a dark border
    assert arrays.train_images.max(axis=(1, 2)).min() > 200
    assert built.options == {
        "fit": "mnist",
        "invert": "auto",
        "inverted": "yes",
        "split": "by seed",
        "test_share": 1 / 7,
        "seed": 42,
    }
    assert (built.warnings, built.skipped) == ((), 0)
    train_images, train_labels, test_images, test_labels = map(torch.from_numpy, arrays)
    assert built.checksum == Dataset("any", train_images, train_labels, test_images, test_labels).checksum


def test_a_folder_and_archives_of_it_give_the_same(shared: Path, tmp_path: Path) -> None:
    expected = build(shared, OPTIONS, tmp_path / "work")
    files = sorted(shared.rglob("*.png"), key=lambda path: path.name[::-1])  # another order
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as archive:
        for path in files:
            archive.write(path, f"letters/{path.relative_to(shared)}")
    with tarfile.open(tmp_path / "letters.tar.xz", "w:xz") as tar:
        for path in reversed(files):
            tar.add(path, str(path.relative_to(shared)))
    for name in ("letters.zip", "letters.tar.xz"):
        assert same(expected, build(tmp_path / name, OPTIONS, tmp_path / "work")), name


def test_options_decide_how_images_are_fitted_and_split(shared: Path, tmp_path: Path) -> None:
    builds = [
        build(shared, ImportOptions.model_validate(given), tmp_path)
        for given in ({}, {"seed": 1}, {"fit": "resize"}, {"fit": "resize", "invert": "no"}, {"test_share": 0.5})
    ]
    assert len({built.checksum for built in builds}) == 5
    resized, kept, half = builds[2:]
    assert kept.arrays.train_images.mean() > 128 > resized.arrays.train_images.mean()
    assert half.counts(half.arrays.test_labels) == [20, 15, 10]


def test_a_split_of_the_source_is_kept(tmp_path: Path) -> None:
    for row, name in enumerate("ab"):
        write_class(tmp_path / "in" / "train" / name, row, range(100 * row, 100 * row + 30))
        write_class(tmp_path / "in" / "test" / name, row, [*range(100 * row + 50, 100 * row + 60), 100 * row])
    built = build(tmp_path / "in", OPTIONS, tmp_path / "work")
    assert built.counts(built.arrays.train_labels) == [29, 29]
    assert built.counts(built.arrays.test_labels) == [11, 11]
    assert (built.options["split"], built.options["test_share"]) == ("given", None)
    assert built.warnings == ("training images left out, because they are test images too: 2",)


def test_unreadable_pictures_are_named_and_skipped(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", {"a": 40, "b": 40})
    (folder / "a" / "7.png").write_bytes((folder / "a" / "7.png").read_bytes()[:60])
    (folder / "b" / "1007.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    built = build(folder, OPTIONS, tmp_path / "work")
    assert built.skipped == 2
    assert len(built.arrays.train_labels) + len(built.arrays.test_labels) == 78
    (warning,) = built.warnings
    assert "cannot be read: 2 (a/7.png: " in warning
    assert "; b/1007.png: " in warning


def test_many_unreadable_pictures_are_an_error(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", {"a": 40, "b": 40})
    for number in range(5):
        (folder / "a" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    with pytest.raises(InvalidImages, match=r"5 of 80 pictures cannot be read, and at most 5% .*a/0.png: .*and 2 more"):
        build(folder, OPTIONS, tmp_path / "work")


def test_images_that_are_blank_because_of_an_option_are_an_error(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidImages, match="90 of 90 images are blank when they are not inverted: perhaps they must"):
        build(shared, ImportOptions(invert="no"), tmp_path)


def test_identical_and_blank_images_are_counted(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", {"a": 40, "b": 40})
    for name in ("x", "y", "z"):
        shutil.copy(folder / "a" / "0.png", folder / "a" / f"{name}.png")
    shutil.copy(folder / "a" / "1.png", folder / "b" / "same.png")
    Image.new("L", (30, 30), 255).save(folder / "b" / "blank.png")
    built = build(folder, OPTIONS, tmp_path / "work")
    assert built.warnings == (
        "images kept that are identical to another one of their split: 4",
        "images that are identical to one of another class: 2",
        "blank images: 1",
    )


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"a": 40}, "there is only one class, a: 2 to 100 classes are needed"),
        ({"a": 40, "b": 5}, "class b has 5: add images, or leave the class out"),
        ({"a": 40, "b": 0}, "class b has no images"),
        ({f"c{number}": 1 for number in range(101)}, "more than 100 classes"),
        ({}, "in"),
    ],
    ids=["one class", "few images", "empty class", "101 classes", "nothing"],
)
def test_what_cannot_be_training_data_is_refused(tmp_path: Path, counts: dict[str, int], said: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InvalidImages, match=said):
        build(write_classes(tmp_path / "in", counts), OPTIONS, tmp_path / "work")


def test_a_missing_source_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"there is no file or folder .*nothing"):
        build(tmp_path / "nothing", OPTIONS, tmp_path / "work")


def test_numbers_are_ordered_by_value_and_names_by_letter() -> None:
    assert order_classes({"10", "9", "1"}, None) == ("1", "9", "10")
    assert order_classes({"b", "2", "A", "a", "10"}, None) == ("2", "10", "A", "a", "b")
    assert order_classes({"b", "a"}, ("b", "unused", "a")) == ("b", "a")


@pytest.mark.parametrize("name", ["x" * 101, "a\x1b[31m", "e\u0301"], ids=["long", "control", "not NFC"])
def test_a_class_name_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(InvalidImages, match="is not the name of a class"):
        order_classes({"a", name}, ("a", name))


def test_npz_with_a_given_order_keeps_it(tmp_path: Path) -> None:
    images = np.stack([255 - picture(number % 2, number) for number in range(100)])
    labels = np.arange(100) % 2
    np.savez(tmp_path / "x.npz", x_train=images[:80], y_train=labels[:80], x_test=images[80:], y_test=labels[80:])
    built = build(tmp_path / "x.npz", ImportOptions(fit="resize"), tmp_path / "work")
    assert built.classes == ("0", "1")
    assert built.arrays.train_labels.tolist() == labels[:80].tolist()
    assert built.options["inverted"] == "no"


def test_processes_decode_the_same_as_one(large: Path, tmp_path: Path) -> None:
    reports = list[tuple[int, int | None]]()
    built = build(large, OPTIONS, tmp_path / "one", lambda *report: reports.append(report), processes=2)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in large.rglob("*.png"):
            archive.write(path, str(path.relative_to(large)))
    assert same(built, build(tmp_path / "x.zip", OPTIONS, tmp_path / "two", processes=1))
    total = sum(MANY.values())
    assert (reports[0], reports[-1]) == ((0, total), (total, total))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


class Stopped(Exception):
    """Raised by a progress callback, as a cancelled job does."""


def test_a_stopped_import_continues_with_its_chunks(large: Path, tmp_path: Path) -> None:
    expected = build(large, OPTIONS, tmp_path / "straight")

    def stop(done: int, total: int | None) -> None:
        if done > 0:
            raise Stopped

    with pytest.raises(Stopped):
        build(large, OPTIONS, tmp_path / "work", stop, processes=2)
    kept = {path: path.stat().st_ino for path in tmp_path.glob("work/*/*.chunk")}
    assert 0 < len(kept) < sum(MANY.values()) / BATCH_ITEMS
    reports = list[int]()
    built = build(large, OPTIONS, tmp_path / "work", lambda done, total: reports.append(done))
    assert same(built, expected)
    assert reports[0] == len(kept) * BATCH_ITEMS
    assert {path: path.stat().st_ino for path in kept} == kept
    remove_chunks(built.chunks)
    assert list((tmp_path / "work").iterdir()) == []


def test_chunks_in_the_middle_are_kept(large: Path, tmp_path: Path) -> None:
    """The processes do not finish in the order of the items."""
    expected = build(large, OPTIONS, tmp_path)
    paths = sorted(expected.chunks.glob("*.chunk"))
    for path in (paths[0], paths[2]):
        path.unlink()
    assert same(build(large, OPTIONS, tmp_path), expected)
    assert sorted(expected.chunks.glob("*.chunk")) == paths


def test_a_command_that_has_stored_its_images_does_not_delete_them_while_another_reads_them(
    shared: Path, tmp_path: Path
) -> None:
    first = build(shared, OPTIONS, tmp_path)
    second = build(shared, OPTIONS, tmp_path, lambda done, total: remove_chunks(first.chunks))
    assert same(first, second)
    remove_chunks(second.chunks)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", [slice(None), slice(0, 1), slice(1, 2), slice(-1, None)])
def test_decoded_images_that_disappear_are_an_error(large: Path, tmp_path: Path, which: slice) -> None:
    chunks = sorted(build(large, OPTIONS, tmp_path).chunks.glob("*.chunk"))

    def delete(done: int, total: int | None) -> None:
        for path in chunks[which]:
            path.unlink(missing_ok=True)

    with pytest.raises(FileDamaged, match=r"decoded images were deleted or changed in .*: import them again"):
        build(large, OPTIONS, tmp_path, delete)


def test_other_options_of_the_split_use_the_same_chunks_and_a_changed_source_does_not(
    tmp_path: Path,
) -> None:
    folder = write_classes(tmp_path / "in", {"a": 20, "b": 20})
    first = build(folder, OPTIONS, tmp_path / "work")
    assert build(folder, ImportOptions(seed=1, test_share=0.4), tmp_path / "work").chunks == first.chunks
    assert build(folder, ImportOptions(fit="resize"), tmp_path / "work").chunks != first.chunks
    write_class(folder / "a", 0, [500])
    changed = build(folder, OPTIONS, tmp_path / "work")
    assert changed.chunks != first.chunks
    assert len(changed.arrays.train_labels) + len(changed.arrays.test_labels) == 41


def test_an_identity_stands_for_the_place_of_the_source(shared: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(shared, tmp_path / name)
    found = {build(tmp_path / name, OPTIONS, tmp_path / "w", identity="x").chunks for name in ("first", "second")}
    assert len(found) == 1


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", {"a": 20, "b": 20})
    calls = itertools.count()

    def change(done: int, total: int | None) -> None:
        write_class(folder / "a", 0, [600 + next(calls)])

    with pytest.raises(InvalidImages, match="was changed while it was read"):
        build(folder, OPTIONS, tmp_path / "work", change)


def test_the_choices_of_options_are_those_of_the_normalisation() -> None:
    for name in ("Mode", "Invert"):
        assert get_args(getattr(options_of_import, name)) == get_args(getattr(normalise, name))
