"""The files that `torchvision.datasets.MNIST(root, download=False)` reads: IDX, unpacked, in `MNIST/raw`."""

from collections.abc import Iterator

from models.synthesis.layouts.archive import DEFLATER, Member, write_zip
from models.synthesis.layouts.source import DatasetSource

RAW = "MNIST/raw"


def write(source: DatasetSource) -> Iterator[bytes]:
    """Yield a zip archive. Raises the errors of `DatasetSource.unpacked`."""
    names = [name for split in source.manifest.splits for name in (split.images, split.labels)]
    return write_zip(Member(f"{RAW}/{name.removesuffix('.gz')}", source.unpacked(name)) for name in names)


def libraries() -> str:
    return DEFLATER
