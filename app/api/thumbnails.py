"""Small pictures of epochs for lists of runs."""

from io import BytesIO

import numpy as np

from models.config import IMAGE_SIZE
from models.registry.store import CheckpointDamaged
from models.sampling.png import encode_small_png

LARGEST = 4000  # bytes
SHOWN = 10  # classes, in two rows


def thumbnail(plot: bytes, classes: int) -> bytes:
    """Return the first generated image of each of the first ten classes, as a PNG of at most 4,000 bytes.

    `plot` is the PNG that models/sampling/epoch_plot.py describes. Raises CheckpointDamaged if it is another picture.
    """
    shown = min(classes, SHOWN)
    cells = decode(plot)[:IMAGE_SIZE, : IMAGE_SIZE * shown]
    if cells.shape != (IMAGE_SIZE, IMAGE_SIZE * shown):
        raise CheckpointDamaged("the plot of this epoch has another size than its manifest says")
    columns = (shown + 1) // 2
    images = np.zeros((2 * columns, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    images[:shown] = cells.reshape(IMAGE_SIZE, shown, IMAGE_SIZE).swapaxes(0, 1)
    rows = images.reshape(2, columns, IMAGE_SIZE, IMAGE_SIZE).swapaxes(1, 2)
    return encode_small_png(rows.reshape(2 * IMAGE_SIZE, columns * IMAGE_SIZE), LARGEST)


def decode(plot: bytes) -> np.ndarray:
    """Return the grey pixels of a PNG that this project encoded: uint8 (H, W). Raises CheckpointDamaged."""
    from PIL.PngImagePlugin import PngImageFile  # only here, because it takes a while to load

    try:
        return np.asarray(PngImageFile(BytesIO(plot)).convert("L"))
    except (SyntaxError, OSError, ValueError) as error:  # what Pillow raises for other content
        raise CheckpointDamaged("the plot of this epoch is not a PNG") from error
