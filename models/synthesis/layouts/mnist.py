"""MNIST's four gzipped IDX files as they are stored, with the manifest, in one archive."""

from collections.abc import Iterator

from models.synthesis.layouts.archive import DEFLATER, Member, write_zip
from models.synthesis.layouts.source import DatasetSource
from models.synthesis.order import MANIFEST


def write(source: DatasetSource) -> Iterator[bytes]:
    """Yield a zip archive. Raises the errors of `DatasetSource.stored`."""
    manifest = Member(MANIFEST, [source.manifest.model_dump_json(indent=2).encode()])
    files = [Member(name, source.stored(name), is_packed=True) for name in source.manifest.files]
    return write_zip([manifest, *files])


def libraries() -> str:
    return DEFLATER
