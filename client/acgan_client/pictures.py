"""Pictures and drawn digits. Only `image` and `array` need Pillow or numpy."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx2

from acgan_client.downloads import write_output
from acgan_client.errors import Misconfigured, NotUnderstood

if TYPE_CHECKING:  # optional
    import numpy as np
    from PIL import Image

IMAGE_SIZE = 28
MOST_DIGITS = 1000
MOST_CLASSES = 100
MOST_PIXELS = 2**26
NPY_HEADER = 10_000  # maximum bytes
NUMBER = re.compile(r"[0-9]{1,16}")
CHECKPOINT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
ADDRESSES = re.compile(r"([0-9]{1,16}:[0-9]{1,16}(,(?=.)|$)){1,40}")
MEDIA_TYPE = re.compile(r"[ -~]{0,100}")
FORMATS = {"image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
ANIMATIONS = ("image/gif", "image/webp")
NPY = "application/x-npy"


@dataclass(frozen=True, repr=False)
class Picture:
    """A file that the service has drawn: a picture, or digits as a zip or npy file."""

    file: bytes
    media_type: str

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        return cls(response.content, media_type_of(response))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the file, which is complete or as it was before. Returns its path. Raises OSError."""
        target = Path(path)
        write_output(target, self.file)
        return target

    def image(self) -> "Image.Image":
        """Return the picture as a Pillow image; of an animation, the first frame.

        Raises Misconfigured without Pillow, ValueError for a zip or npy file, NotUnderstood for a damaged picture.
        """
        with optional("pillow"):
            from PIL import Image
        if self.media_type not in FORMATS:
            raise ValueError(f"{self.media_type} is no picture: `save` writes it")
        try:
            image = Image.open(io.BytesIO(self.file), formats=[FORMATS[self.media_type]])
            if math.prod(image.size) > MOST_PIXELS:
                raise NotUnderstood(f"the picture has {math.prod(image.size):,} pixels")
            image.load()
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise NotUnderstood(f"the picture is damaged: {error}") from error
        return image

    def array(self) -> "np.ndarray":
        """Return pixels as uint8: an npy file as (n, 28, 28) or (n, K, 28, 28), a picture as (height, width).

        Raises Misconfigured without numpy and Pillow, NotUnderstood for another array.
        """
        with optional("numpy"):
            import numpy as np
        if self.media_type != NPY:
            return np.asarray(self.image().convert("L"))
        try:
            return digits_of(self.file)
        except ValueError as error:
            raise NotUnderstood(error) from error

    def _repr_png_(self) -> bytes | None:
        """Show it in a notebook."""
        return self.file if self.media_type == "image/png" else None

    def _repr_html_(self) -> str | None:
        """Show an animation in a notebook."""
        if self.media_type not in ANIMATIONS:
            return None
        from acgan_client.notebook import picture_html

        return picture_html(self.file, self.media_type, repr(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.media_type}, {len(self.file):,} bytes>"


@dataclass(frozen=True, repr=False)
class Drawn(Picture):
    """A file of digits, and the address of the first: `checkpoint`, `seed` and `index` always give the same pixels."""

    checkpoint: str
    seed: int
    index: int

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        checkpoint, seed, index = (response.headers.get(name, "") for name in ("X-Checkpoint", "X-Seed", "X-Index"))
        if not (CHECKPOINT.fullmatch(checkpoint) and NUMBER.fullmatch(seed) and NUMBER.fullmatch(index)):
            raise NotUnderstood(f"{response.url} answers, but without digits")
        return cls(response.content, media_type_of(response), checkpoint, int(seed), int(index))

    def __repr__(self) -> str:
        address = f"checkpoint={self.checkpoint!r}, seed={self.seed}, index={self.index}"
        return f"{super().__repr__()[:-1]}, {address}>"


@dataclass(frozen=True, repr=False)
class DrawnNumber(Drawn):
    """A number. `digits` has the seed and index of each of its digits, which draw it alone with `checkpoint`.

    `seed` and `index` are those of the number. `digits` is empty if a service of an earlier version drew it.
    """

    digits: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        drawn, addresses = Drawn.of(response), response.headers.get("X-Digits", "")
        if addresses and not ADDRESSES.fullmatch(addresses):
            raise NotUnderstood(f"{response.url} answers, but without the addresses of its digits")
        pairs = [each.split(":") for each in addresses.split(",") if each]
        digits = tuple((int(seed), int(index)) for seed, index in pairs)
        return cls(drawn.file, drawn.media_type, drawn.checkpoint, drawn.seed, drawn.index, digits)


def media_type_of(response: httpx2.Response) -> str:
    """Return the media type without parameters. Raises NotUnderstood."""
    media_type = response.headers.get("Content-Type", "")
    if not MEDIA_TYPE.fullmatch(media_type):
        raise NotUnderstood(f"{response.url} answers, but not with a picture")
    return media_type.partition(";")[0].strip().lower()


def pixels(response: httpx2.Response) -> "np.ndarray":
    return digits_of(response.content)


def digits_of(content: bytes) -> "np.ndarray":
    """Return the digits of an npy file: uint8 (n, 28, 28), or (n, K, 28, 28) of K classes. Raises ValueError for any
    other array."""
    with optional("numpy"):
        import numpy as np

    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("the array has another version of the format")
    shape, in_columns, kind = np.lib.format.read_array_header_1_0(file, max_header_size=NPY_HEADER)
    body = file.read()
    is_sheet = len(shape) == 3 or (len(shape) == 4 and 0 < shape[1] <= MOST_CLASSES)
    is_known = is_sheet and 0 <= shape[0] <= MOST_DIGITS and shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE)
    if not is_known or in_columns or kind != np.uint8 or len(body) != math.prod(shape):
        raise ValueError(f"expected digits, uint8 (n, 28, 28) or (n, K, 28, 28), but received {kind} {shape}")
    return np.frombuffer(bytearray(body), np.uint8).reshape(shape)


@contextmanager
def optional(package: str) -> Iterator[None]:
    """Raises Misconfigured if a package that only this call needs is not installed."""
    try:
        yield
    except ImportError as error:
        raise Misconfigured(f"this needs {package}: pip install 'acgan-client[images]'") from error
