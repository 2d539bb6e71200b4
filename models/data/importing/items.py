"""Labelled images as a user brings them: what a reader yields, its limits and its error. Does not import torch.

    with open_source(Path("letters.zip")) as source:
        for item in source.items():
            picture = fit(to_grey(item.content, limits), "mnist", "no")

The readers are in the other modules of this package; docs/image-formats.md describes the formats that they accept.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np

from models.errors import InvalidInput


class InvalidImages(InvalidInput, code="training-data-invalid"):
    """A source of images, or one image, cannot be used. The message is one sentence.

    The message of a source names the file or entry. That of `to_grey` is the reason only: the caller knows the name.
    """


class Item(NamedTuple):
    """One labelled image, before it is decoded."""

    name: str  # printable, for messages: "a/b.png", "row 7 of train.csv", "image 12 of train-images-idx3-ubyte"
    label: str  # the class as the source names it, normalised to NFC: a folder's name, or "0", "1", ...
    split: str | None  # "train" or "test"; None for all items if the source does not say
    content: bytes | np.ndarray  # an encoded picture, or uint8 pixels (H, W)


class Limits(NamedTuple):
    """What one source may have. A source beyond a limit is refused, usually before its first item."""

    images: int = 1_000_000  # EMNIST's largest part has 814,255
    entries: int = 150_000  # files and folders of a folder or archive; their names take 200 MB of memory
    unpacked: int = 16 << 30  # bytes of all files, unpacked: 150,000 pictures of 100 KiB
    file: int = 16 << 20  # bytes of one encoded picture: a photograph of 12 megapixels has 5 MB
    pixels: int = 4096 * 3072  # of one picture: a photograph of 12 megapixels
    classes: int = 100  # the networks' embedding and the plots are made for at most 100


LIMITS = Limits()


class Source(Protocol):
    """A source of labelled images whose names and structure were checked. Close it, or use it in a `with` statement."""

    @property
    def description(self) -> str:
        """The kind of source, printable: "2 class folders in letters.zip"."""

    @property
    def count(self) -> int | None:
        """The number of items, if it is known before they are read."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes in the order that the source gives (ClassLabel of Hugging Face), otherwise None."""

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Classes that the source names without an image: empty folders."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Printable sentences about skipped files."""

    def items(self, start: int = 0) -> Iterator[Item]:
        """Yield the items in an order that depends on names and content only, from item number `start`.

        May be called several times, one after the other. Raises InvalidImages or FileFault at the item that cannot be
        read. An item's picture is not decoded: `to_grey` does that, and raises InvalidImages for a damaged one.
        """

    def close(self) -> None:
        """Close files, and delete temporary files."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
