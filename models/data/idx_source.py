"""Training data in IDX files, as MNIST (LeCun, Cortes, Burges): from the user's folder, the cache or public mirrors.

Files are identified by the checksum of their *unpacked* bytes, because every mirror compresses them differently.
"""

import logging
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from models.atomic_files import write_durably
from models.bounded_reading import FileFault, printable
from models.data.catalog import IdxFile, TrainingData
from models.data.downloads import DownloadFailed, download
from models.data.idx import read_idx
from models.data.idx_search import LEVELS, UNPACKED_LIMIT, Search, search_folder
from models.errors import NotFound

logger = logging.getLogger(__name__)

WAYS_OUT = (
    "Put the four IDX files (gzipped or not), or an .npz as Keras' mnist.npz, in a folder and name it in "
    "ACGAN_DATA_DIR, or train on printed digits, which need no files: `dataset: printed`."
)


class DatasetUnavailable(NotFound, code="training-data-unavailable"):
    """The training data were not found. The message names the places that were searched and what to do."""


def load_idx(
    data: TrainingData, data_dir: Path | None, cache: Path, mirrors: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the four files of `data` and verify their checksums.

    If the user named a folder and it is not empty, only that folder is used: a folder with other training data is an
    error, not a reason to use the cache or a mirror.

    Returns:
        uint8 train images (N, 28, 28), train labels (N,), test images (M, 28, 28), test labels (M,).

    Raises:
        DatasetUnavailable: the message names each place, the missing files and the files that are there.
    """
    files = None if data_dir is None else _from_named_folder(data, data_dir)
    if files is None:
        place = "ACGAN_DATA_DIR (not set)" if data_dir is None else f"ACGAN_DATA_DIR={printable(data_dir)} (empty)"
        files = _from_cache_or_mirrors(data, place, cache, mirrors)
    train_images, train_labels, test_images, test_labels = (read_idx(files[name]) for name in data.files)
    return train_images, train_labels, test_images, test_labels


def _from_named_folder(data: TrainingData, folder: Path) -> dict[str, bytes] | None:
    """Return the four files; None if the folder is empty, as Docker Compose mounts it. Raises DatasetUnavailable."""
    place = f"ACGAN_DATA_DIR={printable(folder)}"
    try:
        search = search_folder(folder, data.files)
    except FileNotFoundError:
        raise DatasetUnavailable(f"{place}: there is no such folder. {WAYS_OUT}") from None
    except NotADirectoryError:
        raise DatasetUnavailable(f"{place} is a file: name its folder. {WAYS_OUT}") from None
    except OSError as error:
        raise DatasetUnavailable(f"{place} cannot be read: {error.strerror}. {WAYS_OUT}") from error
    if len(search.found) == len(data.files):
        return search.found
    if search.is_empty:
        logger.info("%s is empty: %s comes from the cache or a mirror", place, data.title)
        return None
    there = [*sorted(search.found), *([search.describe()] if search.others else [])]
    raise DatasetUnavailable(
        f"{place} does not hold {data.title}. Missing: {_missing(data, search.found)}; searched by content, under any "
        f"name, packed or not, in this folder and up to {LEVELS} levels below. It holds: {', '.join(there)}. {WAYS_OUT}"
    )


def _missing(data: TrainingData, found: Collection[str]) -> str:
    return ", ".join(name for name in data.files if name not in found)


def _from_cache_or_mirrors(data: TrainingData, place: str, cache: Path, mirrors: Sequence[str]) -> dict[str, bytes]:
    """Return the four files, each from the cache, or downloaded to it. Raises DatasetUnavailable."""
    reason = "the files are not there"
    search = Search()
    try:
        if cache.is_dir():
            search = search_folder(cache, data.files)
            reason = search.describe() or reason
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    files = search.found
    for name, file in data.files.items():
        if name not in files:
            try:
                files[name] = _from_mirrors(cache, name, file, mirrors)
            except OSError as error:
                raise DatasetUnavailable(
                    f"{data.title} was not found: {name} was looked for in {place}; "
                    f"in the cache {printable(cache)} ({reason}); "
                    f"in the public mirrors ({printable(', '.join(mirrors))}: {_first_line(error)}). {WAYS_OUT}"
                ) from error
    return files


def _from_mirrors(cache: Path, name: str, file: IdxFile, mirrors: Sequence[str]) -> bytes:
    """Download a file and cache it unpacked, so that its checksum can be verified later. Raises OSError."""
    errors = []
    for mirror in mirrors:
        try:
            with tempfile.TemporaryDirectory(dir=_made(cache), prefix=".download-") as folder:
                download(f"{mirror.rstrip('/')}/{name}.gz", Path(folder) / "download", UNPACKED_LIMIT)
                search = search_folder(Path(folder), {name: file})
        except (OSError, ValueError) as error:
            is_sentence = isinstance(error, FileFault | DownloadFailed)
            errors.append(_first_line(error) if is_sentence else type(error).__name__)
            continue
        if name in search.found:
            write_durably(cache / name, search.found[name])
            return search.found[name]
        errors.append(search.describe())
    raise OSError("; ".join(errors) or "there are none")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0][:200])
