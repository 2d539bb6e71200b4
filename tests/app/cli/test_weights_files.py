"""A CHECKPOINT argument that is a file is recognized by its content, or refused with a sentence that names it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.local.drawing import NoGenerator, load_with_manifest
from app.cli.local.export import find_discriminator
from app.settings import AppSettings
from models.bounded_reading import FileFault
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import InvalidWeights, to_bytes
from tests.app.cli.test_cli import acgan

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 10624520\n"


@pytest.mark.parametrize("name", ["g.safetensors", "g.bin", "g", "folder.pt/g"])
def test_weights_are_recognized_by_their_content(
    name: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(to_bytes(Generator(7)))
    generator, manifest = load_with_manifest(AppSettings(redis_url=redis_url), name)
    assert (generator.latent_size, manifest) == (7, None)


def test_latest_means_the_store_even_beside_a_file_of_that_name(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latest").mkdir()
    with pytest.raises(NoGenerator, match="no checkpoint has been published"):
        load_with_manifest(AppSettings(redis_url=redis_url), "latest")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("p.safetensors", lambda path: path.write_bytes(POINTER), "a git-lfs pointer: git lfs pull"),
        ("p.pt", lambda path: path.write_bytes(b"\x80\x02}q\x00."), "a pickle (PyTorch's .pt)"),
        ("p.safetensors", lambda path: path.write_bytes(b"\x80\x02}q\x00."), "a pickle (PyTorch's .pt)"),
        ("p.hdf5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file"),
        ("p.safetensors", lambda path: path.write_bytes(to_bytes(Generator(7))[:999]), "ends early"),
        ("p.safetensors", lambda path: path.mkdir(), "is a folder"),
        ("p.safetensors", os.mkfifo, "a pipe, a socket or a device"),
        ("p.safetensors", lambda path: os.truncate(path, path.write_bytes(b"") + (6 << 30)), "6,442,450,944 bytes"),
        ("p.safetensors", lambda path: None, "there is no file"),
    ],
)
def test_a_file_without_weights_is_named_with_what_it_is(
    name: str, make: Callable[[Path], object], words: str, tmp_path: Path, redis_url: str
) -> None:
    path = tmp_path / name
    make(path)
    for find in (load_with_manifest, find_discriminator):
        with pytest.raises((InvalidWeights, FileFault), match=re.escape(words)) as caught:
            find(AppSettings(redis_url=redis_url), str(path))
        assert str(path) in str(caught.value)


def test_the_command_exits_with_the_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(POINTER)
    refused = acgan("digits", "7", "--checkpoint", str(path))
    assert (refused.returncode, "git lfs pull" in refused.stderr, str(path) in refused.stderr) == (2, True, True)
    path.write_bytes(to_bytes(Discriminator()))
    refused = acgan("digits", "7", "--checkpoint", str(path))
    assert (refused.returncode, "p.safetensors holds no generator" in refused.stderr) == (2, True)
