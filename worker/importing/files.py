"""The files in which the process that builds training data leaves its result, and their examination.

The process read a foreign file, so nothing in its result is taken on trust: types, shapes and labels are checked, and
the checksum is computed again.
"""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.bounded_reading import FileFault, read_bounded
from models.config import IMAGE_SIZE, MOST_CLASSES
from models.data.building.built import Arrays, Built, OptionValues
from models.data.idx import idx_header, read_idx
from models.errors import Unavailable
from models.registry.training_data import ARRAYS, PREVIEW

ABOUT = "about.json"
ABOUT_BYTES, PREVIEW_BYTES, ARRAY_BYTES = 1 << 20, 16 << 20, 1 << 30


class ResultInvalid(Unavailable, code="import-result-invalid"):
    """The process that builds training data left a result that is incomplete or contradicts itself."""


class About(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=2, max_length=MOST_CLASSES)
    source: str
    options: OptionValues
    warnings: tuple[str, ...]
    skipped: int


def write_result(folder: Path, built: Built, preview: bytes) -> None:
    """Write all files of a result. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(ARRAYS, built.arrays, strict=True):
        with (folder / name).open("wb") as file:
            file.write(idx_header(array.shape))
            file.write(np.ascontiguousarray(array).data)
    (folder / PREVIEW).write_bytes(preview)
    about = About.model_validate(built, from_attributes=True)
    (folder / ABOUT).write_text(about.model_dump_json(), encoding="utf-8")


def read_result(folder: Path) -> tuple[Built, bytes]:
    """Read and check all files of a result. Returns the training data and its preview. Raises ResultInvalid."""
    try:
        about = About.model_validate_json(read_bounded(folder / ABOUT, ABOUT_BYTES))
        arrays = Arrays(*(read_idx(read_bounded(folder / name, ARRAY_BYTES)) for name in ARRAYS))
        preview = read_bounded(folder / PREVIEW, PREVIEW_BYTES)
    except (FileFault, ValueError) as error:
        raise ResultInvalid(f"the result of the import cannot be read: {error}") from error
    for images, labels in ((arrays.train_images, arrays.train_labels), (arrays.test_images, arrays.test_labels)):
        is_whole = images.shape == (len(labels), IMAGE_SIZE, IMAGE_SIZE) and labels.ndim == 1 and len(labels) > 0
        if not is_whole or int(labels.max()) >= len(about.classes):
            raise ResultInvalid("the images and labels of the import do not fit together")
    return Built(arrays, about.classes, about.source, about.options, about.warnings, about.skipped, folder), preview
