"""Training data that is published as one large zip archive: it is downloaded once, and only wanted members are kept.

The members keep their gzip form in the cache, because they are several times smaller. Only the archive has a published
checksum, so the cache also records SHA-256 of each member, and a member that changes later is downloaded again.
"""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from models.atomic_files import write_durably
from models.bounded_reading import FileDamaged, FileFault, FileTooLarge, FileTorn, file_size, printable, read_bounded
from models.data.catalog import Archive

logger = logging.getLogger(__name__)

SUMS, SUMS_LIMIT = "SHA256SUMS", 1 << 16  # as `sha256sum` writes it; bytes
MEMBER_LIMIT = 200_000_000  # bytes of a packed member; the largest wanted one has some 50 million


def is_archive(path: Path, archive: Archive) -> bool:
    """Whether a file is the archive as published. Reads it only if its size is right. Raises FileFault."""
    return file_size(path) == archive.size and sha256_of(path) == archive.sha256


def sha256_of(path: Path) -> str:
    """Return SHA-256 of a file, which is read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def zip_faults(path: Path) -> Iterator[None]:
    """Raises FileTorn instead of the errors of `zipfile` for a damaged archive."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FileTorn(f"{printable(path)} is a damaged archive: {printable(error)}") from error


def read_members(path: Path, names: Iterable[str], limit: int = MEMBER_LIMIT) -> dict[str, bytes]:
    """Read the gzip files of these names, from any folder of a verified archive. Raises FileFault if one is missing."""
    try:
        with zip_faults(path), zipfile.ZipFile(path) as archive:
            members = {info.filename.rpartition("/")[2]: info for info in archive.infolist()}
            data = {}
            for name in names:
                info = members[f"{name}.gz"]
                if info.file_size > limit:
                    raise FileTooLarge(f"{name}.gz in {printable(path)} has more than {limit:,} bytes")
                data[name] = archive.read(info)
    except KeyError as error:
        raise FileDamaged(f"{printable(path)} has no member {error}") from None
    return data


def store_members(archive: Path, names: Iterable[str], cache: Path) -> None:
    """Copy members to the cache, then record SHA-256 of each. Raises OSError."""
    sums = dict[str, str]()
    for name in names:
        (data,) = read_members(archive, [name]).values()
        write_durably(cache / f"{name}.gz", data)
        sums[f"{name}.gz"] = hashlib.sha256(data).hexdigest()
    write_durably(cache / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())


def stored_members(names: Iterable[str], cache: Path) -> dict[str, bytes]:
    """Read members from the cache. Those that are missing, damaged or not recorded are left out."""
    sums, found = _sums(cache), dict[str, bytes]()
    for name in names:
        try:
            data = read_bounded(cache / f"{name}.gz", MEMBER_LIMIT) if f"{name}.gz" in sums else b""
        except FileFault as error:
            logger.warning("%s", error)
            continue
        if data and hashlib.sha256(data).hexdigest() == sums[f"{name}.gz"]:
            found[name] = data
        elif data:
            logger.warning("%s was changed after it was stored: it is not used", printable(cache / f"{name}.gz"))
    return found


def _sums(cache: Path) -> Mapping[str, str]:
    try:
        lines = read_bounded(cache / SUMS, SUMS_LIMIT).decode(errors="replace").splitlines()
    except FileFault:
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
