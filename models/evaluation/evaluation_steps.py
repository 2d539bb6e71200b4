"""Steps of an evaluation whose figures are kept in files, so that an interrupted evaluation continues after them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from models.atomic_files import write_durably
from models.bounded_reading import FileFault, FileMissing, parse_record, read_bounded

logger = logging.getLogger(__name__)

STEP_LIMIT = 1 << 16  # bytes; the figures of a step have 2 KB

Figures = dict[str, Any]


class Steps(Protocol):
    def __call__(self, name: str, compute: Callable[[], Figures], /) -> Figures:
        """Return the figures of a step, which are JSON values; `compute` is called if they are not known."""
        ...


def compute_always(_name: str, compute: Callable[[], Figures]) -> Figures:
    return compute()


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True)

    identity: str
    figures: Figures


class StoredSteps:
    """Keeps the figures of each finished step in `folder`.

    `identity` names all that determines the figures: the generator, the real digits, the judge, the device, the number
    of threads and the version. Figures of another identity are computed again.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity

    def __call__(self, name: str, compute: Callable[[], Figures]) -> Figures:
        """Return the figures of a step. Raises OSError if they cannot be written."""
        path = self.folder / f"{name}.json"
        found = self.read(path)
        if found is not None:
            return found
        made = _Step(identity=self.identity, figures=compute())
        write_durably(path, made.model_dump_json().encode())
        return made.figures

    def read(self, path: Path) -> Figures | None:
        try:
            found = parse_record(_Step, read_bounded(path, STEP_LIMIT), STEP_LIMIT, str(path))
        except FileMissing:
            return None
        except FileFault as error:
            logger.warning("a step of the evaluation is computed again: %s", error)
            return None
        return found.figures if found.identity == self.identity else None
