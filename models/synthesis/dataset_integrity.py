"""Checks that the files of a generated data set match its manifest. Free of torch."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from models.bounded_reading import FileInvalid, FileMissing, FileNotUnderstood, file_size
from models.registry.storage.base import Folder
from models.registry.storage.reading import read_record
from models.registry.store import DATASET, CheckpointStore
from models.synthesis.order import MANIFEST, DatasetManifest, read_manifest

PIECE = 1 << 24  # bytes that are read at once


def find_damage(manifest: DatasetManifest, sizes: dict[str, int], read: Callable[[str, int, int], bytes]) -> str | None:
    """Compare sizes, then checksums, with the manifest. Returns the first difference; None if there is none.

    `sizes` maps file names to bytes; `read` gets a name, the first byte and the byte after the last one. Raises
    OSError.
    """
    for name, file in manifest.files.items():
        if sizes.get(name) != file.size:
            return f"{name} is missing" if name not in sizes else f"the size of {name} differs"
    for name, file in manifest.files.items():
        checksum = hashlib.sha256()
        for start in range(0, file.size, PIECE):
            checksum.update(read(name, start, min(start + PIECE, file.size)))
        if checksum.hexdigest() != file.sha256:
            return f"the checksum of {name} differs"
    return None


def damage_in_store(store: CheckpointStore, job: str) -> str | None:
    """Verify a published data set. Returns a description of the damage; None if the data set is intact.

    Raises FileNotUnderstood if another version wrote its manifest, and other OSErrors.
    """
    folder = Folder(job, DATASET)
    try:
        manifest = read_record(store.storage, f"{folder}/{MANIFEST}", DatasetManifest)
    except FileNotUnderstood:
        raise
    except (FileMissing, FileInvalid) as error:
        return str(error)
    prefix = f"{folder}/"
    sizes = {
        file.name.removeprefix(prefix): file.size for file in store.storage.files() if file.name.startswith(prefix)
    }
    return find_damage(manifest, sizes, lambda name, start, end: store.read_dataset(job, name, start, end))


def damage_in_folder(folder: Path, manifest: DatasetManifest) -> str | None:
    """Verify the files of a data set in a folder of this machine.

    Returns the damage; None if the data set is intact.
    """
    sizes: dict[str, int] = {}
    for name in manifest.files:
        try:
            sizes[name] = file_size(folder / name)
        except FileMissing:
            continue

    def read(name: str, start: int, end: int) -> bytes:
        with (folder / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    return find_damage(manifest, sizes, read)


def discard_damaged(folder: Path) -> None:
    """Delete the manifest in a workshop if it or one of its files is damaged: `make` then makes the data set again.

    Raises FileNotUnderstood if another version wrote the manifest, and other OSErrors.
    """
    try:
        manifest = read_manifest(folder)
        damage = manifest and damage_in_folder(folder, manifest)
    except FileNotUnderstood:
        raise
    except FileInvalid as error:
        damage = str(error)
    if damage:
        (folder / MANIFEST).unlink(missing_ok=True)
