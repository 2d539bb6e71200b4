"""MNIST (LeCun, Cortes, Burges): the user's folder, the cache, the public mirrors, in this order.

What identifies its files is the checksum of the *unpacked* bytes, since every mirror packs them differently.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from models.config import MIRRORS
from models.files import write_durably

SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DatasetUnavailable(Exception):
    """The data set cannot be had. The message says where it was looked for and what to do."""


# ----------------------------------------------------------------------------
# IDX, the format of the MNIST files: magic 0x00 0x00 0x08 ndim, ndim big-endian sizes, then bytes.


def read_idx(data: bytes) -> np.ndarray:
    """Parse an IDX file of unsigned bytes, of one or three dimensions. Raises ValueError where it is not one."""
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] not in (1, 3):
        raise ValueError("not an IDX file of unsigned bytes")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]
    body = np.frombuffer(bytearray(data), dtype=np.uint8)[header:]
    if len(data) < header or body.size != math.prod(shape):
        raise ValueError(f"an IDX file of shape {tuple(shape)} cannot have {len(data)} bytes")
    return body.reshape(shape)


# ----------------------------------------------------------------------------
# Finding the four files.


def load_mnist(
    data_dir: Path | None, cache: Path, mirrors: Sequence[str] = MIRRORS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find MNIST and check every byte of it.

    Returns:
        uint8 train images (60000, 28, 28), train labels (60000,), test images (10000, 28, 28), test labels (10000,).

    Raises:
        DatasetUnavailable: naming each place that was tried.
    """
    train_images, train_labels, test_images, test_labels = (
        read_idx(_find(name, data_dir, cache, mirrors)) for name in SHA256
    )
    return train_images, train_labels, test_images, test_labels


def _find(name: str, data_dir: Path | None, cache: Path, mirrors: Sequence[str]) -> bytes:
    """Return the unpacked bytes of one file from the first place that has them intact."""
    places: list[tuple[str, Callable[[], Iterator[bytes]]]] = [
        (f"the cache {cache}", lambda: _from_folder(cache, name)),
        (f"the public mirrors ({', '.join(mirrors)})", lambda: _from_mirrors(cache, name, mirrors)),
    ]
    if data_dir is None:
        tried = ["ACGAN_DATA_DIR (not set)"]
    else:
        tried = []
        places.insert(0, (f"ACGAN_DATA_DIR={data_dir}", lambda: _from_folder(data_dir, name)))

    for place, candidates in places:
        reason = "the files are not there"
        try:
            for data in candidates():
                if hashlib.sha256(data).hexdigest() == SHA256[name]:
                    return data
                reason = "there, but its checksum is wrong"
        except (OSError, EOFError, ValueError, zlib.error) as error:
            reason = _first_line(error)
        tried.append(f"{place} ({reason})")

    raise DatasetUnavailable(
        f"MNIST cannot be had: {name} was looked for in {'; in '.join(tried)}. "
        "Put the four IDX files (gzipped or not) in a folder and name it in ACGAN_DATA_DIR, "
        'or train on printed digits, which need no files: "dataset": "printed", or --dataset printed.'
    )


def _from_folder(folder: Path, name: str) -> Iterator[bytes]:
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError("not a folder")
    if (plain := folder / name).is_file():
        yield plain.read_bytes()
    if (packed := folder / f"{name}.gz").is_file():
        yield gzip.decompress(packed.read_bytes())


def _from_mirrors(cache: Path, name: str, mirrors: Sequence[str]) -> Iterator[bytes]:
    """Download into the cache, unpacked, so that the checksum of what lies there can be checked again."""
    import pooch  # here, since only a download needs it

    pooch.get_logger().setLevel("WARNING")
    errors = []
    for mirror in mirrors:
        try:
            fetched = pooch.retrieve(
                f"{mirror.rstrip('/')}/{name}.gz",
                known_hash=None,  # of the packed file, which differs between mirrors
                path=cache / "downloads",
                downloader=pooch.HTTPDownloader(timeout=10),
            )
            packed = Path(fetched).read_bytes()
            Path(fetched).unlink()  # whatever it is: a cached error page would be taken for the file for ever
            data = gzip.decompress(packed)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            errors.append(type(error).__name__)  # their texts are nests of exceptions
            continue
        if hashlib.sha256(data).hexdigest() == SHA256[name]:
            write_durably(cache / name, data)
        yield data
    if errors:
        raise OSError("; ".join(errors))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
