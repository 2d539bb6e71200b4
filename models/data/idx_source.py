"""Training data in IDX files, as MNIST (LeCun, Cortes, Burges): from the user's folder, the cache or public mirrors.

MNIST's files are identified by the checksum of their *unpacked* bytes, because every mirror compresses them
differently. Other sets have one publisher, and a known checksum only of what it publishes: gzip files, or an archive.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.atomic_files import write_durably
from models.bounded_reading import FileDamaged, FileFault, gunzip_bounded, printable, read_bounded
from models.data.catalog import DATASETS, DEFAULT, Archive, IdxFile, TrainingData
from models.data.downloads import DownloadFailed, download
from models.data.idx import read_idx
from models.data.idx_archive import is_archive, store_members, stored_members
from models.data.idx_search import LEVELS, Search, search_folder, unpacked_limit
from models.errors import NotFound
from models.file_locks import only_one

logger = logging.getLogger(__name__)

WAYS_OUT = (
    "Put the four IDX files (gzipped or not), or an .npz as Keras' mnist.npz, in a folder and name it in "
    "ACGAN_DATA_DIR, of this command too. A run on printed digits needs no files: `dataset: printed`."
)

ARCHIVE_SECONDS = 3600.0  # for 560 MB: at least 160 kB/s
LOCK, TEMPORARY = ".downloading", ".download-"  # in a cache folder


class DatasetUnavailable(NotFound, code="training-data-unavailable"):
    """The training data were not found. The message names the places that were searched and what to do."""


def load_idx(
    data: TrainingData,
    data_dir: Path | None,
    cache: Path,
    mirrors: Sequence[str],
    downloads: bool = True,
    check: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the four files of `data` and verify their checksums.

    If the user named a folder and it is not empty, only that folder is used: a folder with other training data is an
    error, not a reason to use the cache or a mirror. But a folder for MNIST, in which no file can be meant for `data`,
    counts as empty for data other than MNIST. `mirrors` replaces the addresses of `data`, if it has no archive. Without
    `downloads`, files that are neither in the folder nor in the cache are missing. During a download, and while another
    process downloads the files, `check` is called twice a second. It may end the wait by raising an error that is no
    OSError and no ValueError; no file is left then.

    Returns:
        uint8 train images (N, 28, 28), train labels (N,), test images (M, 28, 28), test labels (M,).

    Raises:
        DatasetUnavailable: the message names each place, the missing files and the files that are there.
        Exception: what `check` raises.
    """
    files = None if data_dir is None else _from_named_folder(data, data_dir)
    if files is None:
        place = "ACGAN_DATA_DIR (not set)" if data_dir is None else f"ACGAN_DATA_DIR={printable(data_dir)} (empty)"
        files = _from_cache_or_mirrors(data, place, cache, mirrors if downloads else (), downloads, check)
    train_images, train_labels, test_images, test_labels = (
        _read(name, file, files.pop(name)) for name, file in data.files.items()
    )
    train_labels, test_labels = _from_zero(data, train_labels), _from_zero(data, test_labels)
    if data.transposed:
        train_images, test_images = (
            np.ascontiguousarray(images.transpose(0, 2, 1)) for images in (train_images, test_images)
        )
    return train_images, train_labels, test_images, test_labels


def _read(name: str, file: IdxFile, plain: bytes) -> np.ndarray:
    array = read_idx(plain)
    if array.shape != file.shape:
        raise DatasetUnavailable(f"{name} has the shape {array.shape} instead of {file.shape}: these are other data")
    return array


def _from_zero(data: TrainingData, labels: np.ndarray) -> np.ndarray:
    """Return labels that count from 0. Raises DatasetUnavailable if a label is not one of the classes."""
    first, last = data.first_label, data.first_label + len(data.classes) - 1
    if labels.min() != first or labels.max() != last:
        raise DatasetUnavailable(
            f"the labels of {data.title} are {labels.min()} to {labels.max()} instead of {first} to {last}: these are "
            f"other data under the same file names. {_ways_out(data)}"
        )
    return labels - np.uint8(first) if first else labels


