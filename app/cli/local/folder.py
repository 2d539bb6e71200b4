"""The folder of `acgan train`. Does not import torch, so that a bad folder is reported before the slow import."""

import os
from pathlib import Path

from models.errors import Conflict

HISTORY, TABLE, STATE = "history.json", "history.csv", "resume.safetensors"


class FolderTaken(Conflict, code="folder-taken"):
    """The folder holds another run, holds no run to resume, or is not writable."""


def take_folder(out: Path, resume: bool) -> None:
    """Create the folder for a new run, or check that it holds a run to resume. Raises FolderTaken."""
    taken = (out / HISTORY).exists() or (out / STATE).exists()
    if taken and not resume:
        raise FolderTaken(
            f"{out}/ already holds a run ({HISTORY}): resume it with --resume, or choose another folder with --out"
        )
    if resume and not (out / STATE).exists():
        raise FolderTaken(f"{out}/ holds no run to resume ({STATE} does not exist)")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderTaken(f"{out}/ cannot be created: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise FolderTaken(f"{out}/ is not writable")
