"""Files of labelled pictures that are damaged, made to harm or unusual, as archives or files that a user sends."""

import io
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.models.data.importing.pictures import encoded
from tests.models.data.importing.test_normalise import chunk, png
from tests.support.class_folders import picture

Write = Callable[[Path], None]
EACH = 24  # pictures of a class, so that one that cannot be read is less than 5 %


def pictures(names: Iterable[str] = ("a", "b"), each: int = EACH) -> dict[str, bytes]:
    """Return `each` PNG files for each class, by their names in an archive. No two classes share a row of ink."""
    return {
        f"{name}/{number}.png": encoded(picture(row % 10, 100 * row + number))
        for row, name in enumerate(names)
        for number in range(each)
    }


def zipped(files: Mapping[str, bytes]) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    return write


def file_of(data: bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


# ----------------------------------------------------------------------------
# Pictures.


def huge_picture() -> bytes:
    """A PNG of 20,000 x 20,000 pixels, all of which are there."""
    row = bytes(20_001)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(20_000)) + packer.flush()
    return png(20_000, 20_000, chunk(b"IDAT", data))


def picture_with_text() -> bytes:
    """A PNG with a text of 100 MB, which is compressed."""
    return png(28, 28, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))))


def unusual_pictures() -> dict[str, bytes]:
    """Pictures of the class `c`: mixed sizes, colour, alpha, 16 bits, a palette, JPEG, and an animation."""
    grey = [picture(2, 900 + number) for number in range(EACH)]
    made = {f"c/{number}.png": encoded(pixels) for number, pixels in enumerate(grey)}
    made["c/large.png"] = encoded(Image.fromarray(grey[0]).resize((300, 200)))
    made["c/colour.png"] = encoded(np.stack([grey[1], grey[2], grey[3]], axis=2))
    alpha = np.zeros((40, 40, 4), np.uint8)
    alpha[..., 3] = 255 - grey[4]
    made["c/alpha.png"] = encoded(alpha)
    made["c/16.png"] = encoded(Image.fromarray(grey[5].astype(np.uint16) * 257))
    made["c/palette.gif"] = encoded(Image.fromarray(grey[6]).convert("P"), "GIF")
    made["c/photo.jpg"] = encoded(grey[7], "JPEG")
    frames = [Image.fromarray(pixels) for pixels in grey[8:10]]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return made | {"c/film.gif": file.getvalue()}


# ----------------------------------------------------------------------------
# Archives.


def with_tar_entry(kind: bytes) -> Write:
    """A tar archive of pictures with a link or a device."""

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name, data in pictures().items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("b/other.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)

    return write


def encrypted(path: Path) -> None:
    """A zip archive whose entries have the flag of an encrypted entry."""
    zipped(pictures())(path)
    data = bytearray(path.read_bytes())
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + place] |= 1
    path.write_bytes(data)


def with_name_twice(path: Path) -> None:
    zipped(pictures())(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/./0.png", b"another")


def with_many_entries(count: int) -> Write:
    """A zip archive of empty entries: 54 bytes each, all at the offset of one file."""

    def entries() -> Iterator[bytes]:
        fixed = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0)
        return (fixed + b"a/%08d" % number for number in range(count))

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 10, 0) + b"a/00000000")
            begin = file.tell()
            file.writelines(entries())
            end = file.tell()
            file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, end - begin, begin))
            file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
            file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))

    return write


def nested(path: Path) -> None:
    zipped(pictures())(path)
    inner = path.read_bytes()
    zipped({"inner.zip": inner})(path)


def bomb(path: Path) -> None:
    zipped(pictures() | {"a/bomb.png": bytes(64 << 20)})(path)


def case_and_unicode() -> dict[str, bytes]:
    """Classes whose names differ in case, and one whose name is decomposed."""
    return pictures(("A", "a", unicodedata.normalize("NFD", "é"), "猫"))


# ----------------------------------------------------------------------------
# Files of rows.


def rows(labels: Iterable[int]) -> Iterator[list[int]]:
    """Rows of Kaggle's CSV: the label, then the pixels of a bright bar. No two agree."""
    for number, label in enumerate(labels):
        yield [label, *map(int, 255 - picture(label, number)[6:34, 6:34].ravel())]


def csv(lines: Iterable[Iterable[object]]) -> Write:
    text = "\n".join(",".join(map(str, line)) for line in lines)
    return file_of(text.encode() + b"\n")


def spoiled(value: object, at: int = 5) -> Write:
    """A CSV of two classes with another value in its third row."""
    made: list[list[object]] = [list(row) for row in rows([0, 1] * EACH)]
    made[2][at] = value
    return csv(made)


def short_row() -> Write:
    made = list(rows([0, 1] * EACH))
    return csv([*made[:3], made[3][:-1], *made[4:]])


def arrays(images: np.ndarray, labels: np.ndarray) -> Write:
    file = io.BytesIO()
    np.savez_compressed(file, images=images, labels=labels)
    return file_of(file.getvalue())


def huge_row_group(path: Path) -> None:
    """A parquet file of 140 MB in one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": bytes(10_000_000), "path": None}] * 14
    table = pa.table({"image": images, "label": [0, 1] * 7})
    pq.write_table(table, path, compression="gzip", use_dictionary=False)
