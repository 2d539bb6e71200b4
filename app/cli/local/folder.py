"""The folder of `acgan train`. Does not import torch, so that a bad folder is reported before the slow import."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pydantic import Field

from models.atomic_files import remove_old_temporary, write_output
from models.bounded_reading import FileMissing, parse_record, read_bounded
from models.errors import Conflict
from models.file_locks import only_one
from models.records import Record

HISTORY, TABLE, STATE = "history.json", "history.csv", "resume.safetensors"
STATE_LIMIT = 512 << 20  # bytes; with the largest latent vectors a state has about 150 MB
HISTORY_LIMIT = 64 << 20  # bytes; a thousand epochs have about 2 MB
TRACKING = "tracking.json"
LOCK = ".training.lock"  # exists while a command trains in the folder
LOCK_SECONDS = 1.0  # to wait for a command that is about to end
TRACKING_LIMIT = 4096  # bytes
WRITTEN = (HISTORY, TABLE, STATE, TRACKING, "params_", "plot_")  # how the names of the files of a run begin


class FolderTaken(Conflict, code="folder-taken"):
    """The folder holds another run, a finished one, or none to resume, is in use, or is not writable."""


class TrackedAs(Record):
    """The file that keeps the id of a run for trackers, so that a resumed run continues there."""

    run: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")


def tracked_id(out: Path, resume: bool) -> str:
    """Return the id under which trackers know the run in the folder. A new one is stored. Raises OSError."""
    file = out / TRACKING
    if resume:
        with suppress(FileMissing):  # the first part of the run had no trackers
            return parse_record(TrackedAs, read_bounded(file, TRACKING_LIMIT), TRACKING_LIMIT, str(file)).run
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", out.resolve().name)[:50]
    tracked = TrackedAs(run=f"{name or 'run'}-{uuid4().hex[:8]}")
    write_output(file, tracked.model_dump_json().encode())
    return tracked.run


@contextmanager
def taken_folder(out: Path, resume: bool) -> Iterator[None]:
    """Create the folder for a new run, or check that it holds a run to resume; then keep other commands out of it.

    Temporary files that a killed command left there are deleted. On a mount without locks, other commands are not kept
    out, and these files stay. Raises FolderTaken.
    """
    check_content(out, resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderTaken(f"{out}/ cannot be created: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise FolderTaken(f"{out}/ is not writable")

    with ExitStack() as held:
        try:
            is_alone = held.enter_context(only_one(out / LOCK, LOCK_SECONDS, lambda: None))
        except TimeoutError:
            raise FolderTaken(
                f"another command trains in {out}/: wait until it has ended, or choose another folder with --out"
            ) from None
        check_content(out, resume)  # again: another command may have trained since
        if is_alone:  # temporary files then belong to no living process
            remove_old_temporary(out, 0, lambda name: name.startswith(WRITTEN))
        yield


def check_content(out: Path, resume: bool) -> None:
    """Raises FolderTaken for a new run in a folder that holds one, and if there is none to resume."""
    taken = (out / HISTORY).exists() or (out / STATE).exists()
    if taken and not resume:
        raise FolderTaken(
            f"{out}/ already holds a run ({HISTORY}): resume it with --resume, or choose another folder with --out"
        )
    if resume and not taken:
        raise FolderTaken(f"{out}/ holds no run to resume (neither {STATE} nor {HISTORY} exists)")
