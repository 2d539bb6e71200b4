"""Drawn digits as files, images and arrays."""

import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from acgan_client import Client, Drawn, Misconfigured, NotUnderstood, Picture
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.models.registry.test_store import NEW
from tests.support.serving import serving


@pytest.fixture
def service(settings: AppSettings, store: CheckpointStore) -> Iterator[Client]:
    with serving(settings) as address, Client(address) as client:
        yield client


def test_digits_are_shown_saved_and_read(service: Client, tmp_path: Path) -> None:
    drawn = service.digits(7, n=4, seed=3)
    assert repr(drawn) == (
        f"<Drawn: image/png, {len(drawn.file):,} bytes, checkpoint={drawn.checkpoint!r}, seed=3, index=0>"
    )
    assert drawn.image().size == (112, 28)
    assert drawn._repr_png_() == drawn.save(tmp_path / "sevens.png").read_bytes() == drawn.file
    digits = service.pixels(7, n=4, seed=3)
    assert (np.hstack(list(digits)) == drawn.array()).all()
    assert (service.digits(7, n=4, seed=3, format="npy").array() == digits).all()


def test_pictures_of_every_kind_are_read(service: Client) -> None:
    assert service.morph(3, 8, format="gif", seed=1).image().format == "GIF"
    assert service.morph(3, 8, format="webp", seed=1, scale=2).array().shape == (56, 56)
    assert service.numbers("0314", seed=4, padding=0).array().dtype == np.uint8
    plot = service.samples(NEW, 1)
    assert (type(plot), plot.image().format) == (Picture, "PNG")


def test_files_that_are_no_pictures_can_only_be_saved(service: Client) -> None:
    archive = service.digits(7, n=2, format="zip")
    assert (archive._repr_png_(), archive.file[:2]) == (None, b"PK")
    with pytest.raises(ValueError, match="application/zip is no picture"):
        archive.image()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))


@pytest.mark.parametrize("file", [b"", b"GIF89a", BOMB, BOMB[:-3], BOMB.replace(b"\0\0\xea\x60", b"\0\0\x26\xea")])
def test_a_damaged_or_enormous_picture_raises_one_error(file: bytes) -> None:
    with pytest.raises(NotUnderstood):
        Picture(file, "image/png").image()
    with pytest.raises(NotUnderstood):
        Drawn(file, "application/x-npy", "a", 1, 0).array()


@pytest.mark.parametrize(("name", "package"), [("PIL", "pillow"), ("numpy", "numpy")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    picture = Picture(b"", "image/png")
    with pytest.raises(Misconfigured, match=f"needs {package}: pip install"):
        picture.image() if name == "PIL" else picture.array()
