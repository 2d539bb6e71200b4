"""The folder that `acgan train` writes into. Free of torch: what stands in the way is told before that is loaded."""

import os
from pathlib import Path

HISTORY, TABLE, STATE = "history.json", "history.csv", "resume.safetensors"


class FolderTaken(Exception):
    """Another run's files are there already, or those of none where one was to go on; or none can be written."""


def take_folder(out: Path, going_on: bool) -> None:
    """Make the folder where there is none, for a new run or to go on with its own. Raises FolderTaken."""
    taken = (out / HISTORY).exists() or (out / STATE).exists()
    if taken and not going_on:
        raise FolderTaken(
            f"{out}/ already holds a run ({HISTORY}): go on with it by --resume, or choose another folder with --out"
        )
    if going_on and not (out / STATE).exists():
        raise FolderTaken(f"{out}/ holds no run to go on with ({STATE} is not there)")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderTaken(f"{out}/ cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise FolderTaken(f"nothing may be written into {out}/")
