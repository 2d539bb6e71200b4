"""Untrusted files: each read has a limit, and each failure a class and a sentence that names the file."""

import gzip
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from safetensors.torch import save

from models.bounded_reading import (
    FileDamaged,
    FileMissing,
    FileNotUnderstood,
    FileTooLarge,
    FileTorn,
    FileUnreadable,
    foreign_kind,
    gunzip_bounded,
    parse_json,
    parse_record,
    read_bounded,
)
from models.networks.safetensors_header import HEADER_LIMIT, read_header

GOOD = save({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, metadata={"format": "pt"})


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(FileTooLarge, match=r"file has 5 bytes, and such a file has at most 4"):
        read_bounded(tmp_path / "file", 4)


def test_a_sparse_file_of_six_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(6 << 30)
    tracemalloc.start()
    with pytest.raises(FileTooLarge, match="sparse has 6,442,450,944 bytes"):
        read_bounded(tmp_path / "sparse", 1 << 26)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda path: None, FileMissing, "there is no file"),
        (lambda path: path.mkdir(), FileUnreadable, "is a folder"),
        (os.mkfifo, FileUnreadable, "a pipe, a socket or a device"),
        (lambda path: path.symlink_to("/dev/zero"), FileUnreadable, "a pipe, a socket or a device"),
        (lambda path: path.symlink_to(path), FileUnreadable, "cannot be read"),
    ],
)
def test_a_path_that_is_not_a_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], error: type[Exception], words: str
) -> None:
    make(tmp_path / "x\x1b[31m")
    with pytest.raises(error, match=words) as caught:
        read_bounded(tmp_path / "x\x1b[31m", 10)
    assert "x\\x1b[31m" in str(caught.value)
    assert isinstance(caught.value, OSError)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(0, 900))
def test_gunzip_unpacks_every_member_or_refuses_by_the_limit(members: list[bytes], limit: int) -> None:
    packed, content = b"".join(map(gzip.compress, members)) + bytes(3), b"".join(members)
    if len(content) <= limit:
        assert gunzip_bounded(packed, limit, "x.gz") == content
    else:
        with pytest.raises(FileTooLarge, match=r"x\.gz unpacks to more than"):
            gunzip_bounded(packed, limit, "x.gz")


def test_a_gzip_bomb_takes_no_more_memory_than_its_limit() -> None:
    bomb = gzip.compress(bytes(1 << 28), 9)
    assert len(bomb) < 300_000
    tracemalloc.start()
    with pytest.raises(FileTooLarge):
        gunzip_bounded(bomb, 1 << 20, "bomb.gz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.timeout(20)
def test_a_million_members_are_unpacked_in_linear_time() -> None:
    assert gunzip_bounded(gzip.compress(b"a") * 200_000, 1 << 20, "x.gz") == b"a" * 200_000


@pytest.mark.parametrize("packed", [gzip.compress(b"digits" * 99)[:-3], gzip.compress(b"digits")[:4] + b"\xff" * 30])
def test_torn_gzip_is_distinguished_from_other_files(packed: bytes) -> None:
    with pytest.raises(FileTorn, match=r"x\.gz"):
        gunzip_bounded(packed, 1000, "x.gz")
    with pytest.raises(FileNotUnderstood, match=r"x\.gz is not a gzip file"):
        gunzip_bounded(b"<html>", 1000, "x.gz")
    with pytest.raises(FileNotUnderstood, match="something follows"):
        gunzip_bounded(gzip.compress(b"a") + b"rest", 1000, "x.gz")


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b""])
def test_invalid_json_counts_as_torn(data: bytes) -> None:
    with pytest.raises(FileTorn, match=r"x\.json is not JSON"):
        parse_json(data, 1 << 20, "x.json")
    with pytest.raises(FileTooLarge):
        parse_json(b"[1, 2, 3]", 4, "x.json")
    assert parse_json(b"[1, 2, 3]", 9, "x.json") == [1, 2, 3]


class Version1(BaseModel):
    recipe: Literal["seed", "sharp"]


