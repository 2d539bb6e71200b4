"""Pictures, folders and archives for the tests of readers."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.data.importing.items import LIMITS, Item, Limits
from models.data.importing.opening import open_source


def stroke(height: int = 40, width: int = 40) -> np.ndarray:
    """A bright vertical stroke on black, (H, W) uint8."""
    grey = np.zeros((height, width), np.uint8)
    grey[height // 4 : -(height // 4), width // 2 - 2 : width // 2 + 2] = 255
    return grey


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PNG = encoded(stroke())
LETTERS = {"a/1.png": PNG, "a/2.png": PNG, "b/1.png": PNG}


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            add_to_tar(archive, tarfile.TarInfo(name), data)
    return path


def add_to_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, data: bytes = b"") -> None:
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def items_of(path: Path, limits: Limits = LIMITS, labels: Path | None = None) -> list[Item]:
    with open_source(path, limits, labels) as source:
        return list(source.items())


def labelled(items: list[Item]) -> list[tuple[str, str, str | None]]:
    return [(item.name, item.label, item.split) for item in items]