def _ways_out(data: TrainingData) -> str:
    if data.archive is not None:
        file = f"{data.archive.address.rpartition('/')[2]}, or its four files {next(iter(data.files))}.gz and so on,"
    elif any(file.packed_sha256 for file in data.files.values()):
        file = f"the four files as published, {next(iter(data.files))}.gz and so on, without unpacking them,"
    else:
        return WAYS_OUT
    return (
        f"Put {file} in a folder and name it in ACGAN_DATA_DIR, of this command too. A run on printed digits needs no "
        "files: `dataset: printed`."
    )


def _from_named_folder(data: TrainingData, folder: Path) -> dict[str, bytes] | None:
    """Return the four files; None if the folder is empty, as Docker Compose mounts it. Raises DatasetUnavailable."""
    place, ways_out = f"ACGAN_DATA_DIR={printable(folder)}", _ways_out(data)
    try:
        search = search_folder(folder, data.files, data.archive)
    except FileNotFoundError:
        raise DatasetUnavailable(f"{place}: there is no such folder. {ways_out}") from None
    except NotADirectoryError:
        raise DatasetUnavailable(f"{place} is a file: name its folder. {ways_out}") from None
    except OSError as error:
        raise DatasetUnavailable(f"{place} cannot be read: {error.strerror}. {ways_out}") from error
    if len(search.found) == len(data.files):
        if search.unverified:
            logger.warning(
                "%s: no checksums of single files of %s are published; their names, shapes and labels are right: %s",
                place,
                data.title,
                ", ".join(sorted(search.unverified)),
            )
        return search.found
    if data is not DATASETS[DEFAULT] and not search.found and not search.unknown and not search.is_empty:
        logger.info("%s holds no file of %s, which comes from the cache or a mirror", place, data.title)
        return None
    if search.is_empty:
        logger.info("%s is empty: %s comes from the cache or a mirror", place, data.title)
        return None
    there = [*sorted(search.found), *([search.describe()] if search.others else [])]
    raise DatasetUnavailable(
        f"{place} does not hold {data.title}. Missing: {_missing(data, search.found)}; searched by content, under any "
        f"name, packed or not, in this folder and up to {LEVELS} levels below. It holds: {', '.join(there)}. {ways_out}"
    )


def _missing(data: TrainingData, found: Collection[str]) -> str:
    return ", ".join(name for name in data.files if name not in found)


def _from_cache_or_mirrors(
    data: TrainingData,
    place: str,
    cache: Path,
    mirrors: Sequence[str],
    downloads: bool,
    check: Callable[[], None],
) -> dict[str, bytes]:
    """Return the four files, each from the cache, or downloaded to it.

    Raises DatasetUnavailable, and what `check` raises.
    """
    if data.archive is not None:
        return _from_cached_archive(data, data.archive, place, cache, downloads, check)
    files, reason = _from_cache(data, cache)
    if len(files) == len(data.files):
        return files
    missing = _missing(data, files)
    try:
        if not mirrors:
            raise DownloadFailed("there are none")
        with _only_download(data, cache, check):
            files, reason = _from_cache(data, cache)
            for name, file in data.files.items():
                if name not in files:
                    missing = name
                    files[name] = _from_mirrors(cache, name, file, mirrors, check)
    except OSError as error:
        raise DatasetUnavailable(
            f"{data.title} was not found: {missing} was looked for in {place}; "
            f"in the cache {printable(cache)} ({reason}); "
            f"in the public mirrors ({printable(', '.join(mirrors))}: {_first_line(error)}). {_ways_out(data)}"
        ) from error
    return files


def _from_cache(data: TrainingData, cache: Path) -> tuple[dict[str, bytes], str]:
    """Return the files that are in the cache, and why others are not."""
    reason, search = "the files are not there", Search()
    try:
        if cache.is_dir():
            search = search_folder(cache, data.files)
            reason = search.describe() or reason
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    return search.found, reason


