"""Pictures of digits: sheets and the plot of an epoch, and their file formats."""

import io
import struct
import zipfile
from collections.abc import Iterable

import numpy as np
import torch

from models.config import IMAGE_SIZE, NUM_CLASSES
from models.data.dataset import Dataset
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import SampleRange, draw_series, prepare

try:
    from isal import __version__
    from isal import isal_zlib as deflate

    ENCODER = f"isal {__version__}"
except ImportError:  # no wheel for this platform
    import zlib as deflate  # type: ignore[no-redef]

    ENCODER = f"zlib {deflate.ZLIB_RUNTIME_VERSION}"  # type: ignore[attr-defined]

PLOT_ROWS = 40
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def sheet(
    digits: np.ndarray, columns: int | None = None, scale: int = 1, padding: int = 0, invert: bool = False
) -> np.ndarray:
    """Arrange uint8 digits (n, 28, 28) row by row; by default nearly square, and at most 10 wide.

    Args:
        scale: pixels of the picture for each pixel of a digit, along an axis.
        padding: pixels of background around and between the digits.
        invert: black on white instead of white on black.

    Returns:
        uint8 (rows * cell + padding, columns * cell + padding), with cell = 28 * scale + padding.
    """
    n, size = len(digits), IMAGE_SIZE * scale
    columns = min(n, columns or 10)
    rows, cell = -(-n // columns), size + padding
    if scale > 1:
        digits = digits.repeat(scale, 1).repeat(scale, 2)
    cells = np.zeros((rows * columns, cell, cell), np.uint8)
    cells[:n, padding:, padding:] = digits
    picture = cells.reshape(rows, columns, cell, cell).swapaxes(1, 2).reshape(rows * cell, -1)
    if padding:
        picture = np.pad(picture, ((0, padding), (0, padding)))
    return 255 - picture if invert else picture


# ----------------------------------------------------------------------------
# Files. They contain no time, so the same digits give the same bytes.


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 grey (height, width) as PNG, in a tenth of the time that Pillow takes (benchmarks/README.md)."""
    height, width = picture.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter; 0 is none
    rows[:, 1:] = picture
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    return PNG_SIGNATURE + b"".join(
        (_chunk(b"IHDR", header), _chunk(b"IDAT", deflate.compress(rows, 1)), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", deflate.crc32(data, deflate.crc32(kind)))


def encode_npy(digits: np.ndarray) -> bytes:
    """Encode an array in numpy's own format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, digits, allow_pickle=False)
    return buffer.getvalue()


def encode_zip(pictures: Iterable[tuple[str, np.ndarray]]) -> bytes:
    """Write pictures, each with its name, into one archive of PNG files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, picture in pictures:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encode_png(picture))
    return buffer.getvalue()


# ----------------------------------------------------------------------------
# The epoch's plot (original: end of the epoch loop) has 40 rows: ten columns of generated digits, one for each class,
# with the same 40 latents in each; a white column; ten columns of real images sorted by label.


def epoch_plot(generator: Generator | FoldedGenerator, dataset: Dataset, epoch: int, seed: int) -> np.ndarray:
    """Draw the plot of an epoch, counted from 1: uint8 (1120, 588), with the generator in inference mode.

    The latents are the first 40 addresses of `seed`, so all plots of a run show the same latents. A folded generator
    must come from `prepare`: then the plot has the pixels of the digits that are served.
    """
    folded = generator
    if not isinstance(folded, FoldedGenerator):
        folded = prepare(folded, folded.dense.weight.device)
    generated = draw_series(folded, SampleRange(None, PLOT_ROWS, seed)).reshape(PLOT_ROWS, NUM_CLASSES, IMAGE_SIZE, -1)
    white = np.full((PLOT_ROWS, 1, IMAGE_SIZE, IMAGE_SIZE), 255, np.uint8)
    real = real_columns(dataset, epoch).reshape(NUM_CLASSES, PLOT_ROWS, IMAGE_SIZE, -1).swapaxes(0, 1)
    cells = np.concatenate((generated, white, real), axis=1)  # (40, 21, 28, 28)
    return cells.swapaxes(1, 2).reshape(PLOT_ROWS * IMAGE_SIZE, -1)


def real_columns(dataset: Dataset, epoch: int) -> np.ndarray:
    """Return the epoch's 400 training images, from (epoch - 1) * 400, wrapping around, stably sorted by label."""
    shown = PLOT_ROWS * NUM_CLASSES
    device = dataset.train_labels.device
    indices = torch.arange((epoch - 1) * shown, epoch * shown, device=device) % len(dataset.train_labels)
    order = torch.argsort(dataset.train_labels[indices], stable=True)
    images: np.ndarray = dataset.train_images[indices[order]].cpu().numpy()
    return images
