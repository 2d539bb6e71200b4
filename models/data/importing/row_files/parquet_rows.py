"""Reads parquet files of Hugging Face: a column of encoded images and one of labels. Needs the extra `parquet`.

The class names are those of ClassLabel in the schema's metadata. A row group is refused by its size in the metadata,
and rows are read in small batches.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, NamedTuple

from models.bounded_reading import printable
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import class_name, class_number, split_of
from models.data.importing.sources import DataFile, Part, sentences

MAGIC = b"PAR1"
FOOTER = 16 << 20  # bytes of metadata
ROW_GROUP = 128 << 20  # bytes, unpacked; `datasets` writes at most 100 MB, and MNIST has 15 MB
BATCH = 64  # rows read at once
IMAGES = ("image", "img", "images", "picture")
LABELS = ("label", "labels", "class", "fine_label", "target")


class Columns(NamedTuple):
    """The columns of a file."""

    image: str
    is_struct: bool  # {bytes, path}
    label: str
    class_names: tuple[str, ...] | None


def pyarrow() -> Any:
    """Import pyarrow. Raises InvalidImages with the way to install it."""
    try:
        import pyarrow.parquet
    except ImportError:
        message = "parquet files need a library that is not installed (pyarrow): pip install 'acgan[parquet]'"
        raise InvalidImages(message) from None
    return pyarrow


def parquet_part(file: DataFile, limits: Limits) -> Part:
    """Check the schema and the sizes of a file. Raises InvalidImages."""
    with _opened(file) as parquet:
        metadata = parquet.metadata
        for number in range(metadata.num_row_groups):
            size = metadata.row_group(number).total_byte_size
            if size > ROW_GROUP:
                raise InvalidImages(
                    f"{file.shown} has a row group of {size:,} bytes, and at most {ROW_GROUP:,} are allowed: "
                    "write it again with fewer rows in a row group"
                )
        count = metadata.num_rows
        columns = _columns(parquet.schema_arrow, file.shown)
    if count > limits.images:
        raise InvalidImages(f"{file.shown} has {count:,} rows, and at most {limits.images:,} are allowed")

    def rows(first: int) -> Iterator[Item]:
        for number, (image, label) in enumerate(_values(file, columns, first), first + 1):
            yield _item(image, label, columns, f"row {number} of {file.shown}")

    name = PurePath(file.name).name
    return Part("parquet", file.shown, split_of(name, *reversed(file.folder)), count, rows, columns.class_names)


@contextmanager
def _opened(file: DataFile) -> Iterator[Any]:
    """Open a file after measuring its metadata, which is read as a whole. Raises InvalidImages."""
    arrow = pyarrow()
    with file.open() as stream, _arrow_sentences(arrow, file):
        stream.seek(max(file.size - 8, 0))
        end = stream.read(8)
        if len(end) < 8 or end[4:] != MAGIC:
            raise InvalidImages(f"{file.shown} is damaged or cut off: a parquet file ends with its metadata")
        if int.from_bytes(end[:4], "little") > FOOTER:
            raise InvalidImages(f"{file.shown} has more than {FOOTER:,} bytes of metadata")
        stream.seek(0)
        yield arrow.parquet.ParquetFile(arrow.PythonFile(stream, mode="r"), buffer_size=1 << 20, pre_buffer=False)


@contextmanager
def _arrow_sentences(arrow: Any, file: DataFile) -> Iterator[None]:
    with sentences(file.name):
        try:
            yield
        except arrow.ArrowException as error:
            reason = printable((str(error).splitlines() or [""])[0][:200])
            raise InvalidImages(f"{file.shown} is damaged or cut off: {reason}") from error


def _columns(schema: Any, name: str) -> Columns:
    """Find the columns by Hugging Face's metadata, else by their names and types. Raises InvalidImages."""
    features = _features(schema, name)
    kinds = {key: value.get("_type") for key, value in features.items() if isinstance(value, dict)}
    types = {field.name: str(field.type) for field in schema}
    is_struct = {key: text.startswith("struct<") and "bytes: " in text for key, text in types.items()}
    pictures = [key for key, text in types.items() if is_struct[key] or text in ("binary", "large_binary")]
    image = _chosen([key for key in pictures if kinds.get(key) == "Image"] or pictures, IMAGES)
    labels = [key for key, text in types.items() if text.startswith(("int", "uint")) or "string" in text]
    label = _chosen([key for key in labels if kinds.get(key) == "ClassLabel"] or labels, LABELS)
    if image is None or label is None:
        columns = printable(", ".join(types))[:200]
        raise InvalidImages(f"{name} has no column of images and one of labels; its columns are: {columns}")
    names = features[label].get("names") if kinds.get(label) == "ClassLabel" else None
    if names is not None and not (isinstance(names, list) and all(isinstance(text, str) for text in names)):
        raise InvalidImages(f"{name} has metadata whose class names are not understood")
    class_names = None if names is None else tuple(class_name(text, name) for text in names)
    if class_names is not None and len(set(class_names)) < len(class_names):
        raise InvalidImages(f"{name} has metadata with the same class name twice")
    return Columns(image, is_struct[image], label, class_names)


def _features(schema: Any, name: str) -> dict[str, Any]:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        return dict(features)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidImages(f"{name} has metadata of Hugging Face that are not understood") from None


def _chosen(candidates: list[str], names: tuple[str, ...]) -> str | None:
    """Return the only candidate, or the one with a usual name."""
    known = [name for name in names if name in candidates]
    return known[0] if known else candidates[0] if len(candidates) == 1 else None


def _values(file: DataFile, columns: Columns, first: int) -> Iterator[tuple[Any, Any]]:
    """Yield image and label of each row from number `first`, reading only the row groups that are needed."""
    with _opened(file) as parquet:
        group, skip = 0, first
        while group < parquet.num_row_groups and skip >= parquet.metadata.row_group(group).num_rows:
            skip -= parquet.metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, parquet.num_row_groups))
        column = f"{columns.image}.bytes" if columns.is_struct else columns.image
        for batch in parquet.iter_batches(BATCH, row_groups=groups, columns=[column, columns.label], use_threads=False):
            images, labels = batch.column(columns.image), batch.column(columns.label)
            for image, label in zip(images, labels, strict=True):
                if skip:
                    skip -= 1
                else:
                    yield image.as_py(), label.as_py()


def _item(image: Any, label: Any, columns: Columns, place: str) -> Item:
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        raise InvalidImages(f"{place} has no bytes of an image; a path to a file elsewhere is not followed")
    if label is None:
        raise InvalidImages(f"{place} has no label")
    if columns.class_names is None:
        return Item(place, class_number(str(label), place), None, content)
    if not isinstance(label, int) or not 0 <= label < len(columns.class_names):
        last = len(columns.class_names) - 1
        raise InvalidImages(f"{place} has the label {printable(label)}, and labels are from 0 to {last}")
    return Item(place, columns.class_names[label], None, content)
