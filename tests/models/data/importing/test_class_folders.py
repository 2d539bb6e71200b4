"""Folders and archives with one subfolder a class: structure, names, order, and what is skipped."""

import os
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from models.bounded_reading import FileMissing, FileUnreadable
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.normalise import to_grey
from models.data.importing.opening import open_source
from tests.models.data.importing.pictures import (
    LETTERS,
    PNG,
    encoded,
    items_of,
    labelled,
    stroke,
    write_tar,
    write_tree,
    write_zip,
)

PLAIN = [("a/1.png", "a", None), ("a/2.png", "a", None), ("b/1.png", "b", None)]
Write = Callable[[Path, Mapping[str, bytes]], Path]
CONTAINERS: dict[str, Write] = {
    "folder": lambda path, files: write_tree(path / "set", files),
    "zip": lambda path, files: write_zip(path / "set.zip", files),
    "tar": lambda path, files: write_tar(path / "set.tar", files),
    "tar.gz": lambda path, files: write_tar(path / "set.tar.gz", files, "w:gz"),
    "tar.bz2": lambda path, files: write_tar(path / "set.tar.bz2", files, "w:bz2"),
    "tar.xz": lambda path, files: write_tar(path / "set.tar.xz", files, "w:xz"),
    "any name": lambda path, files: write_tar(path / "upload", files, "w:gz"),
}


@pytest.fixture(params=list(CONTAINERS))
def write(request: pytest.FixtureRequest) -> Write:
    return CONTAINERS[request.param]


def test_each_container_gives_the_same_items(tmp_path: Path, write: Write) -> None:
    with open_source(write(tmp_path, LETTERS)) as source:
        assert (source.count, source.class_names, source.notes) == (3, None, ())
        assert source.description.startswith("2 class folders in ")
        items = list(source.items())
    assert labelled(items) == PLAIN
    assert all(item.content == PNG for item in items)


def test_the_order_depends_on_the_names_only(tmp_path: Path, write: Write) -> None:
    names = ["10/b10.png", "2/x.png", "10/b9.png", "B/1.png", "10/a.png"]
    given = write(tmp_path / "given", dict.fromkeys(names, PNG))
    turned = write(tmp_path / "turned", dict.fromkeys(names[::-1], PNG))
    expected = ["2/x.png", "10/a.png", "10/b9.png", "10/b10.png", "B/1.png"]
    assert [item.name for item in items_of(given)] == [item.name for item in items_of(turned)] == expected


def test_items_resume_at_a_number(tmp_path: Path, write: Write) -> None:
    with open_source(write(tmp_path, LETTERS)) as source:
        assert labelled(list(source.items(2))) == PLAIN[2:]
        assert labelled(list(source.items(3))) == []
        assert labelled(list(source.items())) == PLAIN


def test_a_single_folder_around_everything_is_ignored(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, {f"letters/v1/{name}": data for name, data in LETTERS.items()})
    assert [item.label for item in items_of(path)] == ["a", "a", "b"]


def test_one_class_alone_is_a_class(tmp_path: Path, write: Write) -> None:
    assert labelled(items_of(write(tmp_path, {"top/a/1.png": PNG}))) == [("top/a/1.png", "a", None)]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["Training", "Testing"], {"Training": "train", "Testing": "test"}),
        (["train", "val"], {"train": "train", "val": "test"}),
        (["train", "val", "test"], {"train": "train", "val": "train", "test": "test"}),
        (["train"], {"train": None}),
        (["training", "train"], {"training": None, "train": None}),
    ],
)
def test_splits(tmp_path: Path, folders: list[str], splits: dict[str, str | None]) -> None:
    for top in ("", "top/"):
        files = {f"{top}{split}/{c}/1.png": PNG for split in folders for c in "ab"}
        items = items_of(write_tree(tmp_path / f"set{len(top)}", files))
        assert {item.name.removeprefix(top).split("/")[0]: item.split for item in items} == splits
        assert [item.label for item in items] == ["a"] * len(folders) + ["b"] * len(folders)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    items = items_of(write_tree(tmp_path, {"train/1.png": PNG, "plane/1.png": PNG}))
    assert [(item.label, item.split) for item in items] == [("plane", None), ("train", None)]


def test_files_of_systems_are_skipped_and_others_are_named(tmp_path: Path, write: Write) -> None:
    ignored = [
        "__MACOSX/a/._1.png",
        ".DS_Store",
        "a/.DS_Store",
        "a/Thumbs.db",
        ".git/a/1.png",
        "a/._2.png",
        "desktop.ini",
    ]
    others = ["a/readme.txt", "labels.csv", "a/x.unknown", "b/z.json"]
    files = {**LETTERS, **dict.fromkeys(ignored, PNG), **dict.fromkeys(others, b"some text"), "loose.png": PNG}
    with open_source(write(tmp_path, files)) as source:
        assert labelled(list(source.items())) == PLAIN
        assert source.notes == (
            "4 files that are not pictures were skipped: a/readme.txt, a/x.unknown, b/z.json and 1 more",
            "1 pictures that are in no class folder were skipped: loose.png",
        )


