"""Opens a source of any kind: recognises it by its first bytes."""

from contextlib import ExitStack
from pathlib import Path

from models.bounded_reading import GZIP, ZIP, file_size, printable, read_head
from models.data.importing.class_folders import tree_source
from models.data.importing.containers.tars import BZIP2, XZ, Tar, is_tar, unpacked
from models.data.importing.containers.tree import Folder, single_file
from models.data.importing.containers.zips import Zip
from models.data.importing.items import LIMITS, InvalidImages, Limits
from models.data.importing.row_files.idx_pairs import header_of, idx_part, sibling, without_labels
from models.data.importing.row_files.selection import HEAD, kind_of, single_source
from models.data.importing.sources import OpenedSource, of_parts, sentences


def open_source(
    path: Path, limits: Limits = LIMITS, labels: Path | None = None, scratch: Path | None = None
) -> OpenedSource:
    """Open a folder, an archive or a file of labelled images. The kind is recognised by content, not by name.

    Args:
        path: a folder of class folders or data files, a zip or tar archive of these, or one file (IDX, npz, CSV,
            parquet).
        limits: what the source may have.
        labels: the file of labels, if `path` is an IDX file of images. If it is None, a file of the same name with
            `labels` instead of `images` is read.
        scratch: folder for temporary files (unpacked tar archives); the system's if it is None.

    Raises:
        InvalidImages: the source cannot be used, or it is a parquet file and pyarrow is not installed.
        FileFault: a file is missing or cannot be read.
    """
    with ExitStack() as stack:
        source = _opened(path, limits, labels, scratch, stack)
        source.stack = stack.pop_all()
        return source


def _opened(path: Path, limits: Limits, labels: Path | None, scratch: Path | None, stack: ExitStack) -> OpenedSource:
    labels = labels_of(path, labels)
    if path.is_dir():
        return tree_source(Folder(path, limits), limits, stack)
    head = read_head(path, HEAD)
    if labels is not None:
        return of_parts([idx_part(single_file(path), single_file(labels), limits)], path.name, limits)
    if head.startswith(ZIP) and kind_of(head, path.name) is None:
        return tree_source(Zip(path, limits, scratch, stack), limits, stack)
    if head.startswith(b"PK\5\6"):
        raise InvalidImages(f"{printable(path.name)} is an empty zip archive")
    if is_tar(_first(path, head), path.name):
        return tree_source(Tar(path, head, limits, scratch, stack), limits, stack)
    return single_source(single_file(path), head, limits)


def labels_of(path: Path, given: Path | None = None) -> Path | None:
    """Return the file that has the labels of an IDX file of images: the given one, or one beside it.

    Returns None if `path` is something else, which contains its labels. Raises InvalidImages if there is no file of
    labels, or if one is given for something else, and FileFault if a file is missing or cannot be read.
    """
    if path.is_dir() or header_of(read_head(path, HEAD)) is None:
        if given is not None:
            raise InvalidImages(
                f"{printable(path.name)} is not an IDX file of images, so it cannot have its labels in another file"
            )
        return None
    if given is not None:
        file_size(given)
        return given
    name = sibling(path.name)
    plain = None if name is None else path.with_name(name)
    beside = [] if plain is None else [plain, plain.with_suffix(""), plain.with_name(f"{plain.name}.gz")]
    found = next((file for file in beside if file.is_file()), None)
    if found is None:
        raise without_labels(path.name)
    return found


def _first(path: Path, head: bytes) -> bytes:
    """Return the first unpacked bytes of a file; none if it cannot be unpacked."""
    if not head.startswith((GZIP, BZIP2, XZ)):
        return head
    with path.open("rb") as file, sentences(path.name):
        return next(unpacked(file, head), b"")[:HEAD]