def test_a_record_that_is_torn_is_distinguished_from_one_of_a_newer_version() -> None:
    assert parse_record(Version1, b'{"recipe": "seed", "more": 1}', 100, "x.json").recipe == "seed"
    with pytest.raises(FileNotUnderstood, match=r"x\.json is not understood: recipe: Input should be"):
        parse_record(Version1, b'{"recipe": "newer"}', 100, "x.json")
    with pytest.raises(FileTorn, match=r"x\.json is not JSON"):
        parse_record(Version1, b'{"recipe": "ne', 100, "x.json")
    with pytest.raises(FileTooLarge):
        parse_record(Version1, b'{"recipe": "seed"}', 10, "x.json")


def header(**tensors: object) -> bytes:
    data = json.dumps(tensors).encode()
    return struct.pack("<Q", len(data)) + data


def f32(shape: list[object], *offsets: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": offsets}


def test_a_header_describes_the_content_of_a_file() -> None:
    read = read_header(GOOD, "x")
    assert read.metadata == {"format": "pt"}
    assert {name: (entry.dtype, entry.shape) for name, entry in read.tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("I64", (4,)),
    }


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (GOOD[:-1], FileTorn),
        (GOOD[:20], FileTorn),
        (GOOD + b"x", FileDamaged),
        (struct.pack("<Q", 58_000_000_000) + b"{", FileTooLarge),
        (struct.pack("<Q", HEADER_LIMIT + 1) + b"{" + b" " * HEADER_LIMIT, FileTooLarge),
        (struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995, FileTorn),
        (header(a=f32([10**9], 0, 4)) + bytes(4), FileDamaged),
        (header(a=f32([2**62, 2**62], 0, 4)) + bytes(4), FileDamaged),
        (header(a=f32([-1], 0, -4)), FileNotUnderstood),
        (header(a=f32([True], 0, 4)) + bytes(4), FileNotUnderstood),
        (header(a=f32(["1"], 0, 4)) + bytes(4), FileNotUnderstood),
        (header(a=f32([1] * 33, 0, 4)) + bytes(4), FileNotUnderstood),
        (header(a=f32([1], 0, 4), b=f32([1], 0, 4)) + bytes(4), FileDamaged),
        (header(a=f32([1], 4, 8)) + bytes(8), FileDamaged),
        (header(a=f32([1], 0, 4), b=f32([1], 8, 12)) + bytes(12), FileDamaged),
        (header(a=[1]) + bytes(4), FileNotUnderstood),
        (header(a={"dtype": "pickle", "shape": [1], "data_offsets": [0, 4]}) + bytes(4), FileNotUnderstood),
        (header(__metadata__={"a": 1}), FileNotUnderstood),
        (header(**{f"t{i}": f32([0], 0, 0) for i in range(5000)}), FileNotUnderstood),
    ],
)
def test_a_header_that_describes_more_than_the_file_holds_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"weights\.safetensors"):
        read_header(data, "weights.safetensors")


def pickled(protocol: int) -> bytes:
    return pickle.dumps({"dense.weight": [1.0]}, protocol=protocol)


def archive(path: Path, member: str) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, b"content")
    return path.read_bytes()


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 10624520\n"
    kinds = {
        "a git-lfs pointer: git lfs pull": [pointer],
        "a pickle": [pickled(2), pickled(4), archive(tmp_path / "x.pt", "archive/data.pkl")],
        "a zip archive": [archive(tmp_path / "x.keras", "config.json")],
        "an HDF5 file": [b"\x89HDF\r\n\x1a\n"],
        "a gzip archive": [gzip.compress(b"weights")],
        "a web page": [b"<!DOCTYPE html>", b"\n<HTML>"],
        "a file of zeros": [bytes(100)],
        "an empty file": [b""],
    }
    for words, files in kinds.items():
        for data in files:
            assert words in str(foreign_kind(data))
            with pytest.raises(FileNotUnderstood, match=words):
                read_header(data, "x.safetensors")
    assert foreign_kind(GOOD) is None


def test_a_header_whose_length_looks_like_a_pickle_is_read() -> None:
    text = json.dumps({"a": f32([0], 0, 0)}).encode().ljust(0x480)
    data = struct.pack("<Q", len(text)) + text
    assert data.startswith(b"\x80\x04")
    assert read_header(data, "x").tensors["a"].shape == (0,)