@contextmanager
def _only_download(data: TrainingData, cache: Path, check: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time download to a cache, and delete what a killed one left.

    Another process waits, and then finds the files in the cache. Raises OSError, and what `check` raises.
    """

    def on_wait() -> None:
        logger.info("another process downloads %s to %s: waiting for it", data.title, printable(cache))

    with only_one(_made(cache) / LOCK, ARCHIVE_SECONDS, on_wait, check) as is_locked:
        for leftover in cache.glob(f"{TEMPORARY}*") if is_locked else ():
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _from_mirrors(cache: Path, name: str, file: IdxFile, mirrors: Sequence[str], check: Callable[[], None]) -> bytes:
    """Download a file and cache it in the form that has a known checksum, to verify it later.

    Raises OSError, and what `check` raises.
    """
    errors, limit = [], unpacked_limit({name: file})
    for mirror in mirrors:
        try:
            with tempfile.TemporaryDirectory(dir=_made(cache), prefix=TEMPORARY) as folder:
                path = Path(folder) / "download"
                address, is_decoded = f"{mirror.rstrip('/')}/{name}.gz", file.packed_sha256 is None
                download(address, path, limit, is_decoded=is_decoded, check=check)
                search = search_folder(Path(folder), {name: file})
                if name in search.found and file.sha256 is None:
                    write_durably(cache / f"{name}.gz", read_bounded(path, limit))
        except (OSError, ValueError) as error:
            is_sentence = isinstance(error, FileFault | DownloadFailed | TimeoutError)
            errors.append(_first_line(error) if is_sentence else type(error).__name__)
            continue
        if name in search.found:
            if file.sha256 is not None:
                write_durably(cache / name, search.found[name])
            return search.found[name]
        errors.append(search.describe())
    raise OSError("; ".join(errors) or "there are none")


def _from_cached_archive(
    data: TrainingData, archive: Archive, place: str, cache: Path, downloads: bool, check: Callable[[], None]
) -> dict[str, bytes]:
    """Return the four files of an archive from the cache, or download the archive.

    Raises DatasetUnavailable, and what `check` raises.
    """
    members = stored_members(data.files, cache)
    try:
        if len(members) < len(data.files):
            if not downloads:
                raise DownloadFailed("it is not downloaded")
            with _only_download(data, cache, check):
                members = stored_members(data.files, cache)
                if len(members) < len(data.files):
                    _download_archive(archive, cache, check)
                    members = stored_members(data.files, cache)
        limit = unpacked_limit(data.files)
        return {name: gunzip_bounded(members[name], limit, name) for name in data.files}
    except (OSError, ValueError) as error:
        is_sentence = isinstance(error, FileFault | DownloadFailed | TimeoutError)
        reason = _first_line(error) if is_sentence else type(error).__name__
        raise DatasetUnavailable(
            f"{data.title} was not found: it was looked for in {place}; in the cache {printable(cache)}; in the "
            f"published archive ({archive.address}: {reason}). {_ways_out(data)}"
        ) from error


def _download_archive(archive: Archive, cache: Path, check: Callable[[], None]) -> None:
    """Download the archive and keep the files of all sets that come from it.

    Raises OSError, and what `check` raises.
    """
    names = [name for data in DATASETS.values() if data.archive == archive for name in data.files]
    with tempfile.TemporaryDirectory(dir=_made(cache), prefix=TEMPORARY) as folder:
        path = Path(folder) / "download"
        logger.info("downloading %s, %d MB, once", archive.address, archive.size // 1_000_000)
        download(archive.address, path, archive.size, ARCHIVE_SECONDS, is_decoded=False, check=check)
        if not is_archive(path, archive):
            raise FileDamaged(f"{archive.address} is not the file that was published: another size or checksum")
        store_members(path, names, cache)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0][:200])