def test_pictures_without_a_known_suffix_are_recognised(tmp_path: Path, write: Write) -> None:
    files = {
        "a/1": PNG,
        "b/2.PNG": PNG,
        "b/img.0001": encoded(stroke(), "JPEG"),
        "b/riff": b"RIFF\0\0\0\0WAVE" + b"x" * 40,
    }
    with open_source(write(tmp_path, files)) as source:
        assert [item.name for item in source.items()] == ["a/1", "b/2.PNG", "b/img.0001"]
        assert source.notes == ("1 files that are not pictures were skipped: b/riff",)


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {**LETTERS, "text/x.txt": b"x"})
    (tmp_path / "set" / "c").mkdir()
    archives = [shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "set") for kind in ("zip", "gztar")]
    for path in (tmp_path / "set", *map(Path, archives)):
        with open_source(path) as source:
            assert source.empty_classes == ("c", "text")
            assert "2 folders have no picture: c, text" in source.notes
            assert source.count == 3


def test_class_names_are_normalised_to_nfc(tmp_path: Path, write: Write) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    items = items_of(write(tmp_path, {f"{decomposed}/1.png": PNG, f"{composed}/2.png": PNG, "あ/1.png": PNG}))
    assert [item.label for item in items] == [composed, composed, "あ"]


def test_names_that_differ_in_case_are_two_classes(tmp_path: Path, write: Write) -> None:
    assert [item.label for item in items_of(write(tmp_path, {"a/1.png": PNG, "A/1.png": PNG}))] == ["A", "a"]


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", "a\u202eb"])
def test_class_names_with_control_characters_are_refused(tmp_path: Path, write: Write, name: str) -> None:
    with pytest.raises(InvalidImages, match="character that cannot be printed") as raised:
        items_of(write(tmp_path, {f"{name}/1.png": PNG, "b/1.png": PNG}))
    assert str(raised.value).isprintable()


def test_file_names_with_control_characters_are_escaped(tmp_path: Path, write: Write) -> None:
    assert items_of(write(tmp_path, {"a/\x1b.png": PNG, "b/1.png": PNG}))[0].name == "a/\\x1b.png"


def test_a_class_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    write_tree(tmp_path, {os.fsdecode(b"\xff/1.png"): PNG, "b/1.png": PNG})
    with pytest.raises(InvalidImages, match="cannot be printed"):
        items_of(tmp_path)


def test_long_class_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImages, match="class name of 101 characters, and at most 100"):
        items_of(write_tree(tmp_path, {f"{'x' * 101}/1.png": PNG}))


def test_pictures_deeper_than_a_class_folder_are_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InvalidImages, match=r"a folder within a class folder: writer/a/1.png"):
        items_of(write(tmp_path, {"writer/a/1.png": PNG, "b/1.png": PNG}))


def test_too_many_classes_are_refused(tmp_path: Path, write: Write) -> None:
    files = {f"{number}/1.png": PNG for number in range(101)}
    with pytest.raises(InvalidImages, match="more than 100 classes"):
        open_source(write(tmp_path, files))
    del files["100/1.png"]
    assert len(items_of(write(tmp_path / "less", files))) == 100


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(entries=3), "more than 3 files and folders"),
        (Limits(unpacked=100), "more than 100 bytes, unpacked"),
        (Limits(file=50), "a picture has at most 50"),
        (Limits(images=2), "more than 2 images"),
    ],
    ids=lambda value: "" if isinstance(value, Limits) else value,
)
def test_limits(tmp_path: Path, write: Write, limits: Limits, reason: str) -> None:
    with pytest.raises(InvalidImages, match=reason):
        items_of(write(tmp_path, {**LETTERS, "c/1.png": PNG}), limits)


def test_a_source_without_images_says_what_it_has(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InvalidImages, match=r"has no images; it has notes\.txt"):
        open_source(write(tmp_path, {"notes.txt": b"hello"}))
    with pytest.raises(InvalidImages, match="no class folders"):
        open_source(write(tmp_path / "flat", {"1.png": PNG}))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImages, match="has no images"):
        open_source(tmp_path)


def test_links_and_pipes_in_a_folder_are_named_and_not_followed(tmp_path: Path) -> None:
    outside = write_tree(tmp_path / "outside", {"secret.png": PNG})
    folder = write_tree(tmp_path / "set", LETTERS)
    (folder / "a" / "link.png").symlink_to(outside / "secret.png")
    (folder / "c").symlink_to(outside)
    os.mkfifo(folder / "b" / "pipe.png")
    with open_source(folder) as source:
        assert labelled(list(source.items())) == PLAIN
        assert source.notes == ("3 links or devices in set were skipped: a/link.png, b/pipe.png, c",)


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="there is no file"):
        open_source(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileUnreadable, match="not a regular file"):
        open_source(tmp_path / "pipe")


def test_a_picture_that_is_removed_while_it_is_imported(tmp_path: Path) -> None:
    with open_source(write_tree(tmp_path, LETTERS)) as source:
        items = source.items()
        next(items)
        (tmp_path / "a" / "2.png").unlink()
        with pytest.raises(FileMissing, match=r"2\.png"):
            next(items)


def test_items_are_decoded_pictures(tmp_path: Path, write: Write) -> None:
    assert all(np.array_equal(to_grey(item.content), stroke()) for item in items_of(write(tmp_path, LETTERS)))
