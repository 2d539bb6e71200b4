"""Files that users sent as training data, in the store until a worker has read them. Without torch.

    <job>/upload/   content (the file as it was sent), manifest.json

The folder belongs to the job that reads the file: the deletion of the job deletes it.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from models.bounded_reading import FileDamaged, FileMissing
from models.data.building.order import TrainingDataOrder
from models.registry.storage.base import MANIFEST, ArtifactStorage, Folder
from models.registry.storage.reading import seal

UPLOAD = "upload"
WORK = "importing"  # the folder of files that the job has not finished, see `ArtifactStorage.workshop`
CONTENT = "content"
PIECE = 8 << 20  # bytes read at once


def checksum_of(path: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file, which is read in pieces. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def store_upload(storage: ArtifactStorage, job: str, order: TrainingDataOrder, path: Path) -> None:
    """Copy a local file into the store, for a job that is not accepted yet. Raises OSError; then no file is left."""
    folder = Folder(job, UPLOAD)
    try:
        staged = storage.stage(folder, time.time_ns(), {CONTENT: path})
        storage.complete(staged, MANIFEST, seal(order))
        storage.alone(lambda: storage.place(staged, folder, storage.fence(job)))
    except BaseException:
        with suppress(OSError):  # then a worker deletes it after an hour
            forget_upload(storage, job)
        raise


def has_upload(storage: ArtifactStorage, job: str) -> bool:
    """Return whether the file of this job is in the store. Raises OSError."""
    return Folder(job, UPLOAD) in storage.folders(job)


def fetch_upload(
    storage: ArtifactStorage, job: str, order: TrainingDataOrder, path: Path, check: Callable[[], None]
) -> None:
    """Copy the file of a job to `path` on this machine. `check` is called after each piece and may end it by raising.

    Raises FileMissing, FileDamaged, OSError, and what `check` raises.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, order.size, PIECE):
            try:
                piece = storage.read(f"{job}/{UPLOAD}/{CONTENT}", start, min(start + PIECE, order.size))
            except FileNotFoundError:
                raise FileMissing(f"the file {order.file} is no longer in the store: send it again") from None
            digest.update(piece)
            file.write(piece)
            check()
    if digest.hexdigest() != order.sha256:
        raise FileDamaged(f"the file {order.file} is damaged in the store: send it again")


def delete_upload(storage: ArtifactStorage, job: str, is_unused: Callable[[], bool] = lambda: True) -> bool:
    """Delete the file of a job, if it is in the store, and the job's unfinished files.

    Does nothing if `is_unused` is false, which is called immediately before, in an exclusive step. Returns whether it
    was true. Raises OSError, and what `is_unused` raises.
    """

    def step() -> bool:
        if not is_unused():
            return False
        for name in (UPLOAD, WORK):
            storage.remove(Folder(job, name))
        return True

    return storage.alone(step)


def forget_upload(storage: ArtifactStorage, job: str) -> None:
    """Delete all files of a job that was not accepted. Raises OSError."""
    storage.alone(lambda: storage.hide_job(job))
    storage.clear_job(job)
